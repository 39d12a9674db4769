"""The tiny world: rendered clips in which coloured shapes come and go, and one is asked for.

It is small enough for a 1 M-parameter model to learn on a CPU, and the rest of the package cannot tell it from a real
data set: mp4 files, a manifest, questions in words. Training annotations carry noise, since real ones do; validation
and test annotations are exact.

The default noise follows TimeLens's audit of Charades-STA (arXiv 2512.14698), which found 20.6 % of the queries not
unique and 34.9 % of the boundaries imprecise, and more than that in the training corpora: here a fifth of the training
spans are those of something else in the clip, and a further 35 % have both ends moved by a normal error of 1 s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from video_opd.data.label_noise import LabelNoise
from video_opd.data.manifest import write_manifest
from video_opd.data.side_questions import SideQuestion, write_side_questions
from video_opd.data.video.video_io import write_video
from video_opd.data.world_folder import WorldFolder, WorldRecord, read_record, refuse_occupied
from video_opd.data.world_sizes import WorldSizes
from video_opd.errors import ConfigurationError
from video_opd.seeds import generator
from video_opd.types import Example, Span

COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 170, 70),
    "blue": (50, 90, 220),
    "yellow": (240, 210, 40),
    "purple": (150, 60, 180),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle")
GRID_S = 0.5
"""Events begin and end on this grid: at 2 frames a second nothing finer can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyWorld:
    """What the clips are like. Durations in seconds."""

    durations_s: tuple[float, ...] = (8.0, 10.0, 12.0)
    """A clip's length is drawn from these."""
    event_s: tuple[float, float] = (1.0, 4.0)
    num_events: tuple[int, int] = (2, 4)
    """Fewest and most things in a clip; each has its own quarter of the picture."""
    fps: float = 2.0
    side: int = 64
    """Pixels; the models look at 32 x 32 of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing, visible from `span.start_s` up to but not including `span.end_s`."""

    colour: str
    shape: str
    span: Span
    centre: tuple[float, float]
    """x, y as a fraction of the picture."""
    radius: float

    @property
    def name(self) -> str:
        """As a question calls it."""
        return f"the {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A few events in front of a grey wall."""

    id: str
    duration_s: float
    grey: int
    events: tuple[Event, ...]


def draw_clip(world: TinyWorld, rng: np.random.Generator, clip_id: str) -> Clip:
    """A clip at random. No two events share both colour and shape, so every name is unique in its clip."""
    duration_s = float(rng.choice(world.durations_s))
    num_events = int(rng.integers(world.num_events[0], world.num_events[1] + 1))
    kinds = rng.choice(len(COLOURS) * len(SHAPES), size=num_events, replace=False)
    quarters = rng.permutation(4)[:num_events]
    events = []
    for kind, quarter in zip(kinds, quarters, strict=True):
        steps = rng.integers(round(world.event_s[0] / GRID_S), round(world.event_s[1] / GRID_S) + 1)
        start = rng.integers(0, round(duration_s / GRID_S) - steps + 1)
        offset = rng.uniform(-0.04, 0.04, size=2)
        events.append(
            Event(
                colour=list(COLOURS)[kind % len(COLOURS)],
                shape=SHAPES[kind // len(COLOURS)],
                span=Span(float(start * GRID_S), float((start + steps) * GRID_S)),
                centre=(0.25 + 0.5 * (quarter % 2) + offset[0], 0.25 + 0.5 * (quarter // 2) + offset[1]),
                radius=float(rng.uniform(0.16, 0.20)),
            )
        )
    return Clip(id=clip_id, duration_s=duration_s, grey=int(rng.integers(20, 90)), events=tuple(events))


def render(clip: Clip, world: TinyWorld) -> np.ndarray:
    """The clip's frames, uint8 (T, side, side, 3); frame i is what is seen at i / fps seconds."""
    times = np.arange(round(clip.duration_s * world.fps)) / world.fps
    frames = np.full((len(times), world.side, world.side, 3), clip.grey, dtype=np.uint8)
    axis = (np.arange(world.side) + 0.5) / world.side
    x, y = np.meshgrid(axis, axis)
    for event in clip.events:
        dx, dy, r = x - event.centre[0], y - event.centre[1], event.radius
        inside = {
            "circle": dx**2 + dy**2 <= r**2,
            "square": (abs(dx) <= 0.88 * r) & (abs(dy) <= 0.88 * r),
            "triangle": (dy <= 0.8 * r) & (dy >= -r + 2.0 * abs(dx)),
        }[event.shape]
        visible = (times >= event.span.start_s) & (times < event.span.end_s)
        for index in visible.nonzero()[0]:
            frames[index][inside] = COLOURS[event.colour]
    return frames


def annotate(event: Event, clip: Clip, noise: LabelNoise, rng: np.random.Generator) -> Span:
    """The span an annotator would have written down: within the clip, and on the grid the models write times on.
    (Off it, a method that trains on annotations would suffer from digits that no annotator wrote, and not from noise.)

    Args:
        event: what the annotation is of.
        clip: whose events an annotation may mistake for it.
        noise: how often, and by how much, an annotator errs.
        rng: draws what this annotator does.
    """
    fate = rng.random()
    if fate < noise.wrong_share:
        others = [other for other in clip.events if other is not event]
        return others[int(rng.integers(len(others)))].span if others else event.span
    if fate < noise.wrong_share + noise.imprecise_share:
        return displace(event.span, rng.normal(0, noise.jitter_s, 2), clip.duration_s)
    return event.span


def displace(span: Span, errors_s: np.ndarray, duration_s: float) -> Span:
    """A span with its two ends moved, within the clip, on the grid, and at least one step of it long."""
    last = round(duration_s / GRID_S)
    moved = np.round((np.array(span) + errors_s) / GRID_S).clip(0, last)
    start, end = sorted(int(step) for step in moved)
    if start == end:
        start, end = (start, end + 1) if end < last else (start - 1, end)
    return Span(start * GRID_S, end * GRID_S)


def make_examples(clip: Clip, *, queries: int, noise: LabelNoise | None, rng: np.random.Generator) -> Iterator[Example]:
    """Ask about different events of one clip.

    Args:
        clip: what is asked about.
        queries: most questions.
        noise: of the annotated spans; None: they are exact.
        rng: draws the events and the noise.
    """
    for index in rng.permutation(len(clip.events))[:queries]:
        event = clip.events[int(index)]
        yield Example(
            id=f"{clip.id}-{index}",
            video=f"{clip.id}.mp4",
            query=event.name,
            spans=(annotate(event, clip, noise, rng) if noise else event.span,),
            duration=clip.duration_s,
            source="tiny-world",
        )


def make_side_questions(clip: Clip) -> Iterator[SideQuestion]:
    """Is one thing visible before another? Easy for a model that can see, and never trained on by a run: what it loses
    here it has forgotten. One question a clip, where two things do not begin together."""
    for one, other in pairwise(clip.events):
        if one.span.start_s != other.span.start_s:
            yield SideQuestion(
                id=f"{clip.id}-before",
                video=f"{clip.id}.mp4",
                question=f"{one.name} visible before {other.name}",
                answer="yes" if one.span.start_s < other.span.start_s else "no",
                duration=clip.duration_s,
            )
            return


SPLITS = ("train", "validation", "test")
SIDE_QUESTIONS = "before"


VERSION = 2
"""Goes up when the same settings render another world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What is rendered: same settings, same bytes."""

    seed: int = 0
    world: TinyWorld = TinyWorld()
    noise: LabelNoise = field(default_factory=LabelNoise)
    num_queries: dict[str, int] = field(default_factory=dict)
    """Examples a split; as many as `WorldSizes` says where not given."""
    queries_per_clip: int = 2

    def size(self, split: str) -> int:
        """Examples of one split."""
        return WorldSizes().map_to_splits()[split] if split not in self.num_queries else self.num_queries[split]

    def describe(self) -> dict[str, Any]:
        """As JSON, to recognise a folder by."""
        noise = {name: getattr(self.noise, name) for name in LabelNoise.model_fields}
        sizes = {split: self.size(split) for split in SPLITS}
        description = asdict(self) | {"noise": noise, "version": VERSION, "num_queries": sizes}
        described: dict[str, Any] = json.loads(json.dumps(description))
        return described


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What a folder was rendered with; None where no world was finished."""
    record = read_record(folder)
    return record.settings if record and record.is_finished else None


def build(folder: Path, settings: BuildSettings | None = None) -> dict[str, Path]:
    """Render the world: `folder/videos/*.mp4` and a manifest for each split. No file that is there is ever replaced.

    The folder is new or empty, or one of this function's own: what an earlier call made there is kept, and what is
    missing is made again. A call that was killed goes on.

    Returns:
        The manifest of each split, and the file of side questions about the test clips.

    Raises:
        ConfigurationError: the folder holds something else, or a file that was changed since it was rendered.
    """
    settings = settings or BuildSettings()
    manifests = {name: folder / f"{name}.jsonl" for name in (*SPLITS, SIDE_QUESTIONS)}
    record = refuse_foreign(folder, settings)
    if record and record.is_of_earlier_version:
        return manifests  # it is complete, or it would have been refused
    with WorldFolder.open(folder, settings.describe(), record) as world:
        for name, write in _list_files(settings).items():
            world.put(name, write)
    return manifests


def refuse_foreign(folder: Path, settings: BuildSettings) -> WorldRecord | None:
    """Refuse to render where anything else lies; nothing is changed.

    Returns:
        What is recorded of the world there; None: there is nothing.

    Raises:
        ConfigurationError: as `build`.
    """
    record = read_record(folder)
    if record is None:
        refuse_occupied(folder)
    elif record.settings != settings.describe():
        raise ConfigurationError(
            f"{folder} holds a tiny world of other settings",
            reason=f"{settings.describe()} are asked for, and there is one of {record.settings}",
            remedy="give the tiny world a new folder, or remove this one",
        )
    else:
        record.refuse_changed(folder, _list_files(settings))
    return record


def _draw_clips(split: str, settings: BuildSettings) -> tuple[list[Clip], list[Example]]:
    """As many clips as the split's examples need, and the examples."""
    noise, size = settings.noise if split == "train" else None, settings.size(split)
    clips: list[Clip] = []
    examples: list[Example] = []
    while len(examples) < size:
        rng = generator(settings.seed, "tiny-world", split, len(clips))
        clips.append(draw_clip(settings.world, rng, f"{split}-{settings.seed}-{len(clips):05d}"))
        examples += make_examples(clips[-1], queries=settings.queries_per_clip, noise=noise, rng=rng)
    return clips, examples[:size]


def _list_files(settings: BuildSettings) -> dict[str, Callable[[Path], object]]:
    """Every file of a world by its name in the folder, and what writes it to a path; the manifests first."""
    drawn = {split: _draw_clips(split, settings) for split in SPLITS}
    questions = [question for clip in drawn["test"][0] for question in make_side_questions(clip)]
    return {
        **{f"{split}.jsonl": partial(write_manifest, examples=examples) for split, (_, examples) in drawn.items()},
        f"{SIDE_QUESTIONS}.jsonl": partial(write_side_questions, questions=questions),
        **{
            f"videos/{clip.id}.mp4": partial(_write_clip, clip, settings.world)
            for clips, _ in drawn.values()
            for clip in clips
        },
    }


def _write_clip(clip: Clip, world: TinyWorld, path: Path) -> None:
    write_video(path, render(clip, world), world.fps)
