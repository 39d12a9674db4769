"""How many prompts are answered together where the recipe leaves it open, and what that needs."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from math import inf

import pytest
from test_memory_choice import GPU, ROOT, recipe_file  # noqa: F401

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.policy.families import find_family
from video_opd.policy.model_shape import measure_shape
from video_opd.train import answering_choice
from video_opd.train.answering_choice import find_most_together, is_answering_open, settle_answering
from video_opd.train.largest_micro_batch import Load, choose_load
from video_opd.train.measured_models import measure_student
from video_opd.train.memory_choice import MARGIN, describe_step, estimate_step
from video_opd.train.memory_estimate import GIB, StepMemory
from video_opd.train.run_inputs import Inputs

ON = {"training.gradient_checkpointing": "true"}


@pytest.fixture
def room(monkeypatch) -> list[float]:
    """Bytes that are free on a device that is a GPU; to be changed."""
    found = [inf]
    monkeypatch.setattr(answering_choice, "find_smallest", lambda _: (found[0], found[0]))
    monkeypatch.setattr(answering_choice, "find_device", lambda _: "cuda:0")
    return found


def choose(path, num_processes: int = 1, run=None, **keys: str) -> int | str | None:
    recipe = load_recipe(path, {key.replace("__", "."): value for key, value in keys.items()})
    return settle_answering(recipe, Inputs(), num_processes=num_processes, run=run).training.answer_together


def test_on_a_gpu_all_prompts_of_a_process_are_answered_together(recipe_file, room):  # noqa: F811
    assert choose(recipe_file) == 4
    assert choose(recipe_file, training__answer_together='"auto"') == 4
    assert choose(recipe_file, training__answer_together="2") == 2
    assert choose(recipe_file, training__batch_size="12", num_processes=3) == 4
    assert choose(recipe_file, training__micro_batch_size="4") is None, "one micro-batch anyway"
    assert choose(recipe_file, method__name="sft", training__answer_together="4") == 1, "nothing is sampled"
    assert choose(recipe_file, method__name="sft") is None


def test_on_a_cpu_every_micro_batch_is_answered_by_itself(recipe_file):  # noqa: F811
    assert choose(recipe_file) is None
    assert choose(recipe_file, training__answer_together='"auto"') == 1
    assert "answer_together" not in load_recipe(recipe_file).to_toml()


def test_as_many_as_fit_in_groups_of_like_size(recipe_file, room):  # noqa: F811
    def peak(together: int) -> float:
        return estimate_step(load_recipe(recipe_file, {**sized, "training.answer_together": str(together)})).peak

    sized = {"training.batch_size": "8", **ON}
    keys = {key.replace(".", "__"): value for key, value in sized.items()}
    assert peak(8) > peak(4) > peak(3) > peak(2) > peak(1)
    for most, chosen in ((8, 8), (7, 4), (4, 4), (3, 3), (2, 2), (1, None)):
        room[0] = 1.0001 * MARGIN * peak(most)
        assert choose(recipe_file, **keys) == chosen, most


def test_without_checkpointing_only_keys_and_values_are_added(recipe_file):  # noqa: F811
    apart, together = (
        estimate_step(load_recipe(recipe_file, {"training.answer_together": count})) for count in ("1", "4")
    )
    assert "answering" not in apart.phases
    assert together.phases["backward pass"] == apart.phases["backward pass"] | {"vision features": 0}
    assert together.phases["answering"]["activations"] == 0
    frozen = {"student.freeze_vision": "true", "training.answer_together": "4"}
    assert estimate_step(load_recipe(recipe_file, frozen)).phases["scoring"]["vision features"] > 0


def test_a_long_prompt_is_not_read_twice_for_a_token_loop_less(recipe_file, room, monkeypatch):  # noqa: F811
    monkeypatch.setattr(answering_choice, "READS_TWICE_UP_TO", 1.0)
    assert choose(recipe_file) is None
    assert choose(recipe_file, training__gradient_checkpointing="true") == 4


def test_only_the_chosen_experts_of_a_mixture_are_read_again():
    keys = {"student.model": "Qwen/Qwen3-VL-30B-A3B-Instruct", "student.freeze_vision": True,
            "training.gradient_checkpointing": False, "training.batch_size": 8}  # fmt: skip
    recipe = load_recipe(ROOT / "recipes" / "qwen3-vl-2b-from-8b.toml", keys)
    memory = describe_step(recipe)

    def choose_for(trial):
        load = choose_load(trial, memory.student, num_processes=1)
        return replace(memory, recipe=trial, load=load).estimate()

    found = find_most_together(recipe, memory.student, choose_for, num_processes=1, free=2**50)
    assert found == 8, "3 of 30 billion weights read a prompt, which takes less time than a token loop"


@pytest.mark.parametrize("card", ["h100", "h200"])
def test_the_token_loop_needs_what_was_measured_on_a_gpu(card, monkeypatch):
    """The 2B in bfloat16: what each prompt more adds to the peak."""
    monkeypatch.syspath_prepend(str(GPU))
    monkeypatch.syspath_prepend(str(GPU.parent))
    from models import config_of, processor_of

    config = config_of("2B", processor_of(None))
    shape = measure_shape("model", config, find_family(config))
    (path,) = (GPU / "results").glob(f"{card}-*.json")
    results = json.loads(path.read_text())["token-loop"]
    tokens = results["prompt"]["tokens"]
    recipe = load_recipe(GPU.parents[1] / "recipes" / "qwen3-vl-8b-lora.toml")  # weights in bfloat16

    def estimated(together: int) -> float:
        load = Load(prompts=1, tokens=tokens, patches=4 * 4096, answers=1, answer_tokens=32, num_pieces=together,
                    together=together)  # fmt: skip
        memory = StepMemory(recipe=recipe, student=shape, frozen=[], load=load, is_on_gpu=True).estimate()
        parts = memory.phases["answering"]
        return (parts["keys and values"] + parts["distributions"]) / GIB

    cases = {name: case for name, case in results.items() if name.startswith("bfloat16 weights") and "peak_gib" in case}
    peaks = {
        int(name.split(": ")[1].split()[0]): case["peak_gib"]
        for name, case in cases.items()
        if name.endswith("of 1 answers")
    }
    assert {1, 8} <= peaks.keys()
    for more in peaks.keys() - {1}:
        assert estimated(more) - estimated(1) == pytest.approx(peaks[more] - peaks[1], rel=0.05), more


def test_a_run_keeps_its_choice_on_another_device(recipe_file, tmp_path, monkeypatch, capsys):  # noqa: F811
    run = tmp_path / "run"
    words = ["train", str(recipe_file), "--out", str(run)]
    with monkeypatch.context() as on_gpu:
        on_gpu.setattr(answering_choice, "_is_on_gpu", lambda _: True)
        assert main(words) == 0
    assert "4 prompts are answered together on each device (auto)" in capsys.readouterr().err
    assert tomllib.loads((run / "recipe.toml").read_text())["training"]["answer_together"] == 4
    assert main(words) == 0, "on a CPU"
    assert main([*words, "--training.answer-together", "2"]) == 2
    assert choose(recipe_file, run=run) == 4
    text = (run / "recipe.toml").read_text().replace("answer_together = 4\n", "")
    (run / "recipe.toml").write_text(text)
    assert is_answering_open(load_recipe(recipe_file))
    assert choose(recipe_file, run=run) is None, "a run of an earlier version goes on as it began"


@pytest.mark.parametrize(
    ("batch", "piece", "asked", "found"), [(3, 2, 3, 3), (7, 2, 9, 7), (31, 2, 30, 30), (31, 4, 30, 28)]
)
def test_a_share_that_is_no_multiple_is_answered_whole(batch, piece, asked, found):
    recipe = load_recipe(ROOT / "recipes" / "qwen3-vl-2b-from-8b.toml", {
        "training.batch_size": batch, "training.micro_batch_size": piece, "training.answer_together": asked,
    })  # fmt: skip
    assert choose_load(recipe, measure_student(recipe), num_processes=1).together == found
