"""The limits of a server. Each is a flag of `video-opd serve`, stands on the page, and is told by `GET /limits`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from video_opd.settings import Count, Integer, MoreThanZero, Positive, Settings

MEGABYTE = 10**6
FEWEST_DECODER_MB = 512
"""Measured on two cores: 128 MB are too few for any video, 256 MB for one of 3840 x 2160; 400 MB are enough for it."""


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
    max_decoder_mb: Annotated[Integer, Field(ge=FEWEST_DECODER_MB)] = 4096
    """most memory of the process that decodes a video, in megabytes; at least 512"""

    @property
    def max_upload_bytes(self) -> int:
        """The largest upload in bytes."""
        return self.max_upload_mb * MEGABYTE

    @property
    def max_decoder_bytes(self) -> int:
        """The most memory of a decoder in bytes."""
        return self.max_decoder_mb * MEGABYTE
