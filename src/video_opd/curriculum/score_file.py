"""The file of scores: what one model answered to every example of a manifest, JSON lines.

    {"scores": {"format": 1, "model": "tiny-teacher", "model_sha256": …, "manifest_sha256": …, "settings": {…}, …}}
    {"id": "q1", "mean_iou": 0.83, "agreement": 0.9, "answers": [{"span": [2.0, 4.5], "iou": 0.9, "logprob": -0.4, …}],
     "spans": [[2.0, 4.0]], "duration": 10.0, "source": "charades", "seconds": 0.8, "cpu_seconds": 0.7}
    {"id": "q2", "unscored": "videos/b.mp4: no such file", …}
    {"summary": {"num_scored": 1, "mean_iou": 0.83, "split_half_reliability": 0.7, …}}

(one object a line). The first line names the model, the manifest and the settings; the scores are valid only for these.
Every row is flushed to the disk, so a killed scoring resumes where it stopped. Times are in seconds, log-probs in nats.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from video_opd.curriculum.packed_rows import PackedRows, ScoredRows
from video_opd.curriculum.score_rows import make_row, read_row
from video_opd.curriculum.signals import ScoredExample, measure_reliability
from video_opd.errors import DataError
from video_opd.files.durable import write_durably
from video_opd.files.journal import iterate_journal
from video_opd.files.run_records import ScoreHead

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreHeader:
    """The model, the manifest and the settings of the scores."""

    model: str
    model_sha256: str
    """SHA-256 of its weights, configuration and tokenizer."""
    manifest_sha256: str
    settings: Mapping[str, Any]
    """How it was asked: answers, seed, role of the model, prompt, frames, precision, parser; and the teacher, if one
    judged."""
    num_examples: int
    """Number of rows of the complete file: those of the shard."""
    shard: tuple[int, int] = (0, 1)
    """The number of this shard, from 0, and the number of shards."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What must be equal for a score to be valid."""
        return self.model_sha256, self.manifest_sha256, json.dumps(self.settings, sort_keys=True)

    def to_row(self) -> dict[str, Any]:
        """The first line."""
        return {"scores": ScoreHead(format=FORMAT, **asdict(self) | {"settings": dict(self.settings)}).to_json()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], path: Path) -> ScoreHeader:
        """Read the header from the first line.

        Raises:
            DataError: the line is not a header, or is one of another format.
        """
        found: Any = row.get("scores")
        match found:
            case {
                "format": int(version),
                "model": str(),
                "model_sha256": str(),
                "manifest_sha256": str(),
                "settings": dict(),
                "num_examples": int(),
                "shard": [int(number), int(count)],
            } if version == FORMAT:
                return cls(**{name: found[name] for name in cls.__dataclass_fields__} | {"shard": (number, count)})
        raise DataError(
            f"{path} is not a file of scores",
            reason=f"its first line is not a header of format {FORMAT}",
            remedy="give a file written by `video-opd score`",
        )


@dataclass(frozen=True, kw_only=True)
class ScoreFile:
    """Scores of a manifest, or of a shard of one."""

    header: ScoreHeader
    rows: Mapping[str, ScoredExample]
    """Example id -> its scores, in the order of the file."""
    seconds: float = 0.0
    """What scoring took, wall time, whenever that was."""
    cpu_seconds: float = 0.0
    name: str = field(default="", compare=False)
    """Of the file, for messages."""
    has_summary: bool = field(default=False, compare=False)
    """Whether the scoring was finished."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", PackedRows.of(self.rows))

    @property
    def packed(self) -> PackedRows:
        """The rows as they are held."""
        return PackedRows.of(self.rows)

    @property
    def scored(self) -> Mapping[str, ScoredExample]:
        """The examples that were scored."""
        return ScoredRows(self.packed)

    def mean_iou(self) -> dict[str, float]:
        """Example id -> mean IoU of its answers: tau of a teacher, sigma of a student."""
        return self.packed.compute_mean_ious()

    def list_unscored(self) -> dict[str, str]:
        """Example id -> why it was not scored."""
        rows = self.packed
        return {id: rows[id].unscored for id in rows if not rows.is_scored(id)}

    def split_half_reliability(self) -> float | None:
        """Of the mean IoU of the sampled answers; see `curriculum.split_half_reliability`."""
        rows = self.packed
        return measure_reliability(draws.ious for draws in rows.iterate_draws(filter(rows.is_scored, rows)))

    def summary(self) -> dict[str, Any]:
        """The last line."""
        scored = self.scored.values()
        return {
            "summary": {
                "num_scored": len(scored),
                "num_unscored": len(self.rows) - len(scored),
                "mean_iou": statistics.fmean(row.mean_iou for row in scored) if scored else None,
                "mean_agreement": statistics.fmean(row.agreement for row in scored) if scored else None,
                "split_half_reliability": self.split_half_reliability(),
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
            }
        }


def read_scores(*paths: Path, partial: bool = False, keep_texts: bool = True) -> ScoreFile:
    """The scores in a file, or in all shards of one, in manifest order.

    Args:
        partial: also of a file whose scoring is not finished.
        keep_texts: of the answers; without them an answer's text is empty.

    Raises:
        DataError: no such file, scores of different things, a shard or rows missing, an example twice.
    """
    files = sorted((_read_one(path, keep_texts=keep_texts) for path in paths), key=lambda file: file.header.shard)
    first = files[0].header
    for file in files:
        if file.header.identity != first.identity or file.header.shard[1] != first.shard[1]:
            raise DataError(
                f"{files[0].name} and {file.name} are scores of different models, manifests or settings",
                reason=describe_difference(first, file.header),
                remedy="give shards of one scoring",
            )
        if not partial and len(file.rows) < file.header.num_examples:
            raise DataError(
                f"{file.name} has {len(file.rows)} of {file.header.num_examples} examples",
                reason="examples without a score would be left out without notice",
                remedy="run the same `video-opd score` again: it goes on where it was",
            )
    places = [file.header.shard[0] for file in files]
    if not partial and (len(places) != first.shard[1] or places != list(range(len(places)))):
        raise DataError(
            f"shards {', '.join(map(str, places))} of {first.shard[1]} in {', '.join(file.name for file in files)}",
            reason="every shard is needed exactly once",
            remedy="give all of them, or merge them with `video-opd merge-scores`",
        )
    if len(files) == 1:
        return files[0]
    rows = PackedRows(keep_texts=keep_texts)
    columns = [file.packed for file in files]  # example number j of shard i is number j * n + i of all
    for ids in zip_longest(*columns):
        for column, id in zip(columns, ids, strict=True):
            if id in rows:
                raise _duplicate_error(", ".join(file.name for file in files), id)
            if id is not None:
                rows.add(column[id])
    return ScoreFile(
        header=replace(first, shard=(0, 1), num_examples=len(rows)),
        rows=rows,
        seconds=sum(file.seconds for file in files),
        cpu_seconds=sum(file.cpu_seconds for file in files),
        name=", ".join(file.name for file in files),
        has_summary=all(file.has_summary for file in files),
    )


def _read_one(path: Path, *, keep_texts: bool) -> ScoreFile:
    if not path.is_file():
        raise DataError(
            f"scores {path}: no such file", reason="there is nothing to read", remedy="write it with `video-opd score`"
        )
    lines = iterate_journal(path)
    header = ScoreHeader.from_row(next(lines, {}), path)
    rows, line, seconds, cpu_seconds = PackedRows(keep_texts=keep_texts), dict[str, Any](), array("d"), array("d")
    for line in lines:
        if "id" in line:
            if isinstance(line["id"], str) and line["id"] in rows:
                raise _duplicate_error(str(path), line["id"])
            read_row(line, rows, path)
            seconds.append(line.get("seconds", 0.0))
            cpu_seconds.append(line.get("cpu_seconds", 0.0))
    return ScoreFile(
        header=header,
        rows=rows,
        seconds=math.fsum(seconds),
        cpu_seconds=math.fsum(cpu_seconds),
        name=str(path),
        has_summary="summary" in line,
    )


def _duplicate_error(where: str, id: str) -> DataError:
    return DataError(
        f"{where}: {id!r} is there twice",
        reason="the choice would depend on only one of them",
        remedy="delete one of the lines",
    )


def read_header(path: Path) -> ScoreHeader:
    """The first line of a file of scores, however long the file is.

    Raises:
        DataError: it is no file of scores.
    """
    return ScoreHeader.from_row(next(iterate_journal(path), {}), path)


def has_begun(path: Path, header: ScoreHeader) -> bool:
    """Whether a file holds more than the beginning of the first line, which a killed scoring of these scores left."""
    if not path.exists():
        return False
    line = (json.dumps(header.to_row()) + "\n").encode()
    return path.stat().st_size >= len(line) or not line.startswith(path.read_bytes())


def write_scores(path: Path, scores: ScoreFile) -> None:
    """Write a whole file of scores, such as merged shards. Its time is only in the summary, as a total."""
    share = 1 / max(len(scores.rows), 1)
    cost = {"seconds": scores.seconds * share, "cpu_seconds": scores.cpu_seconds * share}
    lines = [scores.header.to_row(), *(make_row(row, **cost) for row in scores.rows.values()), scores.summary()]
    write_durably(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def describe_difference(one: ScoreHeader, other: ScoreHeader) -> str:
    """The differences of two scorings, in words."""
    names = ("model", "manifest", "settings")
    different = [name for name, a, b in zip(names, one.identity, other.identity, strict=True) if a != b]
    if different == ["settings"]:
        keys = sorted(one.settings.keys() | other.settings.keys())
        said = ((key, one.settings.get(key), other.settings.get(key)) for key in keys)
        different = [f"settings ({', '.join(f'{key}: {a} and {b}' for key, a, b in said if a != b)})"]
    return f"their {' and '.join(different) or 'shards'} differ"


def require_scores_of(scores: ScoreFile, manifest_sha256: str, model_sha256: str | None) -> None:
    """Refuse scores that were made before a run and are not of its manifest or not of its model.

    Args:
        model_sha256: None: not yet known, and not looked at.

    Raises:
        DataError: they are of another.
    """
    for what, found, wanted in (
        ("manifest", scores.header.manifest_sha256, manifest_sha256),
        ("model", scores.header.model_sha256, model_sha256),
    ):
        if wanted is not None and found != wanted:
            raise DataError(
                f"{scores.name} holds scores of another {what} (of model {scores.header.model})",
                reason=f"the scores must come from the {what} of this recipe",
                remedy="score the recipe's teacher on its training manifest with `video-opd score`",
            )


def require_same_manifest(*files: ScoreFile | None) -> None:
    """Refuse to compare scores of different manifests.

    Raises:
        DataError: they are of different manifests.
    """
    given = [file for file in files if file is not None]
    for file in given[1:]:
        if file.header.manifest_sha256 != given[0].header.manifest_sha256:
            raise DataError(
                f"{given[0].name} and {file.name} are scores of different manifests",
                reason="their examples, or the annotations of them, are not the same",
                remedy="score both models on the same manifest",
            )


def join_sha256(sha256: Sequence[str]) -> str:
    """The hash of one model, or one hash for several models together."""
    return sha256[0] if len(sha256) == 1 else hashlib.sha256("".join(sha256).encode()).hexdigest()


def merge_teachers(files: Sequence[ScoreFile], model_sha256: Sequence[str]) -> ScoreFile:
    """Merge the scores of several teachers of the same manifest: an example has the answers of every teacher that was
    asked about it.

    Args:
        model_sha256: of all of them, those who were asked about nothing included.
    """
    if len(model_sha256) == 1:
        return files[0]
    rows: dict[str, ScoredExample] = {}
    for file in files:
        for id, row in file.rows.items():
            known = rows.get(id)
            rows[id] = replace(row, answers=known.answers + row.answers) if known else row
    header = replace(
        files[0].header,
        model=", ".join(file.header.model for file in files),
        model_sha256=join_sha256(model_sha256),
        num_examples=len(rows),
    )
    return ScoreFile(
        header=header,
        rows=rows,
        seconds=sum(file.seconds for file in files),
        cpu_seconds=sum(file.cpu_seconds for file in files),
        name=", ".join(file.name for file in files),
    )
