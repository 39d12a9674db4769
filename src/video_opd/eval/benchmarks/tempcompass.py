"""TempCompass (arXiv 2403.00476): five temporal aspects, asked as multiple choice, yes or no, and caption matching.

Files and rules are those of github.com/llyx97/TempCompass at e1b4631: `questions/{kind}.json`, an object of video ->
aspect -> list of question and answer; `eval_{multi-choice,yes_no,caption_matching}.py` for the rules. An answer that
the rules cannot match goes to a language model there, or counts as wrong with `--disable_llm`; here it counts as wrong.
Captioning, the fourth kind, cannot be rated without a language model and is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from pydantic import BaseModel, StrictStr

from video_opd.data.prompt_templates import PromptTemplate
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
from video_opd.eval.benchmarks._question_files import rating_of
from video_opd.files.records import Record, json_entries

KINDS = {
    "multi-choice": "\nPlease directly give the best option:",
    "yes_no": "\nPlease answer yes or no:",
    "caption_matching": "\nPlease directly give the best option:",
}
"""Kind of question, as its file is called, and the instruction that follows the question."""

ASPECTS = ("action", "direction", "speed", "order", "attribute_change")


class _Item(BaseModel):
    question: StrictStr
    answer: StrictStr


def read(folder: Path, *, kinds: Sequence[str] = ()) -> tuple[Question, ...]:
    """The questions of some kinds, in the files' order.

    Args:
        folder: with `questions/*.json`, or the files themselves, and `videos/{id}.mp4`.
        kinds: of `KINDS`; none: those whose files are there.

    Raises:
        DataError: no file, or one that is not TempCompass's.
    """
    home = folder / "questions" if (folder / "questions").is_dir() else folder
    wanted = [kind for kind in KINDS if kind in kinds or (not kinds and (home / f"{kind}.json").is_file())]
    if not wanted:
        raise DataError(
            f"{folder} holds no questions of TempCompass",
            reason=f"neither the folder nor its subfolder `questions` has one of "
            f"{', '.join(f'{kind}.json' for kind in KINDS)}",
            remedy="give the folder of the official repository, with the videos as videos/ID.mp4",
        )
    found: list[Question] = []
    for kind in wanted:
        path = home / f"{kind}.json"
        asked = list(_read_questions(path, kind))
        if not asked:
            raise DataError(f"{path}", reason="it has no questions", remedy="Fetch the official file again")
        found += asked
    return tuple(found)


def _read_questions(path: Path, kind: str) -> Iterator[Question]:
    seen: dict[str, int] = {}
    for record in json_entries(path):
        if record.key is None:
            record.refuse(
                "the file is a list, but a file of TempCompass is an object with videos as keys",
                "Give the official file",
            )
        if record.key in seen:
            record.refuse(f"the video {record.key!r} is that of line {seen[record.key]} too")
        seen[record.key] = record.line
        video = f"videos/{record.key}.mp4"
        refuse_path(record, video)
        if not isinstance(record.value, dict):
            record.refuse(f"the video {record.key!r} has no object of aspects")
        for aspect, items in record.value.items():
            if aspect not in ASPECTS:
                record.refuse(
                    f"{aspect!r} is no aspect of TempCompass", f"Call it one of {', '.join(ASPECTS)}, or leave it out"
                )
            if not isinstance(items, list):
                record.refuse(f"aspect {aspect!r} has no list of questions")
            for place, item in enumerate(items):
                yield _make_question(record, kind, video, aspect, place, item)


def _make_question(record: Record, kind: str, video: str, aspect: str, place: int, value: object) -> Question:
    where = f"{aspect}, question {place + 1}"
    if not isinstance(value, dict):
        record.refuse(f"{where} is not an object")
    item = record.read_as(_Item, value)
    options = _list_options(kind, item.question)
    labels = {option.label for option in options}
    if not len(options) == len(labels) >= 2:
        _refuse(record, where, f"has {len(options)} options with {len(labels)} labels, where at least 2 are needed")
    right = _find_right(kind, item.answer, options)
    if right is None:
        _refuse(record, where, f"has the answer {item.answer!r}, which is none of its options")
    return Question(
        id=f"{kind}/{record.key}/{aspect}/{place}",
        video=video,
        prompt=item.question + KINDS[kind],
        options=options,
        right=right,
        answer=item.answer,
        categories=(("kind", kind), ("kind, aspect", f"{kind}, {aspect}")),
    )


def _refuse(record: Record, where: str, what: str) -> NoReturn:
    record.refuse(f"{where} {what}")


def _list_options(kind: str, question: str) -> tuple[Option, ...]:
    """What may be answered; multiple choice and caption matching have it in the lines below the question."""
    if kind == "yes_no":
        return tuple(Option(label=word, text=word, content=word) for word in ("yes", "no"))
    lines = question.split("\n")[1:]
    if kind == "multi-choice":
        return tuple(
            Option(label=label, text=line.strip(), content=line.strip()[2:].strip())
            for line in lines
            for label in [letter(place) for place in range(4)]
            if line.strip().startswith(f"{label}.")
        )
    # Cut at every ": ", as upstream does: a sentence with one in it loses its rest.
    return tuple(
        Option(label=line.split(": ")[0], text=line, content=line.split(": ")[1]) for line in lines if ": " in line
    )


def _find_right(kind: str, answer: str, options: Sequence[Option]) -> int | None:
    for place, option in enumerate(options):
        if kind == "multi-choice" and answer[:1] == option.label:
            return place
        if kind != "multi-choice" and answer == option.text:
            return place
    return None


def _official(answer: str, question: Question) -> Rating:
    kind, answer = question.category("kind"), answer.replace("</s>", "")
    read = {"multi-choice": _letter, "yes_no": _yes_or_no_prefix, "caption_matching": _caption}[kind](answer, question)
    return rating_of(read, question)


def _letter(answer: str, question: Question) -> str | None:
    """The whole answer, a letter alone, or a letter with a full stop or a bracket at the very beginning."""
    if answer == question.answer:
        return question.right_label
    found = re.match(r"([A-D])(?:[.)]|\Z)", answer)
    return found and found.group(1)


def _yes_or_no_prefix(answer: str, _: Question) -> str | None:
    """The first letters, whatever follows them: "Nothing happens" is a no."""
    return next((word for word in ("yes", "no") if answer.lower().startswith(word)), None)


def _caption(answer: str, question: Question) -> str | None:
    """An option, its sentence (also behind any "x) "), or its label, as "Option 1" or "1" (full stops aside)."""
    _, bracket, behind = answer.partition(") ")
    sentences = (answer, behind.split(") ")[0]) if bracket else (answer,)
    for fits in (
        lambda option: {option.label, option.label.split(" ")[-1]} & {answer, answer.replace(".", "")},
        lambda option: option.content in sentences,
        lambda option: option.text == answer,
    ):
        found = [option.label for option in question.options if fits(option)]
        if found:
            # Of two options with one sentence either is right if one is, since sentences are compared, not options.
            return question.right_label if question.right_label in found else found[-1]
    return None


def _strict(answer: str, question: Question) -> Rating:
    if question.category("kind") != "yes_no":
        return _official(answer.strip(), question)
    found = re.match(r"\W*(yes|no)\b", answer.lower())
    return rating_of(found and found.group(1), question)


TEMPCOMPASS = Benchmark(
    template=PromptTemplate(user="{video}{query}", queries="as-is"),
    rules={
        "official": RatingRule(
            says="TempCompass's own rules by kind of question, without its language model: an answer they cannot match "
            "counts as wrong, be it for a blank before it; a yes or no is told by the answer's first letters; every "
            "question counts",
            rate=_official,
        ),
        "strict": RatingRule(
            says="TempCompass's own rules but for blanks around the answer, and a yes or no only as a word; every "
            "question counts",
            rate=_strict,
        ),
    },
    max_new_tokens=128,  # run_qwen2_vl.py
    grouping="kind, aspect",
    read=read,
    options=frozenset({"kinds"}),
)
