"""Errors for files that cannot be read as a video: what the file is, by its content, and what to do about it.

"Truncated or corrupt, download it again" is said only of a broken video. Anything else would be the same after a second
download.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import av

from video_opd.errors import DataError
from video_opd.files.file_kinds import explain_packed

REENCODE = "ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p NEW.mp4"
"""A command that turns nearly everything that FFmpeg can decode into a file that is read here, with its times."""
_CONVERT = REENCODE.replace("yuv420p", "yuv444p")
"""The same for pictures with odd sides, as GIFs have; yuv420p has none."""

_NO_CLOCK = frozenset(("h264", "hevc", "vvc", "m4v", "mpegvideo", "h263", "h261", "vc1", "obu", "mjpeg", "cavsvideo",
    "dirac", "evc", "avs2", "avs3"))  # fmt: skip
"""Demuxers of bare streams: pictures one after the other, without a container that says when each is shown."""
_OTHER_VIDEO = frozenset((
    "gif", "apng", "webp_anim", "yuv4mpegpipe", "mxf", "rm", "nut", "dv", "ivf", "gxf", "wtv", "nsv", "vc1test",
    "swf", "bink", "smk", "roq", "flic", "film_cpk", "filmstrip", "mlv", "lxf", "pva", "ty", "ea", "dxa", "thp",
    "vmd", "mm", "mv", "nuv", "psxstr", "rl2", "smjpeg", "yop", "4xm", "ipmovie", "idcin", "cdxl", "anm", "dsicin",
    "wc3movie", "tmv", "bethsoftvid", "c93", "vivo", "xmv", "jv", "lvf", "argo_brp", "kux", "live_flv"
))  # fmt: skip
_SOUND = frozenset(("mp3", "wav", "flac", "aac", "ac3", "eac3", "amr", "aiff", "au", "ape", "caf", "dts", "dtshd",
    "truehd", "tta", "wv", "w64", "mpc", "mpc8", "oma", "voc", "loas", "dsf", "tak", "xwma", "shn", "mlp"))  # fmt: skip
_STILL = {name: name.removesuffix("_pipe").upper() for name in ("jpeg_pipe", "png_pipe", "bmp_pipe", "webp_pipe",
    "tiff_pipe", "j2k_pipe", "jpegxl_pipe", "jpegls_pipe", "psd_pipe", "dds_pipe", "exr_pipe", "hdr_pipe", "ppm_pipe",
    "pgm_pipe", "pbm_pipe", "pam_pipe", "qoi_pipe", "svg_pipe", "sgi_pipe", "sunrast_pipe", "xpm_pipe", "xbm_pipe",
    "xwd_pipe", "pcx_pipe", "dpx_pipe", "gem_pipe", "pictor_pipe")} | {"ico": "ICO"}  # fmt: skip
"""Demuxers that FFmpeg has besides those that are read here. None of them opens another file, as playlists do."""

_BEGINNINGS = (
    (b"%PDF-", "a PDF"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a Parquet table"),
)
_ENCRYPTED = (
    (b"Salted__", "OpenSSL"),
    (b"age-encryption.org/", "age"),
    (b"-----BEGIN PGP MESSAGE", "PGP"),
)
_JPEG, _NEXT_JPEG = b"\xff\xd8\xff", b"\xff\xd9\xff\xd8\xff"
"""How a JPEG begins, and how one ends where the next begins."""
_JPEG_LOOKED_AT = 1 << 25
"""Bytes: the largest pictures of cameras are smaller."""
_WRITTEN_HEADERS = (b"YUV4MPEG2 ", b"nut/", b"P4", b"P5", b"P6", b"P7", b"/* XPM */", b"<svg")
"""Pictures and videos that begin as a text does."""
MAX_FILE_BYTES = 1 << 38
"""Largest file to be read (256 GiB): above a film's. A file of holes may claim any size."""
_LOOKED_AT = 8192
"""Bytes at the beginning of a file that tell what it is."""
_SHOWN = 50
"""Characters of a text that are repeated in a sentence."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""How an address begins; as a path it has lost a slash."""


def require_file(path: Path) -> None:
    """Refuse a path that is not a readable file with something in it.

    Raises:
        DataError: the path does not exist, is no file, cannot be read, is empty or beyond the largest size.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if address := _ADDRESS.match(str(path)):
            raise DataError(
                f"{address[1]}://{str(path)[address.end() :]}: an address, not a file",
                reason="videos are read from this machine alone, and nothing is fetched",
                remedy="Give the file's path" if address[1] == "file" else "Download it first, and give the file",
            ) from error
        raise DataError(
            f"{path}: {getattr(error, 'strerror', None) or error}",
            reason="the video cannot be opened",
            remedy="Check the videos folder and the row's `video`",
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise DataError(
            f"{path}: not a regular file",
            reason="it is a folder; only with a frame rate is a folder of numbered pictures read as a video",
            remedy="Give the rate, as `--frame-rate 3` or the row's `frame_rate`, or name a video file",
        )
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            f"{path}: not a regular file",
            reason="pipes and devices are not videos",
            remedy="Write what it gives to a file, and give that",
        )
    if not os.access(path, os.R_OK):
        raise DataError(
            f"{path}: permission denied", reason="the video cannot be opened", remedy="Let this user read the file"
        )
    if status.st_size > MAX_FILE_BYTES:
        raise DataError(
            f"{path}: {status.st_size / 2**30:.0f} GiB are more than {MAX_FILE_BYTES / 2**30:.0f}",
            reason="no video for temporal grounding is that large",
            remedy="Check that it is the right file, or cut the video into shorter files",
        )
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty", reason="there is nothing to decode", remedy="Download it again")


def unopened_error(path: Path, error: av.FFmpegError | OSError) -> DataError:
    """The error for a file that no demuxer in use can open. It says what the file is, or else that it is broken."""
    with path.open("rb") as file:
        beginning = file.read(_LOOKED_AT)
    if not beginning.strip(b"\0"):
        return DataError(
            f"{path}: the file begins with {len(beginning)} bytes of zero",
            reason="room was made for a download that never came",
            remedy="Download it again",
        )
    return (
        _recognise_beginning(path, beginning)
        or _text(path, beginning)
        or _other_format(path)
        or damaged_error(path, f"FFmpeg cannot read it ({error.strerror or error})")
    )


def no_video_stream_error(path: Path, container: av.container.InputContainer) -> DataError:
    """The error for a container without a stream of pictures."""
    kinds = {stream.type for stream in container.streams}
    if "video" in kinds:
        what, reason = "one that cannot", "it is cut off, or in a format unknown to FFmpeg"
        remedy = "Check that it was downloaded to the end, or convert it to H.264 with the program that made it"
    elif "audio" in kinds:
        what, reason = "only sound", "there is nothing to see"
        remedy = "Check that it is the right file; sound and pictures may have been downloaded as two files"
    elif kinds:
        what, reason, remedy = (
            f"only {min(kinds)}",
            "there is nothing to see",
            "Check that it is the right file",
        )
    else:
        what, reason = "no streams", "the file is cut off, or holds nothing"
        remedy = "Check that it was downloaded to the end"
    return DataError(f"{path}: no video stream that can be decoded: it holds {what}", reason=reason, remedy=remedy)


def cover_only_error(path: Path) -> DataError:
    """The error for sound with a cover picture."""
    return DataError(
        f"{path}: no video stream: it holds sound and a cover picture",
        reason="one picture that goes with the sound shows nothing that happens",
        remedy="Check that it is the right file",
    )


def encrypted_error(path: Path, by: str) -> DataError:
    """The error for a video that cannot be decoded without a key."""
    return DataError(
        f"{path}: the video is encrypted ({by})",
        reason="without its key nothing can be decoded",
        remedy="Give a copy without encryption",
    )


def damaged_error(path: Path, what: str) -> DataError:
    """The error for a broken file."""
    return DataError(
        f"{path}: {what}",
        reason="the file is truncated or corrupt, and a part of a video is never taken for the whole",
        remedy=f"Download it again, or re-encode it with: {REENCODE}",
    )


def no_times_error(path: Path) -> DataError:
    """The error for B-frames in AVI: the times that FFmpeg makes up for them are wrong by some frames."""
    return DataError(
        f"{path}: H.264 or HEVC with B-frames in AVI",
        reason="AVI keeps no times for frames that are stored in another order than they are shown in",
        remedy=f"Give it times with: {REENCODE}",
    )


def no_frames_error(path: Path) -> DataError:
    """The error for a file that is well formed and empty."""
    return DataError(
        f"{path}: its video stream has no frames",
        reason="there is nothing to see",
        remedy="Download it again, or leave the row out",
    )


def _no_video(path: Path, what: str, remedy: str = "Check that it is the right file") -> DataError:
    return DataError(f"{path}: {what}, not a video", reason="there are no pictures in it to decode", remedy=remedy)


def _one_picture(path: Path, kind: str) -> DataError:
    return _no_video(path, f"one picture ({kind})", "Give a video, or a folder of pictures with a frame rate")


def _no_clock_error(path: Path, name: str) -> DataError:
    convert = _CONVERT.replace("-i", "-framerate RATE -i")
    return DataError(
        f"{path}: a format that is not read here ({name})",
        reason="a bare stream has no container, and so no times of its frames",
        remedy=f"Give it times, at the frame rate that you know it has, with: {convert}",
    )


def _jpeg(path: Path) -> DataError:
    """One picture, or many one behind the other. FFmpeg tells a small JPEG by the ending of its name alone."""
    with path.open("rb") as file:
        several = _NEXT_JPEG in file.read(_JPEG_LOOKED_AT)
    return _no_clock_error(path, "mjpeg") if several else _one_picture(path, "JPEG")


def _recognise_beginning(path: Path, beginning: bytes) -> DataError | None:
    """The error for a file whose first bytes say what it is; None: they do not."""
    for magic, by in _ENCRYPTED:
        if beginning.startswith(magic):
            return encrypted_error(path, by)
    for magic, name in _BEGINNINGS:
        if beginning.startswith(magic):
            return _no_video(path, name)
    if found := explain_packed(beginning):
        return _no_video(path, found[0], found[1])
    if beginning.startswith(_JPEG):
        return _jpeg(path)
    if beginning[257:262] == b"ustar":
        return _no_video(path, "a tar archive", "Unpack it, such as with `tar -xf`")
    return None


def _text(path: Path, beginning: bytes) -> DataError | None:
    """The error for a text, with its kind; None: the file is not a text."""
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = beginning[: len(beginning) // 2 * 2].decode("utf-16", errors="replace")
    elif b"\0" in beginning or beginning.startswith(_WRITTEN_HEADERS):
        return None
    else:
        try:
            text = beginning.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if len(beginning) < _LOOKED_AT or error.start < _LOOKED_AT - 4:  # else it was cut within a character
                return None
            text = beginning[: error.start].decode("utf-8-sig")
    if any(ord(character) < 32 and character not in "\t\n\r\f\x1b" for character in text):
        return None
    start = text.lstrip().lower()
    see = "Open it in an editor to see what it says, and download the video itself"
    if start.startswith("version https://git-lfs"):
        return _no_video(
            path, "the pointer that Git LFS leaves in a file's place", "Fetch the file with `git lfs pull`"
        )
    if start.startswith(("#extm3u", "ffconcat", "[playlist]", "<smil", "[reference]")) or "<mpd" in start[:500]:
        remedy = "Make one file of what it names with: ffmpeg -i FILE -c copy NEW.mp4"
        return _no_video(path, "a playlist, which names other files", remedy)
    if re.match(r"<!doctype html|<html|<head|<body|<script|<!--", start) or "<html" in start[:1000]:
        return _no_video(path, "a web page (HTML), as servers send when they do not give the video", see)
    if start.startswith(("<?xml", "<error")):
        return _no_video(path, "XML, as servers send when they do not give the video", see)
    if start.startswith(("{", "[")):
        return _no_video(path, "JSON")
    first = " ".join(text.split("\n", 1)[0].split())
    first = first if len(first) <= _SHOWN else first[: _SHOWN - 1] + "…"
    kind = "a table" if path.suffix.lower() in (".csv", ".tsv") else "a text"
    return _no_video(path, f"{kind} that begins with {first!r}")


def _other_format(path: Path) -> DataError | None:
    """The error for a format that FFmpeg knows and this package does not read; None: FFmpeg does not know it."""
    known = _NO_CLOCK | _OTHER_VIDEO | _SOUND | _STILL.keys()
    options = {"format_whitelist": ",".join(sorted(known)), "protocol_whitelist": "file"}
    try:
        with av.open(f"file:{path.absolute()}", metadata_errors="replace", container_options=options) as container:
            name = container.format.name.split(",")[0]
            kinds = {stream.type for stream in container.streams}
    except (av.FFmpegError, OSError, ValueError):
        return None
    if name in _SOUND or "video" not in kinds:
        return _no_video(path, f"sound ({name})")
    if name in _STILL:
        return _one_picture(path, _STILL[name])
    if name in _NO_CLOCK:
        return _no_clock_error(path, name)
    return DataError(
        f"{path}: a format that is not read here ({name})",
        reason="only containers that are common and tell each frame's time are",
        remedy=f"Convert it with: {_CONVERT}",
    )
