"""Make manifests from the annotation files of the field, in their original form.

One short file per data set says where it comes from, shows a line of it and yields `Annotation`s; a line of `_formats`
names it. `_read_annotations` finds the importer, `_collector` applies the named policies and keeps the account. Nothing
is guessed: a file of another format is refused, with the formats that could read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from video_opd.lazy import import_on_use

if TYPE_CHECKING:
    from video_opd.data.importers._account import ImportReport, Policies
    from video_opd.data.importers._annotation import Annotation, Importer, ReadOptions
    from video_opd.data.importers._collector import Collector
    from video_opd.data.importers._formats import FORMATS, register_importer
    from video_opd.data.importers._read_annotations import read_annotations

__all__ = [
    "FORMATS",
    "Annotation",
    "Collector",
    "ImportReport",
    "Importer",
    "Policies",
    "ReadOptions",
    "read_annotations",
    "register_importer",
]

__getattr__ = import_on_use(
    __name__, ("_formats", "_annotation", "_account", "_read_annotations", "_collector"), __all__
)
