"""`--keep FOLDER`: every video with its answers, each in a new folder of its own; nothing is ever replaced."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from video_opd.serve.api_records import GroundResult
from video_opd.serve.job import GroundingJob


class AnswerKeeper:
    """Keeps videos and answers in a folder.

    Args:
        folder: is made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, job: GroundingJob, result: GroundResult) -> None:
        """Keep the video and the answers of a job.

        Raises:
            OSError: they cannot be written.
        """
        own = self.folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{job.id}"
        own.mkdir(parents=True)
        try:
            shutil.copyfile(job.video, own / job.video.name)
            (own / "answers.json").write_text(json.dumps(result.model_dump(), indent=2) + "\n", encoding="utf-8")
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)  # it is ours, and half of it is of no use
            raise
