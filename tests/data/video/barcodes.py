"""Clips whose frames have their numbers painted on them, by PyAV itself."""

from fractions import Fraction

import av
import numpy as np

from video_opd.data.video.video_io import VideoBudget

HEIGHT, BITS, BAR = 64, 10, 8
EVERY_FRAME = VideoBudget(fps=1000, max_tokens=100_000)


def barcode(number, height=HEIGHT):
    """A frame with its number painted as ten vertical bars, dark for 0 and bright for 1."""
    bars = [220 if number >> bit & 1 else 40 for bit in range(BITS)]
    return np.broadcast_to(np.repeat(bars, BAR)[None, :, None], (height, BITS * BAR, 3)).astype(np.uint8)


def number(image):
    """The number painted on a frame, whatever its size now."""
    middle = image[image.shape[0] // 2].mean(axis=1)
    bar = len(middle) / BITS
    return sum((middle[int((bit + 0.5) * bar)] > 128) << bit for bit in range(BITS))


def numbers(frames):
    """The numbers painted on all of them."""
    return tuple(number(image) for image in frames.images)


def encode(
    path,
    num_frames=50,
    *,
    codec="libx264",
    rate=25,
    pts=None,
    tick=None,
    pix_fmt="yuv420p",
    mux=None,
    images=None,
    **options,
):  # fmt: skip
    """A barcode clip by PyAV itself, for everything that `write_video` cannot make."""
    num_frames = num_frames if images is None else len(images)
    tick = tick or Fraction(1, rate)
    with av.open(str(path), "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={key: str(value) for key, value in options.items()})
        stream.width, stream.height, stream.pix_fmt = BITS * BAR, HEIGHT, pix_fmt
        stream.codec_context.time_base = tick
        for at in range(num_frames):
            image = barcode(at) if images is None else images[at]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (pts[at] if pts else at), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
