"""Rows of parquet files, through pyarrow where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from video_opd.errors import ConfigurationError, DataError
from video_opd.files.record import Record
from video_opd.files.records import json_rows


def parquet_or_json_rows(path: Path) -> Iterator[Record]:
    """The rows of a file, parquet by its ending and JSON otherwise (see `json_rows`)."""
    return parquet_rows(path) if path.suffix.lower() == ".parquet" else json_rows(path)


def parquet_rows(path: Path) -> Iterator[Record]:
    """The rows as objects by column; the line of a record is the number of its row.

    Raises:
        ConfigurationError: pyarrow is not installed.
        DataError: the file cannot be read, or is not parquet.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigurationError(
            f"{path}",
            reason="parquet is read by pyarrow, which is not installed",
            remedy="install it, such as with `pip install 'video-opd[parquet]'`",
        ) from error
    try:
        number = 0
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield Record(path, number, value)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", reason="the file cannot be read", remedy="Check the path"
        ) from error
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"{path}", reason=f"it is not valid parquet: {error}", remedy="Fetch it again") from error
