"""The work on one job, from the file to the answers: look, decode, read, answer query by query."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager

from PIL import Image

from video_opd.data.video.decoding_workers import NotStarted
from video_opd.data.video.video_io import Frames, VideoBudget, VideoInfo
from video_opd.errors import UserError, is_out_of_memory
from video_opd.eval.how_asked import explain_tiny_on_size
from video_opd.serve.api_records import GroundResult, ModelAnswers, QueryAnswer
from video_opd.serve.job import GroundingJob
from video_opd.serve.request_errors import RequestError, decoder_error, memory_error, too_long_error, unusable_error
from video_opd.serve.served_model import SeenVideo, ServedModel, read_video, write_answer

_log = logging.getLogger(__name__)

PICTURES = VideoBudget(fps=1000.0, max_frames=12, max_tokens=1440, max_frame_tokens=240, pixels_per_token_side=8)
"""Of a video that a browser cannot play: 12 pictures of about 160 x 90 pixels, from its beginning to its end."""


def answer_job(job: GroundingJob, models: Sequence[ServedModel]) -> GroundResult:
    """Carry out a job.

    Args:
        job: what is asked; it is told how far the work is.
        models: those that are asked.

    Raises:
        RequestError: the job was stopped, its time is over, or its video or a query cannot be used.
    """
    with _explain_failures(job):
        job.enter("decoding", "looking at the video")
        info = job.limit_decoding().probe_video(job.video)
        if info.duration_s > job.limits.max_video_s:
            raise too_long_error(job.upload.name, info.duration_s, job.limits.max_video_s)
        if job.upload.wants_frames:
            job.frames = tuple(_draw_pictures(job.limit_decoding().read_video(job.video, PICTURES)))
        seen = SeenVideo(lambda budget: job.limit_decoding().read_video(job.video, budget), job.check)
        answered = [_ask(job, model, seen) for model in models]
    return GroundResult(
        video=job.upload.name,
        duration=answered[0].answers[0].duration,
        models=answered,
        notices=list(_find_notices(job, models, info, seen)),
    )


def _ask(job: GroundingJob, model: ServedModel, seen: SeenVideo) -> ModelAnswers:
    began = time.monotonic()
    job.enter("decoding", f"decoding the video for {model.name}")
    frames = seen.decode(model.budget)
    decoded = time.monotonic()
    job.enter("reading", f"{model.name} reads the video")
    prompts = seen.render(model, job.upload.name, job.upload.queries)
    reading_of = read_video(model, prompts)
    was_read = time.monotonic()
    answers: list[QueryAnswer] = []
    for place in range(len(prompts)):
        job.enter("answering", f"{model.name} answers query {place + 1} of {len(prompts)}")
        asked = time.monotonic()
        answer = write_answer(model, reading_of(place), frames.duration_s)
        answers.append(answer.model_copy(update={"seconds": round(time.monotonic() - asked, 4)}))
        job.num_answered += 1
    return ModelAnswers(
        model=model.name,
        seconds_to_decode=round(decoded - began, 4),
        seconds_to_read=round(was_read - decoded, 4),
        answers=answers,
    )


def _find_notices(job: GroundingJob, models: Sequence[ServedModel], info: VideoInfo, seen: SeenVideo) -> Iterator[str]:
    """What a reader should know of the answers."""
    tiny = explain_tiny_on_size([model.policy.name for model in models], job.upload.name, (info.width, info.height))
    if tiny:
        yield f"{tiny}."
    if seen.num_concealed:
        yield (
            f"The file is damaged: the decoder painted over {seen.num_concealed} of its pictures, and the models saw "
            "what it painted."
        )


def _draw_pictures(frames: Frames) -> Iterator[bytes]:
    for image in frames.images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=80)
        yield file.getvalue()


@contextmanager
def _explain_failures(job: GroundingJob) -> Iterator[None]:
    """Turn what ends the work into the error of a request, without the place of the file."""
    try:
        yield
    except RequestError:
        raise
    except CancelledError as error:  # the decoder was ended
        job.check()
        raise RuntimeError("a decoder was ended, and the job was not stopped") from error
    except NotStarted as error:
        job.check()
        _log.warning("the process that decodes videos does not start: %s", error)
        raise decoder_error() from error
    except UserError as error:
        job.check()  # a decoder that was stopped or took too long says so in its own words
        raise unusable_error(error, job.upload.name, str(job.video)) from error
    except Exception as error:
        if not (is_out_of_memory(error) or isinstance(error, MemoryError)):
            raise
        raise memory_error(error) from error
