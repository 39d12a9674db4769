"""Temporal grounding without a model: one IoU, one parser, one set of scores. No torch, no transformers."""

from video_opd.grounding.answer import PARSER_VERSION, ParsedAnswer, Reason, parse_answer
from video_opd.grounding.metrics import Scores, best_constant_answer, score
from video_opd.grounding.predictions import read_predictions, write_predictions
from video_opd.grounding.span import SpanLike, best_iou, temporal_iou

__all__ = [
    "PARSER_VERSION",
    "ParsedAnswer",
    "Reason",
    "Scores",
    "SpanLike",
    "best_constant_answer",
    "best_iou",
    "parse_answer",
    "read_predictions",
    "score",
    "temporal_iou",
    "write_predictions",
]
