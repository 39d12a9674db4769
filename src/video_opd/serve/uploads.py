"""Takes in the form of a request: the video goes to a file as it comes, and what is too large or too slow is refused.

The form is read by python-multipart's parser and not by FastAPI, which would take in all of it before anything could be
refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from video_opd.data.query_words import LONG_QUERY
from video_opd.data.video.video_names import VIDEO_SUFFIXES
from video_opd.serve.request_errors import disk_error, malformed_error, too_large_error, too_slow_error
from video_opd.serve.serving_limits import ServingLimits

FORM_FIELDS = ("video", "query", "model", "frames")
LONGEST_NAME = 200
"""Characters of a file's name that are kept."""
FIELD_BYTES, HEADER_BYTES = 4 * LONG_QUERY, 8192
"""Of a field that is no file, and of the headers of a part."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A form that was taken in. The folder of the video is its own; who has the record removes it."""

    video: Path
    name: str
    """What the sender calls the file; never a path here."""
    queries: tuple[str, ...]
    models: tuple[str, ...]
    """Names of models, as the sender wrote them; none: all."""
    wants_frames: bool
    """Whether pictures of the video are made, for a browser that cannot play it."""


@dataclass
class _Part:
    """A field of the form that is being read."""

    headers: dict[str, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    num_header_bytes: int = 0
    name: str = ""
    content: bytearray = field(default_factory=bytearray)

    def refuse_long_headers(self) -> None:
        """Older parsers take headers of any length."""
        if self.num_header_bytes + len(self.header_name) + len(self.header_value) > HEADER_BYTES:
            raise malformed_error("a part of the form has too many headers")


class FormReader:
    """Takes the parts of a form from the parser.

    Args:
        folder: a new one, for the video.
        limits: what is refused.
    """

    def __init__(self, folder: Path, limits: ServingLimits) -> None:
        self.folder, self.limits = folder, limits
        self.fields: dict[str, list[str]] = {name: [] for name in FORM_FIELDS}
        self.video: Path | None = None
        self.name = ""
        self.num_bytes = 0
        self.is_complete = False
        self._file: BinaryIO | None = None
        self._part = _Part()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end_form,
        }

    def close(self) -> None:
        """Close the file of the video."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin_part(self) -> None:
        self._part = _Part()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]
        self._part.refuse_long_headers()

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]
        self._part.refuse_long_headers()

    def _end_header(self) -> None:
        part = self._part
        part.num_header_bytes += len(part.header_name) + len(part.header_value)
        part.headers[part.header_name.decode("latin-1").lower()] = part.header_value
        part.header_name = part.header_value = b""

    def _open_part(self) -> None:
        _, options = parse_options_header(self._part.headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in FORM_FIELDS:
            raise malformed_error(f"the form has an unknown field {name[:40]!r}")
        self._part.name = name
        if name != "video":
            return
        if self.video is not None:
            raise malformed_error("the form has more than one video")
        if b"filename" not in options:
            raise malformed_error("the video is not a file")
        self.name = clean_name(options[b"filename"])
        suffix = Path(self.name).suffix.lower()
        self.video = self.folder / f"video{suffix if suffix in VIDEO_SUFFIXES else ''}"
        self._file = self.video.open("xb")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self.num_bytes += end - start
            if self.num_bytes > self.limits.max_upload_bytes:
                raise too_large_error(self.limits.max_upload_mb)
            self._file.write(data[start:end])
            return
        self._part.content += data[start:end]
        if len(self._part.content) > FIELD_BYTES:
            raise malformed_error(f"a `{self._part.name}` has more than {LONG_QUERY} characters")

    def _end_part(self) -> None:
        if self._file is not None:
            self.close()
            return
        name, given = self._part.name, self.fields[self._part.name]
        try:
            given.append(self._part.content.decode("utf-8"))
        except UnicodeDecodeError:
            raise malformed_error(f"a `{name}` is not UTF-8") from None
        if len(given) > max(self.limits.max_queries, 2):
            raise malformed_error(f"the form has more than {len(given) - 1} `{name}` fields")

    def _end_form(self) -> None:
        self.is_complete = True


def clean_name(filename: bytes) -> str:
    """The name of an uploaded file, without folders. It is shown and written into exports, and never used as a path."""
    name = filename.decode("utf-8", "replace").replace("\0", "")
    for code, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):  # how browsers write these in a form
        name = name.replace(code, character)
    return name.replace("\\", "/").rpartition("/")[2][:LONGEST_NAME] or "video"


async def receive_upload(
    request: Request, parent: Path, limits: ServingLimits, patience: set[asyncio.Timeout]
) -> Upload:
    """Take in a form.

    Args:
        request: whose body it is.
        parent: where a folder for the video is made. It is removed again where the form is refused.
        limits: what is refused.
        patience: holds the time limit of the upload while it runs, so that it can be ended.

    Raises:
        RequestError: the form is not as it should be, too large, or too slow.
        ClientDisconnect: its sender left.
    """
    length = request.headers.get("content-length", "")
    most = limits.max_upload_bytes + (limits.max_queries + 4) * (FIELD_BYTES + HEADER_BYTES)
    if length.isdecimal() and int(length) > most:
        raise too_large_error(limits.max_upload_mb)
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise malformed_error("the body is not multipart/form-data")
    until = asyncio.timeout(limits.max_seconds)
    patience.add(until)
    reader = None
    try:
        reader = FormReader(Path(tempfile.mkdtemp(dir=parent)), limits)
        callbacks: Any = reader.callbacks()
        parser = MultipartParser(options[b"boundary"], callbacks)
        async with until:
            async for chunk in request.stream():
                most -= len(chunk)
                if most < 0:  # such as what follows the end of the form
                    raise too_large_error(limits.max_upload_mb)
                parser.write(chunk)
        reader.close()
        return _check_form(reader)
    except BaseException as error:
        if reader is not None:
            with contextlib.suppress(OSError):  # the disk is full, which is told already
                reader.close()
            shutil.rmtree(reader.folder, ignore_errors=True)
        if isinstance(error, FormParserError):
            raise malformed_error("the body is not a form that can be read") from error
        if isinstance(error, TimeoutError):
            raise too_slow_error("the upload", limits.max_seconds) from error
        if isinstance(error, OSError):
            raise disk_error(error) from error
        raise
    finally:
        patience.discard(until)


def _check_form(reader: FormReader) -> Upload:
    if not reader.is_complete:
        raise malformed_error("the form ends in the middle")
    if reader.video is None:
        raise malformed_error("the form has no `video`")
    queries = tuple(reader.fields["query"])
    if not queries:
        raise malformed_error("the form has no `query`")
    if len(queries) > reader.limits.max_queries:
        raise malformed_error(f"the form has more than {reader.limits.max_queries} `query` fields")
    if any(len(query) > LONG_QUERY for query in queries):
        raise malformed_error(f"a `query` has more than {LONG_QUERY} characters")
    return Upload(
        video=reader.video,
        name=reader.name,
        queries=queries,
        models=tuple(reader.fields["model"]),
        wants_frames=reader.fields["frames"][-1:] == ["true"],
    )
