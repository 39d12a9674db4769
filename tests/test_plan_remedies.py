"""What a plan names where a recipe does not fit: only what makes it fit."""

from __future__ import annotations

import re

import pytest

from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.errors import ConfigurationError
from video_opd.plan import Plan, make_plan, parse_gpus
from video_opd.plan.asking_memory import EVALUATION, SCORING

TWO = "qwen3-vl-2b-from-8b"


def plan(name: str, gpus: str, **keys: str) -> Plan:
    overrides = {key.replace("__", "."): value for key, value in keys.items()}
    return make_plan(load_recipe(shipped_recipes()[name], overrides), parse_gpus(gpus), num_examples=100)


def follow(remedies: tuple[str, ...]) -> dict[str, str]:
    """The keys of a recipe that remedies name."""
    keys: dict[str, str] = {}
    for words in remedies:
        if found := re.fullmatch(r"lower (\S+) to (\d+)|set (\S+) = (\S+)", words):
            key, value = (each for each in found.groups() if each is not None)
            keys[key.replace(".", "__")] = value
        elif "student.lora" in words:
            keys["student__lora__rank"] = "16"
        else:
            raise AssertionError(words)
    return keys


CASES = [
    (TWO, "A100-40GB", {}),
    (TWO, "H100", {"video__max_tokens": "65536", "video__max_frames": "4096"}),
    (TWO, "L40S", {"student__freeze_vision": "false", "training__gradient_checkpointing": "false"}),
    (TWO, "H100", {"training__answer_together": "32"}),
    (TWO, "H100", {"training__micro_batch_size": "8"}),
    ("one-gpu-lora-80gb", "A100-40GB", {"video__max_tokens": "32768"}),
    ("paper/scc-8b", "8xH100", {"compute__evaluation_batch_size": "16"}),
    ("paper/grpo-8b", "8xH100", {"compute__evaluation_batch_size": "8", "curriculum__num_answers": "512"}),
]


@pytest.mark.parametrize(("name", "gpus", "keys"), CASES)
def test_every_remedy_that_is_named_is_enough(name, gpus, keys):
    found = plan(name, gpus, **keys)
    assert found.fit == "does not fit"
    remedies = found.remedies
    assert remedies is not None
    assert remedies.alone or remedies.together
    for words in (*((each,) for each in remedies.alone), remedies.together):
        assert not words or plan(name, gpus, **keys | follow(words)).fit != "does not fit", words
    if remedies.more_cards:
        assert plan(name, remedies.more_cards, **keys).fit != "does not fit"


def test_a_number_that_is_named_is_the_largest_that_fits():
    keys = {"video__max_tokens": "65536", "video__max_frames": "4096"}
    found = plan(TWO, "H100", **keys).remedies
    (number,) = (int(value) for key, value in follow(found.alone).items() if key == "video__max_tokens")
    assert plan(TWO, "H100", **keys | {"video__max_tokens": str(number + 256)}).fit == "does not fit"


def test_what_is_enough_only_together():
    keys = {"training__gradient_checkpointing": "false", "compute__precision": "float32"}
    found = plan(TWO, "A100-40GB", **keys)
    assert found.remedies.alone == ()
    together = found.remedies.together
    assert len(together) > 1
    assert plan(TWO, "A100-40GB", **keys | follow(together)).fit != "does not fit"
    for words in together:
        fewer = tuple(each for each in together if each != words)
        assert plan(TWO, "A100-40GB", **keys | follow(fewer)).fit == "does not fit", words
    with pytest.raises(ConfigurationError, match=r"[Dd]o all of this: "):
        found.refuse_unfit()


def test_where_no_change_is_enough_other_cards_are_named():
    found = plan("paper/scc-8b", "L4")
    remedies = found.remedies
    assert (remedies.alone, remedies.together, remedies.more_cards) == ((), (), None)
    assert plan("paper/scc-8b", remedies.other_cards).fit != "does not fit"
    with pytest.raises(ConfigurationError, match=f"it fits {remedies.other_cards}"):
        found.refuse_unfit()
    with pytest.raises(ConfigurationError, match="fits no known card, up to 512"):
        plan(TWO, "L4", training__batch_size="1", student__lora__rank="8", video__max_frames="262144",
             video__max_tokens="8000000", teacher__offload="true").refuse_unfit()  # fmt: skip


def test_evaluations_and_the_scoring_of_the_pool_are_phases():
    one, four, sixteen = (
        plan("paper/scc-8b", "8xH100", compute__evaluation_batch_size=size).memory for size in ("1", "4", "16")
    )
    for phase in (EVALUATION, SCORING):
        assert sum(one.phases[phase].values()) < sum(four.phases[phase].values()) < sum(sixteen.phases[phase].values())
    assert sixteen.phase == EVALUATION
    assert four.phase == "backward pass"
    assert SCORING not in plan(TWO, "H100").memory.phases
    teacher = plan("tiny-tvdf", "H100").memory.phases[SCORING]
    assert teacher["optimiser"] == 0, "the pool is scored before the first step"


def test_gathered_weights_of_a_job_belong_to_the_least():
    keys = {"training__batch_size": "32", "training__micro_batch_size": "1", "training__answer_together": "1"}
    found = plan("paper/video-opd-8b", "8xH100", **keys)
    assert found.memory.certain["bfloat16 copies"] == 2 * found.student.num_all
    assert found.memory.least <= found.memory.peak
    alone = plan(TWO, "H100").memory
    assert "bfloat16 copies" not in alone.certain
