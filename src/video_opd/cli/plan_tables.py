"""The tables of `plan` on stdout for a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from video_opd.consoles import EscapingConsole
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.plan import Plan

_GIB = 2**30


def show_plan(plan: Plan) -> None:
    """Print what a run needs: memory by part, operations and seconds by phase, hours, and what fits."""
    console = EscapingConsole()
    memory, work = plan.memory, plan.work
    checkpointed = " and gradient checkpointing" if memory.is_checkpointed else ""
    show(f"{plan.recipe.name} on {plan.gpus}")
    show(f"memory of a card in the phase `{memory.phase}`, with {memory.load.tokens:,} prompt tokens{checkpointed}:")
    console.print(_make_memory_table(plan))
    show(
        f"a step of one process (of {plan.num_processes}): {work.prompts:g} prompts of {work.tokens:,.0f} tokens, "
        f"answers to a prompt: {work.answers} of {work.answer_tokens:g} tokens:"
    )
    console.print(_make_time_table(plan))
    for line in list_sentences(plan):
        show(line)


def list_sentences(plan: Plan) -> list[str]:
    """What stands below the tables.

    Args:
        plan: what is described.
    """
    sizes = ", ".join(f"{name} {_describe_size(shape.num_all)}" for name, shape in plan.name_models().items())
    lines = [f"parameters: {sizes}; trained {_describe_size(plan.num_trained)}"]
    if plan.num_steps is None:
        lines.append("hours: not known, because the training manifest is not there; give --examples N")
    else:
        steps = plan.step_sizes or ()
        full = f" with a full batch, {sum(steps):,} examples in all" if len(set(steps)) > 1 else ""
        lines.append(
            f"hours: {plan.hours:.1f}, {plan.num_steps} steps of {plan.step_s:.1f} s{full}{_describe_rest(plan)}"
        )
    if plan.selection_s is None:
        lines.append("scoring of the pool: not known, because the training manifest is not there; give --examples N")
    lines.append(
        f"fits at most: video.max_tokens {_or_none(plan.largest_max_tokens)}; answers to a prompt "
        f"{_or_none(plan.largest_num_answers)}"
    )
    if plan.gpus.card.assumed:
        lines.append(f"assumed of the card, because --gpus does not say it: {'; '.join(plan.gpus.card.assumed)}")
    if plan.fit == "tight":
        lines.append("The memory is tight: the estimate and a margin of 15 % are more than the card has.")
    return lines


def _describe_rest(plan: Plan) -> str:
    parts = {"scoring the pool": plan.selection_s, "evaluations": plan.evaluation_s}
    return "".join(f", {name} {seconds / 3600:.1f} h" for name, seconds in parts.items() if seconds)


def _describe_size(count: int) -> str:
    """A number of weights, in millions or billions."""
    return f"{count / 1e9:.2f} B" if count >= 1e8 else f"{count / 1e6:.2f} M"


def _or_none(number: int | None) -> str:
    return "none" if number is None else f"{number:,}"


def _make_memory_table(plan: Plan) -> Table:
    memory = plan.memory
    table = Table()
    table.add_column("part")
    table.add_column("GiB", justify="right")
    for part, size in memory.parts.items():
        table.add_row(part, f"{size / _GIB:.2f}")
    table.add_section()
    table.add_row("in all", f"{memory.peak / _GIB:.2f}")
    table.add_row("of the card", f"{plan.room / _GIB:.2f} ({plan.fit})")
    return table


def _make_time_table(plan: Plan) -> Table:
    table = Table()
    for heading in ("phase", "TFLOP", "seconds"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for phase, seconds in plan.seconds.items():
        flops = plan.flops.get(phase)
        table.add_row(phase, "" if flops is None else f"{flops.total / 1e12:,.1f}", f"{seconds:.2f}")
    table.add_section()
    total = sum(flops.total for flops in plan.flops.values())
    table.add_row("in all", f"{total / 1e12:,.1f}", f"{plan.step_s:.2f}")
    return table
