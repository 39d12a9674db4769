"""What a run leaves on the disk, and how it survives being killed. No torch."""

from video_opd.files.journal import Journal, iterate_journal, read_journal, truncate_journal
from video_opd.files.older_names import read_json
from video_opd.runs.checkpoint import Checkpoint, Damaged, find_latest_checkpoint, save_checkpoint, verify_checkpoint
from video_opd.runs.directory import RunDirectory

__all__ = [
    "Checkpoint",
    "Damaged",
    "Journal",
    "RunDirectory",
    "find_latest_checkpoint",
    "iterate_journal",
    "read_journal",
    "read_json",
    "save_checkpoint",
    "truncate_journal",
    "verify_checkpoint",
]
