"""The task rewards of GRPO: what a whole answer is worth, read by the one parser and measured by the one IoU."""

from __future__ import annotations

import re
from collections.abc import Callable

from video_opd.grounding.parser import ParsedAnswer
from video_opd.grounding.span import best_span, temporal_iou
from video_opd.plugin_table import PluginTable, require_function, require_name
from video_opd.types import Example

Reward = Callable[[ParsedAnswer, Example], float]
"""The reward of an answer, given the annotated example."""


def iou_reward(answer: ParsedAnswer, example: Example) -> float:
    """Temporal IoU of the first span with the annotated span it matches best; 0 without a span. In [0, 1]."""
    return temporal_iou(answer.spans[0], best_span(answer.spans[0], example.spans)) if answer.spans else 0.0


def timestamp_iou_reward(answer: ParsedAnswer, example: Example) -> float:
    """Time-R1's timestamp-aware IoU: `IoU * (1 - |start error| / T) * (1 - |end error| / T)`, T the video's duration
    (arXiv 2503.13377, section 3.2).

    At most 1; negative where an end lies further out than the video is long, for Time-R1 does not clip. (Its published
    code keeps the value of the sample before when the hull of the two spans is empty; here that is an IoU of 0.)

    Raises:
        DataError: the duration of the example is not known.
    """
    if not answer.spans:
        return 0.0
    span = answer.spans[0]
    truth = best_span(span, example.spans)
    nearness = [1 - abs(mine - theirs) / example.known_duration for mine, theirs in zip(span, truth, strict=True)]
    return temporal_iou(span, truth) * nearness[0] * nearness[1]


REWARDS: PluginTable[Reward] = PluginTable(
    "a reward", __package__, {"iou": iou_reward, "timestamp-iou": timestamp_iou_reward}
)
"""Every reward by its name in a recipe."""


def register_reward(name: str) -> Callable[[Reward], Reward]:
    """Offer a reward to recipes (`method.reward`) under a name. Use it as a decorator of the function.

    Raises:
        ConfigurationError: the name is taken.
    """

    require_name("a reward", name)

    def register(reward: Reward) -> Reward:
        require_function("a reward", name, reward)
        REWARDS.register(name, reward)
        return reward

    return register


def form_reward(text: str, form: str) -> float:
    """1 where the whole answer has the form, else 0.

    Args:
        text: the answer; blanks around it do not count.
        form: a regular expression, whose dot matches line breaks too.

    Example:
        >>> form_reward("<answer>4 to 9</answer>", "<answer>.*</answer>")
        1.0
    """
    return float(re.fullmatch(form, text.strip(), re.DOTALL) is not None)
