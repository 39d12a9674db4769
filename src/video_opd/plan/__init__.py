"""What a run will need, before the hours are spent: memory, operations, seconds, hours, by the recipe and the cards."""

from video_opd.plan.cards import KNOWN_CARDS, GpuCard, Gpus, find_gpus_here, parse_gpus
from video_opd.plan.measured_errors import describe_accuracy
from video_opd.plan.plan_record import Plan, describe_plan
from video_opd.plan.run_plan import make_plan

__all__ = [
    "KNOWN_CARDS",
    "GpuCard",
    "Gpus",
    "Plan",
    "describe_accuracy",
    "describe_plan",
    "find_gpus_here",
    "make_plan",
    "parse_gpus",
]
