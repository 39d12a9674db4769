"""The limits of a server. Each is a flag of `video-opd serve`, stands on the page, and is told by `GET /limits`."""

from __future__ import annotations

from video_opd.settings import Count, MoreThanZero, Positive, Settings

MEGABYTE = 10**6
LONGEST_QUERY = 2000
"""Characters. The longest query of the field's annotations has some 600."""


class ServingLimits(Settings):
    """What one request may cost, and how many requests may wait."""

    max_upload_mb: Positive = 512
    """largest upload, in megabytes"""
    max_video_s: MoreThanZero = 3600.0
    """longest video, in seconds"""
    max_seconds: MoreThanZero = 600.0
    """most seconds of an upload, and of the work on a request once its turn has come"""
    max_queue: Count = 8
    """requests that may wait while one is worked on; a further one is refused, and told when to come again"""
    max_queries: Positive = 16
    """most queries of a request"""
    max_decoder_mb: Positive = 4096
    """most memory of the process that decodes a video, in megabytes"""

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload in bytes."""
        return self.max_upload_mb * MEGABYTE


class LimitsTold(ServingLimits):
    """What one request may cost, how many may wait, and whether anything is kept."""

    keeps_videos: bool
    """whether the server keeps every video with its answers, in a folder of its own"""
