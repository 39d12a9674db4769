"""Temporal grounding without a model: one IoU, one parser, one set of scores. No torch, no transformers."""

from video_opd.grounding.constant_answer import Constant, best_constant, best_constant_answer, best_constant_share
from video_opd.grounding.metrics import Scores, score
from video_opd.grounding.parser import PARSER_VERSION, ParsedAnswer, Reason, parse_answer
from video_opd.grounding.predictions import (
    GivenAnswer,
    make_prediction_row,
    read_answers,
    read_predictions,
    write_predictions,
)
from video_opd.grounding.regions import REGIONS, Region, find_regions
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
    "find_regions",
    "form_reward",
    "make_prediction_row",
    "parse_answer",
    "read_answers",
    "read_predictions",
    "register_reward",
    "score",
    "temporal_iou",
    "write_predictions",
]
