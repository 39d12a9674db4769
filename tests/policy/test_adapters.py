"""LoRA: what trains, what is saved, who reads it, and the base that serves as the reference without a second copy."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_checkpointing import SAMPLING, gradient_of, noise_floor, prompts_for
from tiny_families import KINDS, RECURRENT, save_tiny
from transformers import AutoModelForImageTextToText

from started import Started
from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.data.manifest import read_manifest
from video_opd.errors import ConfigurationError
from video_opd.policy import adapters
from video_opd.policy.adapters import attach_adapter, is_of_adapter, save_model
from video_opd.policy.base_policy import BasePolicy
from video_opd.policy.checkpointing import checkpoint_layers, tie_layers
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.location import list_model_files, model_sha256
from video_opd.policy.lora_settings import LoraSettings
from video_opd.policy.read import collate, rope_positions
from video_opd.train import build_models
from video_opd.train.build import load_student
from video_opd.train.build_models import load_beside, load_reference
from video_opd.types import Prompt

peft = pytest.importorskip("peft")

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
LORA = ("--student.lora.rank", "4", "--student.lora.alpha", "8", "--training.learning-rate", "1e-2")
WITH_VISION = LoraSettings(rank=4, alpha=8, targets=("q_proj", "down_proj", "visual.*.qkv"))
EVERY_FAMILY = [*((kind, None) for kind in KINDS), *((kind, WITH_VISION) for kind in FAMILIES)]


def with_adapter(model: str, settings: LoraSettings | None = None, *, change: bool = True) -> Policy:
    """A model with an adapter that changes what it computes; a new one changes nothing."""
    policy = load_policy(model)
    attach_adapter(model, policy.model, settings or LoraSettings(rank=4, alpha=8), seed=1)
    torch.manual_seed(2)
    for name, parameter in policy.model.named_parameters():
        if change and is_of_adapter(name):
            torch.nn.init.normal_(parameter.data, std=0.1)
    return policy


def logprobs_of(policy: Policy, prompts: list[Prompt], groups: Any = None) -> tuple[torch.Tensor, Any]:
    reading = policy.read(prompts)
    groups = groups or policy.answer(reading, count=2, sampling=SAMPLING)
    return policy.score(reading, groups).logprobs, groups


def plain_logprobs(policy: Policy, prompt: Prompt, ids: torch.Tensor) -> torch.Tensor:
    """One full pass over prompt and answer, without a cache, with its gradient."""
    kinds = torch.cat([prompt.mm_token_type_ids, torch.zeros_like(ids)])
    whole = replace(prompt, input_ids=torch.cat([prompt.input_ids, ids]), mm_token_type_ids=kinds)
    batch = collate([whole], pad_token_id=0, device="cpu")
    batch["position_ids"] = rope_positions(policy.model, batch)
    logits = policy.model(**batch, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return policy.support.log_softmax(logits).gather(1, ids[:, None])[:, 0]


# What trains


@pytest.mark.parametrize("kind", KINDS)
def test_only_adapters_of_the_language_model_train(kind, tmp_path, processor):
    policy = with_adapter(save_tiny(kind, tmp_path / "model", processor))
    trained = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
    assert trained
    assert all(is_of_adapter(name) and policy.family.vision_part(name) is None for name in trained)
    wanted = {"q_proj", "k_proj", "v_proj", "o_proj"}
    if (
        kind != "qwen3_vl_moe"
    ):  # all of its MLP is in fused experts; Qwen3.5's has an expert for every token beside them
        wanted |= {"gate_proj", "up_proj", "down_proj"}
    if kind in RECURRENT:
        wanted |= {"in_proj_qkv", "in_proj_z", "out_proj"}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == wanted
    assert not any(".experts." in name for name in trained)
    assert {p.dtype for p in trained.values()} == {torch.float32}


@pytest.mark.parametrize(("kind", "settings"), EVERY_FAMILY)
def test_the_gradient_through_a_shared_reading_is_that_of_the_plain_path(kind, settings, tmp_path, processor, world):
    policy = with_adapter(save_tiny(kind, tmp_path / "model", processor), settings)
    prompts = prompts_for(policy, world)
    _, shared = gradient_of(policy, prompts, 1)
    groups = policy.answer(policy.read(prompts), count=1, sampling=SAMPLING)
    weights = torch.linspace(-1, 1, max(len(group.answers[0]) for group in groups))
    for prompt, group in zip(prompts, groups, strict=True):
        ids = torch.tensor(group.answers[0].token_ids)
        (plain_logprobs(policy, prompt, ids) * weights[: len(ids)]).sum().backward()
    floor = max(1e-7, noise_floor(kind, shared))
    for name, gradient in shared.items():
        plain = policy.model.get_parameter(name).grad
        assert (plain - gradient).norm() <= 1e-4 * gradient.norm() + floor, name
    assert any(float(gradient.norm()) > 1e-3 for gradient in shared.values())


@pytest.mark.parametrize("change", [checkpoint_layers, tie_layers])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("settings", [None, LoraSettings(targets=("down_proj",)), WITH_VISION])
@pytest.mark.parametrize("kind", FAMILIES)
def test_gradient_checkpointing_keeps_the_gradient(
    kind, settings, count, change: Callable[[Any], None], tmp_path, processor, world
):
    policy = with_adapter(save_tiny(kind, tmp_path / "model", processor), settings)
    prompts = prompts_for(policy, world)
    loss, plain = gradient_of(policy, prompts, count)
    change(policy.model)
    changed_loss, changed = gradient_of(policy, prompts, count)
    assert changed_loss == pytest.approx(loss, rel=1e-6)
    assert changed.keys() == plain.keys()
    assert len(plain) > 2
    for name, gradient in plain.items():
        assert (changed[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-8, name


# What is saved


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # peft's wrapper asks transformers for it
@pytest.mark.parametrize(("kind", "settings"), EVERY_FAMILY)
def test_a_saved_adapter_is_pefts_own_and_is_accepted_as_a_model(kind, settings, tmp_path, processor, world):
    base = save_tiny(kind, tmp_path / "base", processor)
    student = with_adapter(base, settings)
    prompts, folder = prompts_for(student, world), tmp_path / "adapter"
    save_model(student.model, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (base, 4, 8)
    expected, groups = logprobs_of(student, prompts)

    merged = load_policy(str(folder))
    assert not adapters.has_adapter(merged.model)
    torch.testing.assert_close(logprobs_of(merged, prompts, groups)[0], expected, rtol=1e-4, atol=1e-5)

    by_peft = load_policy(base)
    by_peft.model = peft.PeftModel.from_pretrained(by_peft.model, folder).merge_and_unload()
    torch.testing.assert_close(logprobs_of(by_peft, prompts, groups)[0], expected, rtol=1e-4, atol=1e-5)
    assert (logprobs_of(load_policy(base), prompts, groups)[0] - expected).abs().max() > 0.01


def test_an_adapter_on_an_adapter(tmp_path, processor, world):
    """A student that is an adapter is trained with another one: both are merged, the lower one first."""
    lower = with_adapter(save_tiny("qwen3_vl", tmp_path / "base", processor))
    save_model(lower.model, tmp_path / "lower")
    upper = with_adapter(str(tmp_path / "lower"))
    save_model(upper.model, tmp_path / "upper")
    prompts = prompts_for(upper, world)
    expected, groups = logprobs_of(upper, prompts)
    merged = load_policy(str(tmp_path / "upper"))
    torch.testing.assert_close(logprobs_of(merged, prompts, groups)[0], expected, rtol=1e-4, atol=1e-5)
    before = model_sha256(tmp_path / "upper")
    change_weights(tmp_path / "base" / "model.safetensors", lambda weights: weights["lm_head.weight"].add_(1))
    assert model_sha256(tmp_path / "upper") != before
    files = list_model_files(str(tmp_path / "upper"))
    weights = {name: path.parent.name for name, path in files.items() if name.endswith(".safetensors")}
    assert weights == {
        "adapter_model.safetensors": "upper",
        "base/adapter_model.safetensors": "lower",
        "base/base/model.safetensors": "base",
    }


# The base without a second copy


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_base_is_the_student_without_its_adapter(kind, tmp_path, processor, world):
    base = save_tiny(kind, tmp_path / "base", processor)
    student, untrained = with_adapter(base), load_policy(base)
    prompts = prompts_for(student, world)
    expected, groups = logprobs_of(untrained, prompts)
    reference = BasePolicy.under(student).freeze()
    assert torch.equal(logprobs_of(reference, prompts, groups)[0], expected)
    assert reference.model is student.model
    assert (logprobs_of(student, prompts, groups)[0] - expected).abs().max() > 0.01
    assert student.work.tokens_scored != reference.work.tokens_scored + student.work.tokens_scored


def test_a_pass_of_the_base_between_reading_and_scoring_leaves_the_gradient(tmp_path, processor, world):
    student = with_adapter(save_tiny("qwen3_vl", tmp_path / "base", processor))
    prompts, reference = prompts_for(student, world), BasePolicy.under(student)
    _, expected = gradient_of(student, prompts, 1)

    def read(*arguments: Any, **options: Any) -> Any:
        reading = Policy.read(student, *arguments, **options)
        reference.read(prompts)
        return reading

    student.read = read
    _, found = gradient_of(student, prompts, 1)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """Names of the models that were loaded."""
    names: list[str] = []

    def load(name: str, **options: Any) -> Policy:
        names.append(name)
        return load_policy(name, **options)

    monkeypatch.setattr(build_models, "load_policy", load)
    return names


def test_reference_and_teacher_of_itself_load_no_second_model(recipe_file, models, loaded):
    keys = {"student.lora.rank": "4", "method.name": "grpo", "method.reference_weight": "0.1"}
    recipe = load_recipe(recipe_file, keys)
    assert recipe.method.needs_reference
    student = load_student(recipe, recipe.student.model)
    assert load_reference(recipe, student).model is student.model
    assert load_beside(recipe, models["student"] + "/", student).model is student.model
    assert loaded == [models["student"]]
    assert load_beside(recipe, models["teacher"], student).model is not student.model
    assert loaded == [models["student"], models["teacher"]]


def test_the_base_is_held_in_bfloat16_and_the_adapter_in_float32(recipe_file, models):
    recipe = load_recipe(recipe_file, {"student.lora.rank": "4", "compute.precision": "bfloat16"})
    student = load_student(recipe, recipe.student.model)
    types = {is_of_adapter(name): p.dtype for name, p in student.model.named_parameters()}
    assert types == {True: torch.float32, False: torch.bfloat16}
    assert student.autocast == torch.bfloat16


# Runs


def change_weights(path: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(path)
    edited = edit(weights)
    save_file(edited if isinstance(edited, dict) else weights, path, {"format": "pt"})


def train(recipe_file: Path, out: Path, *more: str) -> None:
    assert main(["train", str(recipe_file), "--out", str(out), *LORA, *more]) == 0


def weights_of(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{step:06d}" / "model" / "adapter_model.safetensors")


def is_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def run(recipe_file, tmp_path) -> Path:
    train(recipe_file, tmp_path / "run")
    return tmp_path / "run"


def test_train_merge_and_evaluate(run, models, world, tmp_path):
    checkpoint = run / "checkpoints" / "step-000002"
    state = load_file(checkpoint / "optimizer.safetensors")
    assert state
    assert all(".lora_" in name for name in state)
    files = {path.name for path in (checkpoint / "model").iterdir()}
    assert files >= {"adapter_config.json", "adapter_model.safetensors", "grounding.json", "processor_config.json"}
    assert "model.safetensors" not in files
    assert not is_equal(weights_of(run, 1), weights_of(run, 2))

    merged = tmp_path / "merged"
    assert main(["merge", str(run), "--out", str(merged)]) == 0
    whole, base = load_file(merged / "model.safetensors"), load_file(Path(models["student"]) / "model.safetensors")
    assert whole.keys() == base.keys()
    changed = {name for name in whole if not torch.equal(whole[name], base[name])}
    assert changed
    assert all("language_model.layers" in name and "_proj" in name for name in changed)
    AutoModelForImageTextToText.from_pretrained(merged)
    assert (merged / "grounding.json").read_bytes() == (checkpoint / "model" / "grounding.json").read_bytes()

    reports = []
    for number, model in enumerate((run, checkpoint, checkpoint / "model", merged)):
        out = tmp_path / f"answers-{number}.jsonl"
        assert main(["evaluate", str(model), str(world / "test.jsonl"), "--videos", str(world / "videos"),
                     "--out", str(out)]) == 0  # fmt: skip
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        reports.append([{key: row[key] for key in row if key in ("id", "answer", "text", "span")} for row in rows])
    assert reports[0]
    assert all(report == reports[0] for report in reports)
    trained = load_policy(str(run)).model.state_dict()
    again = load_policy(str(merged)).model.state_dict()
    assert all(torch.equal(trained[name], again[name]) for name in trained)


def test_a_killed_run_resumes_to_the_same_bits(recipe_file, run, tmp_path):
    out = tmp_path / "killed"
    steps = ("--training.steps", "2")
    process = Started(["train", recipe_file, "--out", out, *LORA, *steps])
    began = time.monotonic()
    while not (out / "checkpoints" / "step-000001").exists() and time.monotonic() - began < 120:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    shutil.rmtree(out / "checkpoints" / "step-000002", ignore_errors=True)
    train(recipe_file, out, *steps)
    assert is_equal(weights_of(out, 2), weights_of(run, 2))
    mine, theirs = (folder / "checkpoints" / "step-000002" / "model" / "adapter_config.json" for folder in (out, run))
    assert mine.read_bytes() == theirs.read_bytes()


def test_a_run_is_accepted_by_every_command(recipe_file, run, world, tmp_path, capsys):
    clip = world / "videos" / read_manifest(world / "test.jsonl")[0].video
    asked = (str(world / "test.jsonl"), "--videos", str(world / "videos"), "--out", str(tmp_path / "scores.jsonl"))
    assert main(["ground", str(run), str(clip), "the red circle"]) == 0
    assert main(["score", str(run), *asked, "--answers", "2"]) == 0
    for role in ("student", "teacher"):
        out = tmp_path / role
        assert main(["train", str(recipe_file), f"--{role}.model", str(run), "--out", str(out)]) == 0
        assert (out / "checkpoints" / "step-000002" / "model" / "model.safetensors").exists()
    train(recipe_file, tmp_path / "another", "--student.model", str(run), "--training.steps", "1")
    assert main(["ground", str(tmp_path / "another"), str(clip), "the red circle"]) == 0  # an adapter on an adapter
    capsys.readouterr()
    assert main(["doctor", str(recipe_file), "--examples", "2", "--student.model", str(run), "--json"]) in (0, 1)


def test_grpo_near_its_base_and_a_student_that_teaches_itself(recipe_file, models, loaded, tmp_path):
    grpo = ("--method.name", "grpo", "--method.reference-weight", "0.1", "--method.num-answers", "2")
    train(recipe_file, tmp_path / "grpo", *grpo)
    train(recipe_file, tmp_path / "itself", "--teacher.model", models["student"])
    assert loaded == [models["student"], models["teacher"], models["student"]]
    rows = [json.loads(line) for line in (tmp_path / "itself" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["grad_norm"] == pytest.approx(0, abs=1e-4)  # nothing to learn from oneself


def test_the_doctor_says_how_many_weights_train(recipe_file, capsys):
    main(["doctor", str(recipe_file), "--examples", "2", "--json", *LORA])
    findings = json.loads(capsys.readouterr().out)["findings"]
    [found] = [
        finding["found"] for finding in findings if finding["checked"] == "the number of weights that are trained"
    ]
    assert found.endswith(", in an adapter beside frozen weights")
    # Rank 4 times inputs and outputs of q, k, v, o, gate, up and down, in two layers.
    each = (32 + 32) + (32 + 16) + (32 + 16) + (32 + 32) + 3 * (32 + 48)
    assert found.startswith(f"{2 * 4 * each:,} of ")


# Refusals


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("--student.lora.targets", '["q_prj"]'), r"q_prj.* nearest names are .*q_proj"),
        (("--student.lora.targets", '["qkv"]'), r"qkv.* nearest names are visual\.\*\.qkv"),
        (("--student.lora.targets", '["lm_head"]'), "lm_head"),
        (("--student.lora.rank", "0"), "student.lora.rank = 0"),
        (("--student.lora.alpha", "0"), "student.lora.alpha = 0"),
        (("--student.lora.alpha", "-2"), "student.lora.alpha = -2"),
        (("--student.lora.dropout", "0.1"), "dropout"),
    ],
)
@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_recipe_that_cannot_be_is_refused(refused, command, keys, message, recipe_file, tmp_path):
    out = ("--out", tmp_path / "run") if command == "train" else ()
    sentence = refused(command, recipe_file, *keys, *out)
    assert re.search(message, sentence), sentence
    assert not (tmp_path / "run").exists()


def test_frozen_vision_gets_no_adapter(refused, recipe_file, tmp_path):
    keys = ("--student.lora.targets", '["visual.*.qkv"]', "--student.freeze-vision", "true")
    sentence = refused("train", recipe_file, *keys, "--out", tmp_path / "run", late=True)
    assert "gives the vision tower adapters" in sentence


def test_without_peft_one_sentence_names_the_extra(refused, recipe_file, run, world, monkeypatch, tmp_path):
    clip = world / "videos" / read_manifest(world / "test.jsonl")[0].video
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    for command in (
        ("train", recipe_file, *LORA, "--out", tmp_path / "other"),
        ("ground", run, clip, "the red circle"),
        ("merge", run, "--out", tmp_path / "merged"),
    ):
        assert "pip install 'video-opd[lora]'" in refused(*command, late=True)
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "merged").exists()


@pytest.fixture
def adapter(models, tmp_path) -> Path:
    """A folder of an adapter of one's own."""
    base = shutil.copytree(models["student"], tmp_path / "base")
    save_model(with_adapter(str(base)).model, tmp_path / "adapter")
    return tmp_path / "adapter"


def without_base(folder: Path) -> None:
    shutil.rmtree(folder.parent / "base")


def on_another_shape(folder: Path) -> None:
    edit_config(folder, base_model_name_or_path="tiny-student")


def of_another_kind(folder: Path) -> None:
    edit_config(folder, peft_type="IA3")


def of_more_than_layers(folder: Path) -> None:
    edit_config(folder, modules_to_save=["lm_head"])


def of_itself(folder: Path) -> None:
    edit_config(folder, base_model_name_or_path=str(folder))


def without_base_name(folder: Path) -> None:
    edit_config(folder, base_model_name_or_path=None)


def with_broken_config(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("[")


def without_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def with_broken_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"broken")


def with_weights_missing(folder: Path) -> None:
    change_weights(folder / "adapter_model.safetensors", lambda weights: dict(list(weights.items())[1:]))


def with_nan(folder: Path) -> None:
    change_weights(folder / "adapter_model.safetensors", lambda weights: weights[min(weights)].fill_(float("nan")))


def with_unknown_targets(folder: Path) -> None:
    edit_config(folder, target_modules=["abacus"])


def edit_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_base, "and that model cannot be used"),
        (on_another_shape, "its adapter does not fit the base model"),
        (of_another_kind, "holds an adapter of the kind IA3"),
        (of_more_than_layers, "changes more than linear layers"),
        (of_itself, "leads back to itself"),
        (without_base_name, "names no base model"),
        (with_broken_config, "adapter_config.json cannot be read"),
        (without_weights, "without adapter_model.safetensors"),
        (with_broken_weights, "adapter_model.safetensors cannot be read"),
        (with_weights_missing, "its adapter does not fit the base model"),
        (with_nan, "are not finite"),
        (with_unknown_targets, "abacus"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_refused(refused, adapter, spoil, message, world, tmp_path):
    spoil(adapter)
    clip = world / "videos" / read_manifest(world / "test.jsonl")[0].video
    for command in (("ground", adapter, clip, "the red circle"), ("merge", adapter, "--out", tmp_path / "merged")):
        assert message in refused(*command, late=True)
    assert not list(tmp_path.glob("merged*"))


def test_merge_refuses_a_whole_model_and_a_full_folder(refused, adapter, models, tmp_path):
    assert "is no adapter" in refused("merge", models["student"], "--out", tmp_path / "merged")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "is not an empty folder" in refused("merge", adapter, "--out", tmp_path / "full")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_a_run_with_an_adapter_of_another_rank_does_not_go_on(run, recipe_file):
    recipe = load_recipe(recipe_file, {"student.lora.rank": "2"})
    with pytest.raises(ConfigurationError, match="does not fit"):
        load_student(recipe, str(run / "checkpoints" / "step-000002" / "model"))
