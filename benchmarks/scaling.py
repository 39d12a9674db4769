"""Write docs/SCALING.md and docs/scaling.svg: how memory and time of a step grow, by the code of `video-opd plan`.

    python benchmarks/scaling.py [--check]

Nothing is measured. `--check` writes nothing and fails if the page is not what the code says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling_picture import Panel, draw
from video_opd.config import Recipe
from video_opd.config.recipe_file import parse_recipe
from video_opd.plan import Plan, describe_accuracy, make_plan, parse_gpus
from video_opd.plan.step_time import BACKWARD_SHARE, LAYER_S, LINK_SHARE, SHARE_OF_RATE
from video_opd.train.memory_estimate import GIB

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "SCALING.md", DOCS / "scaling.svg"

BATCH = 512
CARD = "H100-80GB"
TEACHERS = ("4B", "8B", "30B-A3B", "32B", "235B-A22B")
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = tuple(1024 * 2**power for power in range(8))
ANSWERS = (1, 2, 4, 8, 16)
TOGETHER = (1, 2, 4, 8)

PHASES = ("read", "answer", "teacher", "score", "backward", "step", "communication")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Plans that differ in one thing."""

    title: str
    what: str
    """Heading of the first column."""
    plans: dict[str, Plan] = field(default_factory=dict)
    """By the value of the first column."""


def make_recipe(*, teacher: str = "32B", **tables: dict[str, Any]) -> Recipe:
    """Video-OPD of an 8B, as in the paper, but for the batch.

    Args:
        teacher: size of the Qwen3-VL that teaches; "" for none.
        tables: of the recipe, beside or in place of the usual ones.
    """
    student = {"model": "Qwen/Qwen3-VL-8B-Instruct", "freeze_vision": True, "freeze_merger": True}
    training = {"batch_size": BATCH, "micro_batch_size": 1, "gradient_checkpointing": True,
                "answer_together": 1}  # fmt: skip
    usual = {"training": training, "video": {"max_tokens": 8192}, "compute": {"precision": "bfloat16"}}
    whole = {name: {**usual.get(name, {}), **tables.get(name, {})} for name in (*usual, *tables)}
    whole["data"] = dict.fromkeys(("videos", "train", "validation"), "not-there")
    if teacher:
        whole["teacher"] = {"model": f"Qwen/Qwen3-VL-{teacher}-Instruct"}
    return parse_recipe({"name": "scaling", "student": student, **whole})


def plan(recipe: Recipe, count: int) -> Plan:
    """On so many cards."""
    return make_plan(recipe, parse_gpus(f"{count}x{CARD}"), num_examples=BATCH)


def make_curves() -> list[Curve]:
    """All of them."""
    whole, nodes = (
        {f"{count:,}": plan(make_recipe(compute={"shards": shards} if count > 8 and shards else {}), count)
         for count in RANKS}
        for shards in (None, 8)
    )  # fmt: skip
    tokens = {f"{count:,}": plan(make_recipe(video={"max_tokens": count}), 8) for count in TOKENS}
    opd = {f"{count}": plan(make_recipe(method={"num_answers": count}), 8) for count in ANSWERS}
    grpo = {
        f"{count}": plan(make_recipe(teacher="", method={"name": "grpo", "num_answers": count}), 8)
        for count in ANSWERS[1:]
    }
    teachers = {name: plan(make_recipe(teacher=name), 8) for name in TEACHERS}
    together = {f"{count}": plan(make_recipe(training={"answer_together": count}), 32) for count in TOGETHER}
    return [
        Curve(title="Cards, weights split over all of them", what="cards", plans=whole),
        Curve(title="Cards, weights split over the 8 of a node (`compute.shards = 8`)", what="cards", plans=nodes),
        Curve(title="Video tokens, 8 cards", what="video tokens", plans=tokens),
        Curve(title="Answers to a prompt, Video-OPD, 8 cards", what="answers", plans=opd),
        Curve(title="Answers to a prompt, GRPO, 8 cards", what="answers", plans=grpo),
        Curve(title="Teacher, 8 cards", what="teacher", plans=teachers),
        Curve(
            title="Prompts that are answered together (`training.answer_together`), 32 cards",
            what="prompts",
            plans=together,
        ),
    ]


def write_table(curve: Curve) -> str:
    """A curve as a table: seconds of a card for one prompt, so that all tables have one unit."""
    shown = [phase for phase in PHASES if any(each.seconds[phase] > 0 for each in curve.plans.values())]
    lines = [
        f"| {curve.what} | GiB of a card | TFLOP | seconds | {' | '.join(shown)} |",
        "|" + "---:|" * (4 + len(shown)),
    ]
    for value, each in curve.plans.items():
        prompts = each.work.prompts
        flops = sum(count.total for count in each.flops.values()) / prompts / 1e12
        fit = "" if each.fit == "fits" else f" ({each.fit})"
        seconds = " | ".join(f"{each.seconds[phase] / prompts:.2f}" for phase in shown)
        lines.append(
            f"| {value} | {each.memory.peak / GIB:.1f}{fit} | {flops:,.0f} | {each.step_s / prompts:.2f} | {seconds} |"
        )
    return "\n".join(lines)


def write_page(curves: Sequence[Curve]) -> str:
    """The whole page."""
    tables = "\n\n".join(f"## {curve.title}\n\n{write_table(curve)}" for curve in curves)
    return _PAGE.format(
        card=CARD,
        batch=BATCH,
        accuracy=describe_accuracy(),
        tables=tables,
        room=_room(),
        forward=round(100 * SHARE_OF_RATE),
        backward=round(100 * BACKWARD_SHARE),
        layer_ms=1000 * LAYER_S,
        link=round(100 * LINK_SHARE),
        answer_tokens=make_recipe().answers.max_new_tokens,
    )


def _room() -> str:
    return f"{parse_gpus(CARD).card.room / GIB:.1f}"


def draw_picture(curves: Sequence[Curve]) -> str:
    """Memory above, seconds below."""
    ranks, nodes, tokens, opd, _, teachers, _ = curves
    panels = [
        Panel(title="cards", names=list(ranks.plans), lines=_lines(ranks) | {"split in a node": _memory(nodes)}),
        Panel(title="video tokens", names=[f"{count // 1024}k" for count in TOKENS], lines=_lines(tokens)),
        Panel(title="answers to a prompt", names=list(opd.plans), lines=_lines(opd)),
        Panel(title="teacher", names=[name.split("-")[0] for name in TEACHERS], lines=_lines(teachers)),
    ]
    return draw(panels, room_gib=float(_room()))


def _memory(curve: Curve) -> list[float]:
    return [each.memory.peak / GIB for each in curve.plans.values()]


def _lines(curve: Curve) -> dict[str, list[float]]:
    """Memory, and the seconds of a card for one prompt: in all and of the phases that may be most."""
    groups = {"student": ("read", "score", "backward", "step"), "answers": ("answer",), "teacher": ("teacher",),
              "communication": ("communication",)}  # fmt: skip
    plans = curve.plans.values()
    found = {name: [sum(each.seconds[phase] for phase in phases) / each.work.prompts for each in plans]
             for name, phases in groups.items()}  # fmt: skip
    return {"memory": _memory(curve), "in all": [each.step_s / each.work.prompts for each in plans], **found}


def main() -> int:
    """Write the page and the picture, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the page is another one")
    check = parser.parse_args().check
    curves = make_curves()
    written = {PAGE: write_page(curves), PICTURE: draw_picture(curves)}
    for path, text in written.items():
        if check and path.read_text(encoding="utf-8") != text:
            print(f"{path} is not what the code says: run python benchmarks/scaling.py", file=sys.stderr)
            return 1
        if not check:
            path.write_text(text, encoding="utf-8")
    return 0


_PAGE = """# How memory and time grow

`python benchmarks/scaling.py` writes this page with the code of `video-opd plan`. Nothing here was measured, except the
errors in the next sentences. {accuracy}

![Memory of a card and seconds of a card for one prompt, over cards, video tokens, answers and teachers](scaling.svg)

All tables are about Video-OPD with an 8B student on {card} cards. What a table does not vary is: a teacher of 32B,
8,192 video tokens, one answer, and {batch} prompts a step. A card reads one prompt at a time. Seconds and operations
are those of one card for one prompt: a card needs the seconds times its number of prompts for a step. `TFLOP` counts
products and attention. A card has {room} GiB.

Assumptions:

- The language model is trained in whole; vision tower and mergers are frozen. Gradient checkpointing is on.
- Prompts are answered one after the other, but for the last table. A run answers as many together as fit, unless its
  recipe says otherwise.
- A video has 384 temporal groups (768 frames), also with few tokens. A prompt has 10 tokens of text for each group and
  200 for the question. An answer has {answer_tokens} tokens, the largest number.
- Of a card's bfloat16 rate, a pass forward gets {forward} % and a backward pass {backward} %. Launching a layer takes
  {layer_ms:.1f} ms. These are shares and times of the measured steps, which had a student of 2B and a teacher of 8B.
- Between the cards of a node, {link} % of NVLink's bandwidth is used. Between nodes of eight cards it is {link} % of
  400 Gb/s for each card. Communication and computation do not overlap. No card waits for another one. None of this was
  measured.
- The time to decode videos is left out: [SCALE.md](SCALE.md).

What the tables show:

- Answers are written token by token, and the launches decide: an answer costs the same time for every size of the
  video, and several answers to a prompt cost about as much as one.
- Over more than eight cards, weights that are split over all of them go through the network for every prompt: about
  5 s of 15. With `compute.shards = 8` they stay inside the node, and a card holds as much as with eight cards.
- Memory and time grow with the video tokens. At 65,536 and more, attention is most of the operations of reading.

{tables}
"""


if __name__ == "__main__":
    sys.exit(main())
