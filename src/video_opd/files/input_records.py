"""`inputs.json` of a run folder: which manifests, models and videos the run was begun with, and what changed since.

{"format": 1, "from_begin": true, "data_sha256": …, "files": {"train": {"path": …, "bytes": …, "sha256": …}, …},
 "models": {"student": {"name": …, "files": {"config.json": {"bytes": …, "modified_ns": …, "changed_ns": …,
  "sha256": …}, …}}, …},
 "videos": {"folder": …, "bytes": {"a.mp4": 1234, "b.mp4": null}}, "changes": […]}
"""

# ruff: noqa: RUF012 - pydantic gives every record a default of its own
from __future__ import annotations

from pydantic import StrictInt

from video_opd.files.written_record import Count, Flag, Text, WrittenRecord

FORMAT = 1


class InputFile(WrittenRecord):
    """A manifest, or another file that a recipe names."""

    path: Text
    bytes: Count
    sha256: Text


class ModelFile(WrittenRecord):
    """A file of a model."""

    bytes: Count
    modified_ns: StrictInt
    """When its content was last changed, as far as it says: a copy may take over the time. Not part of the identity."""
    changed_ns: StrictInt = 0
    """When anything of the file was last changed, which no program can set; 0: not recorded. Not part of it either."""
    sha256: Text


class InputModel(WrittenRecord):
    """The files of a model that its answers depend on, by their names."""

    name: Text
    files: dict[Text, ModelFile]


class InputVideos(WrittenRecord):
    """The sizes of the videos that the manifests name; None: it is missing."""

    folder: Text
    bytes: dict[Text, StrictInt | None]


class InputChange(WrittenRecord):
    """A change of the inputs that the user accepted."""

    accepted: list[Text]
    """Names of the inputs."""
    differences: list[Text]
    """A sentence for each."""
    data_sha256: Text
    """Of manifests, scores and selections before the change."""
    evaluations: Text | None = None
    """Folder into which the evaluations that depend on the former inputs were moved; None: there were none."""


class RecordedInputs(WrittenRecord):
    """What a run reads, as it was when the run began or when a change was last accepted."""

    format: Count
    from_begin: Flag
    """False: the run was begun by a version that did not record its inputs; these are those of a later start."""
    data_sha256: Text
    """Of manifests, scores and selections, as in the state of a checkpoint."""
    files: dict[Text, InputFile]
    models: dict[Text, InputModel]
    videos: InputVideos
    changes: list[InputChange] = []
    """Oldest first; none is ever removed."""

    @property
    def version(self) -> int:
        """1 for the inputs that the run was begun with, one more for every change; in the rows of metrics.jsonl."""
        return len(self.changes) + 1

    @property
    def known_data(self) -> set[str]:
        """What `data_sha256` may be in a checkpoint of the run."""
        return {self.data_sha256, *(change.data_sha256 for change in self.changes)}
