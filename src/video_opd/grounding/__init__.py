"""Temporal grounding without a model: one IoU, one parser, one set of scores. No torch, no transformers."""

from video_opd.grounding.constant_answer import Constant, best_constant, best_constant_answer, best_constant_share
from video_opd.grounding.metrics import Scores, score
from video_opd.grounding.parser import PARSER_VERSION, ParsedAnswer, Reason, parse_answer
from video_opd.grounding.predictions import (
    GivenAnswer,
    prediction_row,
    read_answers,
    read_predictions,
    write_predictions,
)
from video_opd.grounding.regions import REGIONS, Region, regions_of
from video_opd.grounding.reward import REWARDS, Reward, form_reward, register_reward
from video_opd.grounding.span import SpanLike, best_iou, best_span, temporal_iou

__all__ = [
    "PARSER_VERSION",
    "REGIONS",
    "REWARDS",
    "Constant",
    "GivenAnswer",
    "ParsedAnswer",
    "Reason",
    "Region",
    "Reward",
    "Scores",
    "SpanLike",
    "best_constant",
    "best_constant_answer",
    "best_constant_share",
    "best_iou",
    "best_span",
    "form_reward",
    "parse_answer",
    "prediction_row",
    "read_answers",
    "read_predictions",
    "regions_of",
    "register_reward",
    "score",
    "temporal_iou",
    "write_predictions",
]
