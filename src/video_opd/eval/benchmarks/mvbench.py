"""MVBench (arXiv 2311.17005): twenty tasks of 200 questions each over videos of eleven data sets.

Files, prompt and official rule are those of github.com/OpenGVLab/Ask-Anything, `video_chat2/mvbench.ipynb`:
`json/{task}.json`, a list of `{"video", "question", "candidates", "answer"}`, five tasks with `start` and `end` in
seconds; videos below `video/` in a folder for each source, those of Episodic Reasoning as folders of pictures. The
rule of lmms-eval is `lmms_eval/tasks/mvbench/utils.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, StrictFloat, StrictInt, StrictStr

from video_opd.data.prompt_templates import PromptTemplate
from video_opd.data.video.picture_folder import find_timeline
from video_opd.data.video.video_names import is_picture
from video_opd.errors import DataError
from video_opd.eval.benchmarks._question import (
    Benchmark,
    Option,
    Question,
    Rating,
    RatingRule,
    letter,
    refuse_path,
)
from video_opd.eval.benchmarks._question_files import STRICT, rate_strictly
from video_opd.files.records import Record, json_entries
from video_opd.types import Span

TASKS = {
    "action_sequence": ("Action Sequence", "star/Charades_v1_480"),
    "action_prediction": ("Action Prediction", "star/Charades_v1_480"),
    "action_antonym": ("Action Antonym", "ssv2_video"),
    "fine_grained_action": ("Fine-grained Action", "Moments_in_Time_Raw/videos"),
    "unexpected_action": ("Unexpected Action", "FunQA_test/test"),
    "object_existence": ("Object Existence", "clevrer/video_validation"),
    "object_interaction": ("Object Interaction", "star/Charades_v1_480"),
    "object_shuffle": ("Object Shuffle", "perception/videos"),
    "moving_direction": ("Moving Direction", "clevrer/video_validation"),
    "action_localization": ("Action Localization", "sta/sta_video"),
    "scene_transition": ("Scene Transition", "scene_qa/video"),
    "action_count": ("Action Count", "perception/videos"),
    "moving_count": ("Moving Count", "clevrer/video_validation"),
    "moving_attribute": ("Moving Attribute", "clevrer/video_validation"),
    "state_change": ("State Change", "perception/videos"),
    "fine_grained_pose": ("Fine-grained Pose", "nturgbd"),
    "character_order": ("Character Order", "perception/videos"),
    "egocentric_navigation": ("Egocentric Navigation", "vlnqa"),
    "episodic_reasoning": ("Episodic Reasoning", "tvqa/frames_fps3_hq"),
    "counterfactual_inference": ("Counterfactual Inference", "clevrer/video_validation"),
}
"""File -> the task's name and the folder its videos are in, below `video`."""

CROPPED = ("action_sequence", "action_prediction", "object_interaction", "action_localization", "episodic_reasoning")
"""Tasks about the stretch from `start` to `end` of a video."""

PICTURES_FPS = 3
"""Pictures per second of TVQA's folders, which are called `frames_fps3_hq`.

Upstream takes the picture numbered `round(3 * t)` for the moment t, and the first for 0 s; here the first is at 0 s and
number n at (n - 1) / 3 s, when it was taken from the film, which is at most one picture later.
"""

SYSTEM = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
    "objects, and the action and pose of persons. Based on your observations, select the best option that accurately "
    "addresses the question."
)


class _MvbenchRow(BaseModel):
    video: StrictStr
    question: StrictStr
    candidates: list[StrictStr]
    answer: StrictStr
    start: StrictFloat | StrictInt | None = None
    end: StrictFloat | StrictInt | None = None


def read(folder: Path) -> tuple[Question, ...]:
    """The questions of the tasks whose files are there.

    Raises:
        DataError: no file, one that is not MVBench's, or a video whose name is that of several files.
    """
    home = folder / "json" if (folder / "json").is_dir() else folder
    paths = sorted(home.glob("*.json"))
    if not paths:
        raise DataError(
            f"{folder} holds no questions of MVBench",
            reason="neither the folder nor its subfolder `json` has a file such as action_sequence.json",
            remedy="give the folder that holds MVBench's `json` and `video`",
        )
    for path in paths:
        if path.stem not in TASKS:
            raise DataError(
                f"{path}",
                reason="MVBench has no task of that name",
                remedy=f"Remove the file; the tasks are {', '.join(TASKS)}",
            )
    places = _find_places(folder)
    paths.sort(key=lambda path: list(TASKS).index(path.stem))
    questions = tuple(question for path in paths for question in _read_questions(path, folder, places))
    if not questions:
        raise DataError(
            f"{folder} holds no questions of MVBench that can be asked",
            reason="its files are empty lists",
            remedy="download them again",
        )
    return questions


def _find_places(folder: Path) -> Mapping[str, list[str]]:
    """Name of every folder and of every file that is no picture -> where there is one, as paths below `folder`."""
    places: dict[str, list[str]] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if not is_picture(name):  # of TVQA's there are hundreds to a video
                places.setdefault(name, []).append((Path(root) / name).relative_to(folder).as_posix())
    return places


def _read_questions(path: Path, folder: Path, places: Mapping[str, list[str]]) -> Iterator[Question]:
    task, source = TASKS[path.stem]
    for place, record in enumerate(json_entries(path)):
        if record.key is not None or not isinstance(record.value, dict):
            record.refuse("a file of MVBench is a list of objects, and this file is not", "Give the official file")
        row = record.read_as(_MvbenchRow)
        if not 2 <= len(row.candidates) <= 26:
            record.refuse(f"`candidates` has {len(row.candidates)} entries, and at least 2 are needed")
        if row.answer not in row.candidates:
            record.refuse(f"`answer` is {row.answer!r}, which is none of the candidates")
        refuse_path(record, row.video)
        video = _locate(record, row.video, source, places)
        yield Question(
            id=f"{path.stem}/{place}",
            video=video,
            prompt=_make_prompt(row),
            options=tuple(
                Option(label=letter(at), text=f"{letter(at)}) {text}", content=text)
                for at, text in enumerate(row.candidates)
            ),
            # The last of equal ones, as upstream has it; lmms-eval takes the first.
            right=len(row.candidates) - 1 - row.candidates[::-1].index(row.answer),
            answer=row.answer,
            categories=(("task", task),),
            clip=_make_clip(folder / video, row.start, row.end) if path.stem in CROPPED else None,
            frame_rate=_find_rate(folder / video),
        )


def _make_prompt(row: _MvbenchRow) -> str:
    options = "\n".join(f"({letter(at)}) {text}" for at, text in enumerate(row.candidates))
    return f"Question: {row.question}\nOptions:\n{options}".rstrip() + "\nOnly give the best option."


def _locate(record: Record, video: str, source: str, places: Mapping[str, list[str]]) -> str:
    """Where a video lies below the folder: in the folder of its source, else wherever its name is found."""
    found = [place for place in places.get(Path(video).name, ()) if f"/{place}".endswith(f"/{video}")]
    expected = [place for place in found if f"/{place}".endswith(f"/{source}/{video}")] or found
    if len(expected) > 1:
        record.refuse(
            f"the video {video!r} is there several times: {', '.join(sorted(expected)[:3])}",
            f"Keep only the right one, in video/{source}",
        )
    return expected[0] if expected else f"video/{source}/{video}"


def _make_clip(video: Path, start: float | None, end: float | None) -> Span | None:
    """The stretch that is asked about, no longer than the video, as upstream cuts it. Of a video that lmms-eval's copy
    has cut out already (`…_segment`), all."""
    if start is None or end is None or any(part.endswith("_segment") for part in video.parts):
        return None
    with contextlib.suppress(DataError):  # told when the question is asked
        end = min(end, find_timeline(video, _find_rate(video)).duration_s)
    return Span(float(start), float(end))


def _find_rate(video: Path) -> float | None:
    return PICTURES_FPS if os.path.isdir(video) else None  # `Path.is_dir` raises for a name that is too long


def _official(answer: str, question: Question) -> Rating:
    """First word of the answer's first line, behind the "(" that the prompt ends with: it is in "(a)", or "(a)" in it.

    So an empty answer is right, whatever was asked.
    """
    word = ("(" + answer.strip().split("\n")[0]).lower().split(" ")[0]

    def is_match(label: str) -> bool:
        wanted = f"({label.lower()})"
        return word.replace(".", "") in wanted or wanted in word

    right = is_match(question.right_label)
    if not word.strip("(.)"):
        return Rating(correct=right, read=None)
    named = [option.label for option in question.options if is_match(option.label)]
    return Rating(correct=right, read=question.right_label if right else next(iter(named), None))


def _lmms_eval(answer: str, question: Question) -> Rating:
    """Of options with the same words the first is the right one here."""
    right = next(option.label for option in question.options if option.content == question.answer)
    read = _first_letter(answer)
    return Rating(correct=read == right, read=read, counted=answer != "")


def _first_letter(answer: str) -> str | None:
    """The first letter A to E that stands alone once punctuation is gone, small ones and the article "a" too."""
    begins = re.match(r"([A-E])\.\s*.+\Z", answer.strip(), re.IGNORECASE)
    if begins:
        return begins.group(1).upper()
    text = flat = " ".join(re.split(r"[\n\t]", answer)).strip()
    numbers = re.search(r"\d,\d", flat) is not None
    for mark in ';/[]"{}()=+\\_-><@`,?!':
        # A mark beside a blank anywhere goes everywhere; one that never is becomes a blank.
        text = text.replace(mark, "" if numbers or f"{mark} " in flat or f" {mark}" in flat else " ")
    text = re.sub(r"\.(?!\d)", "", text)
    found = re.search(r"\b[a-e]\b", text.strip("'\"() ").lower())
    return found and found.group().upper()


MVBENCH = Benchmark(
    template=PromptTemplate(user="{video}{query}", system=SYSTEM, answer_prefix="Best option:(", queries="as-is"),
    rules={
        "strict": RatingRule(says=STRICT, rate=rate_strictly),
        "official": RatingRule(
            says="MVBench's own: the answer's first word, behind the \"(\" that the prompt ends with, is part of the "
            'right option\'s "(a)" or the other way round, so an empty answer counts as correct; every question counts',
            rate=_official,
        ),
        "lmms-eval": RatingRule(
            says="lmms-eval 0.7.3's: the first letter A to E that stands alone, the article included; of candidates "
            "with the same words the first is right; empty answers are left out of the denominator; the prompt stays "
            "MVBench's own",
            rate=_lmms_eval,
        ),
    },
    max_new_tokens=100,  # mvbench.ipynb
    grouping="task",
    read=read,
)
