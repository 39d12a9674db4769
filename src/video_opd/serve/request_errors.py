"""The errors of a request, each with its status of HTTP.

Whoever raises one may add what was wrong, such as a field of the form. What is wrong with a video or a query is told by
the `UserError` that the reader of it raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from video_opd.errors import DataError, QueryError, UserError


class RequestError(UserError):
    """A request that is refused, or whose work has failed.

    Args:
        status: of HTTP.
        cause: as of `UserError`.
        reason: as of `UserError`.
        remedy: as of `UserError`.
        headers: that go with the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        cause: str,
        *,
        reason: str,
        remedy: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(cause, reason=reason, remedy=remedy)
        self.status, self.headers = status, dict(headers or {})


def too_large_error(max_mb: int) -> RequestError:
    """For an upload of too many bytes."""
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the upload has more than {max_mb} MB",
        reason="this server takes no larger one",
        remedy="send a shorter or a smaller video, or start the server with a larger --max-upload-mb",
    )


def malformed_error(what: str) -> RequestError:
    """For a body that is not the form that is asked for."""
    return RequestError(
        HTTPStatus.BAD_REQUEST,
        what,
        reason="a request is multipart/form-data with one `video` and one or more `query`",
        remedy="send it as `curl -F video=@clip.mp4 -F query='the red circle'` does",
    )


def invalid_value_error(name: str, what: str) -> RequestError:
    """For a value in the address of a request.

    Args:
        name: of the value.
        what: is wrong with it.
    """
    return RequestError(
        HTTPStatus.BAD_REQUEST,
        f"the value of `{name}` is not valid",
        reason=what,
        remedy="see /openapi.json for the values that there are",
    )


def unknown_model_error(name: str, known: Sequence[str]) -> RequestError:
    """For a model that does not answer here.

    Args:
        name: as the sender wrote it.
        known: the models that do.
    """
    return RequestError(
        HTTPStatus.BAD_REQUEST,
        f"model {name[:100]!r}",
        reason="no model of this server has that name",
        remedy=f"give {' or '.join(known)}, or no `model` to ask all",
    )


def unknown_file_error(what: str) -> RequestError:
    """For a clip or a picture that does not exist."""
    return RequestError(
        HTTPStatus.NOT_FOUND,
        f"{what} does not exist",
        reason="the server has nothing of this name",
        remedy="ask `GET /clips` for the clips, and `GET /jobs/ID` for the number of pictures",
    )


def too_slow_error(what: str, max_seconds: float) -> RequestError:
    """For a request whose time is over.

    Args:
        what: takes so long.
        max_seconds: the limit.
    """
    return RequestError(
        HTTPStatus.GATEWAY_TIMEOUT,
        f"{what} took more than {max_seconds:g} s",
        reason="the server spends no more time than that on one request",
        remedy="send a shorter video or fewer queries, or start the server with a larger --max-seconds",
        headers={"Connection": "close"},
    )


def busy_error(num_places: int, retry_s: int) -> RequestError:
    """For a request for which there is no room.

    Args:
        num_places: requests that may be there at the same time.
        retry_s: seconds after which there may be room.
    """
    return RequestError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"the server already has {num_places} request{'s' * (num_places > 1)}",
        reason="this server works on one at a time, and no more may wait",
        remedy=f"try again in {retry_s} s",
        headers={"Retry-After": str(retry_s)},
    )


def stopping_error() -> RequestError:
    """For a request that is here while the server stops."""
    return RequestError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the server is stopping",
        reason="it begins no new work and ends what it has begun",
        remedy="send the request again when the server runs",
        headers={"Retry-After": "30", "Connection": "close"},
    )


def cancelled_error() -> RequestError:
    """For a request that was cancelled."""
    return RequestError(
        HTTPStatus.CONFLICT,
        "the request was cancelled",
        reason="its sender asked for that, or closed the connection",
        remedy="send it again",
    )


def unknown_job_error() -> RequestError:
    """For the id of no job."""
    return RequestError(
        HTTPStatus.NOT_FOUND,
        "no job has this id",
        reason="it was never given, or the job was forgotten some minutes after its end",
        remedy="send the video again",
    )


def bug_error() -> RequestError:
    """For a bug of the server."""
    return RequestError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the server failed at this request",
        reason="this is a fault of the program, and its messages say more",
        remedy="report it to whoever runs the server; other requests are not affected",
        headers={"Connection": "close"},  # as the server does after an error that no route expects
    )


def decoder_error() -> RequestError:
    """For a server on which no decoder starts; a video of a stranger is decoded nowhere else."""
    return RequestError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the process that decodes videos does not start",
        reason="the server decodes no video in its own process, and its messages say more",
        remedy="try again later, or report it to whoever runs the server",
    )


def foreign_error(cause: str) -> RequestError:
    """For a request that the page of another site may have sent."""
    return RequestError(
        HTTPStatus.FORBIDDEN,
        cause,
        reason="another site could have sent it through your browser",
        remedy="open the address that the server printed; for another name start it with --public-name NAME",
    )


def token_error(*, has_token: bool) -> RequestError:
    """For a request without the right token.

    Args:
        has_token: whether it has another one.
    """
    return RequestError(
        HTTPStatus.UNAUTHORIZED,
        "the token of the request is not the right one" if has_token else "the request has no token",
        reason="this server answers only those who have its token",
        remedy="send the header `Authorization: Bearer TOKEN`",
        headers={"WWW-Authenticate": "Bearer"},
    )


def not_served_error(status: HTTPStatus) -> RequestError:
    """For a path or a method that does not exist here."""
    return RequestError(
        status,
        f"the request was answered with {status.value} {status.phrase}",
        reason="this path or this method is not served",
        remedy="see /openapi.json for what is",
    )


def too_long_error(name: str, duration_s: float, max_video_s: float) -> RequestError:
    """For a video that lasts too long.

    Args:
        name: of the video.
        duration_s: how long it lasts.
        max_video_s: the limit.
    """
    return RequestError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"{name} lasts {duration_s:.0f} s",
        reason=f"this server takes no video of more than {max_video_s:g} s",
        remedy="cut it, or start the server with a larger --max-video-s",
    )


def disk_error(error: OSError) -> RequestError:
    """For an upload that cannot be stored."""
    return RequestError(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "the upload cannot be stored",
        reason=error.strerror or "the disk of the server refuses it",
        remedy="try again later, or free space in the folder for temporary files (TMPDIR) of the server",
    )


def memory_error(error: BaseException) -> RequestError:
    """For a device or a machine that has no memory left."""
    said = str(error).strip().splitlines()  # nothing, of a plain MemoryError
    return RequestError(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "the memory of the server's device is full",
        reason=said[0] if said else "the work on the request needs more than there is",
        remedy="send a shorter video, or start the server with a smaller --max-tokens",
    )


def not_done_error(state: str) -> RequestError:
    """For a job whose answers are asked for and are not there."""
    return RequestError(
        HTTPStatus.CONFLICT,
        f"the job is {state}",
        reason="only a job that is done has answers",
        remedy="ask for its state with `GET /jobs/ID` until it is done",
    )


def unusable_error(error: UserError, name: str, path: str) -> RequestError:
    """For a video or a query that cannot be used.

    Args:
        error: says why.
        name: of the video, as its sender calls it.
        path: where it lies here, which no message tells.
    """
    texts = [text.replace(path, name) for text in (error.cause, error.reason, error.remedy)]
    is_video = path in error.cause and isinstance(error, DataError) and not isinstance(error, QueryError)
    return RequestError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        texts[0],
        reason=texts[1],
        # The error's own remedy is for the rows of a manifest.
        remedy="check that the file plays to its end, or convert it to mp4 and send it again" if is_video else texts[2],
    )


def problem_of(error: RequestError) -> dict[str, str]:
    """The sentence of an error as JSON."""
    return {"cause": error.cause, "reason": error.reason, "remedy": error.remedy}
