"""Every check of the doctor finds what it is there to find, and is content where there is nothing."""

from __future__ import annotations

import copy
import inspect
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from video_opd.cli import main
from video_opd.cli.result_tables import show_findings
from video_opd.config import Recipe
from video_opd.config.recipe_file import load_recipe
from video_opd.data import manifest
from video_opd.data.ablated_prompts import ABLATIONS, remove_video, reverse_video, shuffle_video
from video_opd.data.manifest import read_manifest
from video_opd.doctor import Finding, Patient, checks, view_check
from video_opd.doctor import patient as patients
from video_opd.doctor.cost_estimate import estimate_cost
from video_opd.doctor.decoding_cost import DecodingCost, judge_decoding
from video_opd.errors import EngineError
from video_opd.methods.teachers import OneTeacher
from video_opd.seeds import derive_seed
from video_opd.train.build import load_frozen, load_student, make_method
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step


@pytest.fixture
def recipe(recipe_file) -> Recipe:
    return load_recipe(recipe_file)


@pytest.fixture(scope="module")
def student(make_policy):
    return make_policy(0)


@pytest.fixture(scope="module")
def teacher(make_policy):
    """A random model, but one that is swayed by what it sees: its pictures are brighter than life."""
    teacher = make_policy(1)
    with torch.no_grad():
        for merger in (teacher.model.model.visual.merger, *teacher.model.model.visual.deepstack_merger_list):
            merger.linear_fc2.weight.mul_(20)
    return teacher


def blinded(policy):
    """The same model, whose vision says nothing: the tower's outputs are zero whatever is in the frames."""
    blind = replace(policy, model=copy.deepcopy(policy.model))
    with torch.no_grad():
        for merger in (blind.model.model.visual.merger, *blind.model.model.visual.deepstack_merger_list):
            merger.linear_fc2.weight.zero_()
            merger.linear_fc2.bias.zero_()
    return blind


@pytest.fixture
def patient(recipe, student, teacher, prompts) -> Patient:
    return Patient.admit(recipe, student, teacher, prompts[:6])


def findings(check, patient: Patient) -> list[Finding]:
    return list(check(patient))


def verdicts(check, patient: Patient) -> list[str]:
    return [finding.verdict for finding in findings(check, patient)]


def test_a_sound_patient(patient):
    assert verdicts(checks._check_same_prompt, patient) == ["ok"]
    assert verdicts(checks._check_same_numbers, patient) == ["ok", "ok"]
    assert verdicts(checks._check_noise_floor, patient) == ["ok"]
    assert verdicts(checks._check_tokens, patient) == ["ok"] * 8
    assert verdicts(checks._check_video_tokens, patient) == ["ok"]


def test_micro_batches_change_no_finding(patient, recipe):
    """The doctor must fit where the training fits."""
    small = recipe.model_copy(update={"training": recipe.training.model_copy(update={"micro_batch_size": 1})})
    for check in (
        checks._check_same_numbers,
        checks._check_noise_floor,
        checks._check_tokens,
        checks._check_video_tokens,
    ):
        assert verdicts(check, replace(patient, recipe=small)) == verdicts(check, patient)
    again = Patient.admit(small, patient.student, patient.teacher, patient.prompts)
    assert [group.answers[0].token_ids for group in again.groups] == [
        group.answers[0].token_ids for group in patient.groups
    ]


def test_a_model_that_is_told_no_seconds_is_found(patient):
    assert verdicts(checks._check_told_the_time, patient) == ["ok", "ok"]
    model = copy.deepcopy(patient.teacher.model)
    model.model.config.model_type = model.config.model_type = "qwen2_vl"
    deaf = replace(patient, teacher=replace(patient.teacher, model=model))
    assert verdicts(checks._check_told_the_time, deaf) == ["ok", "warn"]


def test_a_teacher_that_looks(patient):
    """Which way a random model's scores move is chance, so the size of the move stands in for its direction."""
    sighted = findings(checks._check_teacher_sees, patient)[0]
    blind = findings(checks._check_teacher_sees, replace(patient, teacher=blinded(patient.teacher)))[0]
    drops = [float(word.rstrip(",")) for word in sighted.found.split() if word.rstrip(",").lstrip("-")[:1].isdigit()]
    assert max(abs(drop) for drop in drops) > checks.BLIND_NATS
    assert "removed 0.000" in blind.found


def test_a_blind_teacher_is_found(patient):
    blind = findings(checks._check_teacher_sees, replace(patient, teacher=blinded(patient.teacher)))
    assert [finding.verdict for finding in blind] == ["fail"]
    assert "does not look at the video" in blind[0].remedy


@pytest.mark.parametrize(
    ("losses", "verdict", "remedy"),
    [
        ({"shuffled": 0.5, "reversed": 0.4, "removed": 0.9}, "ok", ""),
        ({"shuffled": 0.0, "reversed": 0.4, "removed": 0.9}, "ok", ""),
        ({"shuffled": 0.0, "reversed": 0.01, "removed": 0.9}, "warn", "order of the frames"),
        ({"shuffled": 0.5, "reversed": 0.4, "removed": 0.01}, "fail", "does not look"),
        ({"shuffled": 0.5, "reversed": 0.4, "removed": -0.5}, "fail", "does not look"),
    ],
)
def test_what_is_made_of_the_losses(patient, monkeypatch, losses, verdict, remedy):
    """With scores as a real teacher would give them."""
    video = {id(prompt): "intact" for prompt in patient.prompts}

    def spoil(name):
        def mark(prompt):
            spoiled = ABLATIONS[name](prompt)
            video[id(spoiled)] = name
            kept.append(spoiled)  # or its id would be given to another
            return spoiled

        return mark

    def score(policy, prompts, groups, recipe):
        return [torch.full((3,), -1.0 - losses.get(video[id(prompt)], 0.0)) for prompt in prompts]

    kept: list[object] = []
    monkeypatch.setattr(checks, "ABLATIONS", {name: spoil(name) for name in ABLATIONS})
    monkeypatch.setattr(checks, "score", score)
    (finding,) = findings(checks._check_teacher_sees, patient)
    assert finding.verdict == verdict
    assert remedy in finding.remedy


def test_a_spoiled_video_is_the_same_prompt_otherwise(prompts):
    for spoil in (shuffle_video, reverse_video, remove_video):
        spoiled = spoil(prompts[0])
        assert spoiled.pixel_values.shape == prompts[0].pixel_values.shape
        assert not torch.equal(spoiled.pixel_values, prompts[0].pixel_values)
        assert torch.equal(spoiled.input_ids, prompts[0].input_ids)
        assert spoiled.frame_times_s == prompts[0].frame_times_s
    assert torch.equal(reverse_video(reverse_video(prompts[0])).pixel_values, prompts[0].pixel_values)
    assert torch.equal(
        shuffle_video(prompts[0]).pixel_values.flatten(1).sort(dim=0).values,
        prompts[0].pixel_values.flatten(1).sort(dim=0).values,
    )
    assert not remove_video(prompts[0]).pixel_values.any()


class Forgetful(torch.nn.Module):
    """A model that never says the same thing twice."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, *arguments, **keywords):
        output = self.inner(*arguments, **keywords)
        output.logits = output.logits + torch.randn_like(output.logits)
        return output

    def __getattr__(self, name):
        return super().__getattr__(name) if name == "inner" else getattr(super().__getattr__("inner"), name)


def test_a_model_that_scores_differently_each_time_is_found(patient):
    forgetful = replace(patient.student, model=Forgetful(patient.student.model))
    twice, gap = findings(checks._check_same_numbers, replace(patient, student=forgetful))
    assert (twice.verdict, gap.verdict) == ("fail", "fail")
    assert "dropout" in twice.remedy


def test_answers_of_another_model_are_found(patient, make_policy):
    """The sampler's log-probs are not those of the model that is trained."""
    other = replace(patient, student=make_policy(7))
    assert verdicts(checks._check_noise_floor, other) == ["ok"]
    twice, gap = findings(checks._check_same_numbers, other)
    assert (twice.verdict, gap.verdict) == ("ok", "fail")


def test_processors_that_differ_are_found(patient):
    processor = copy.deepcopy(patient.teacher.processor)
    processor.video_processor.image_mean = [0.1, 0.1, 0.1]
    other = replace(patient.teacher, processor=processor)
    (finding,) = findings(checks._check_same_prompt, replace(patient, teacher=other))
    assert finding.verdict == "fail"
    assert finding.found == "different: pixels"


def test_special_tokens_that_can_be_sampled_are_found(patient):
    video_pad = patient.student.tokenizer.convert_tokens_to_ids("<|video_pad|>")
    banned = patient.student.support.banned.clone()
    banned[video_pad] = False
    open_ = replace(patient.student, support=replace(patient.student.support, banned=banned))
    finding = findings(checks._check_tokens, replace(patient, student=open_))[0]
    assert finding.verdict == "fail"
    assert f"but [{video_pad}] can be sampled" in finding.found


def test_a_padding_token_that_ends_the_turn_is_found(patient):
    processor = copy.deepcopy(patient.student.processor)
    processor.tokenizer.pad_token = processor.tokenizer.eos_token
    padded = replace(patient.student, processor=processor)
    assert verdicts(checks._check_tokens, replace(patient, student=padded)).count("warn") == 1


def test_a_checkpoint_that_asks_for_truncated_sampling_is_told_of(patient):
    model = copy.deepcopy(patient.student.model)
    model.generation_config.top_k = 20
    finding = findings(checks._check_tokens, replace(patient, student=replace(patient.student, model=model)))[1]
    assert "{'top_k': 20}; it is not used" in finding.found


def test_another_template_than_the_models_own_is_found(patient, recipe):
    assert verdicts(checks._check_prompt_of_model, patient) == ["ok", "ok"]
    other = recipe.model_copy(update={"prompt": recipe.prompt.model_copy(update={"template": "timelens"})})
    found = findings(checks._check_prompt_of_model, replace(patient, recipe=other))
    assert [finding.verdict for finding in found] == ["warn", "warn"]
    assert "grounding.json" in found[0].remedy


def test_too_many_video_tokens_are_found(patient, recipe):
    tight = recipe.model_copy(update={"video": recipe.video.model_copy(update={"max_tokens": 9})})
    assert verdicts(checks._check_video_tokens, replace(patient, recipe=tight)) == ["fail"]


def test_a_teacher_whose_answers_cannot_be_read_is_found(patient):
    """Random models write no spans."""
    (finding,) = findings(checks._check_accuracy, patient)
    assert finding.verdict == "fail"
    assert "teacher mIoU 0.00, output format rate 0.00" in finding.found


@pytest.mark.parametrize(("right", "verdict"), [("teacher", "ok"), ("student", "warn"), ("neither", "warn")])
def test_a_teacher_no_better_than_its_student_is_found(patient, monkeypatch, right, verdict):
    def answer(policy, prompts, sampling, recipe):
        name = "teacher" if policy is patient.teacher else "student"
        return tuple(
            replace(
                group,
                answers=tuple(replace(answer, text=text(prompt, name == right)) for answer in group.answers),
            )
            for prompt, group in zip(prompts, patient.groups, strict=True)
        )

    def text(prompt, is_right):
        span = prompt.example.spans[0]
        return f"{span.start_s} - {span.end_s} seconds" if is_right else "90.0 - 91.0 seconds"

    monkeypatch.setattr(patients, "answer", answer)
    assert verdicts(checks._check_accuracy, patient) == [verdict]


def test_the_cost_is_of_this_recipe(patient):
    (finding,) = estimate_cost(patient)
    assert finding.verdict == "ok"
    assert " s a step of 4, " in finding.found
    assert "student 0.00 GiB" in finding.found
    assert all(parameter.grad is None for parameter in patient.student.model.parameters())


def test_the_cost_has_the_pass_and_the_weights_of_the_reference(patient, recipe, monkeypatch):
    """GRPO with a penalty asks the reference about every answer."""
    from video_opd.doctor import cost_estimate
    from video_opd.methods.grpo import GRPOSettings

    def of(weight: float) -> Finding:
        method = GRPOSettings(name="grpo", num_answers=2, reference_weight=weight)
        (finding,) = estimate_cost(replace(patient, teacher=None, recipe=recipe.model_copy(update={"method": method})))
        return finding

    read: list[int] = []

    class Watched(type(patient.student)):
        def read(self, prompts, *, grad=False):
            read.append(len(prompts))
            return super().read(prompts, grad=grad)

    def load_watched(recipe, _):
        watched = load_frozen(recipe, recipe.student.model) if recipe.method.needs_reference else None
        return watched and Watched(**vars(watched))

    monkeypatch.setattr(cost_estimate, "load_reference", load_watched)
    assert "reference" not in of(0.0).found
    assert read == []
    assert "reference 0.00 GiB" in of(0.1).found
    assert read == [4]


@pytest.mark.parametrize(
    ("workers", "step_seconds", "verdict", "said"),
    [
        (4, 12.6, "warn", "set data.workers = 16, "),  # 32 clips of 6.3 s in 12.6 s
        (16, 12.6, "ok", ""),
        (4, 100.0, "ok", ""),
        (0, 100.0, "warn", "set data.workers = 3, "),  # the step itself decodes
        (0, 10000.0, "ok", ""),
    ],
)
def test_videos_that_are_not_ready_in_time_are_found(workers, step_seconds, verdict, said):
    cost = DecodingCost(batch_size=32, seconds=6.3, cpu_seconds=12.6, step_seconds=step_seconds)
    finding = judge_decoding(cost, workers)
    assert (finding.verdict, finding.remedy.startswith(said)) == (verdict, True)
    assert f"data.workers = {cost.needed_workers} keeps the device busy" in finding.found
    assert cost.needed_cores == -(-32 * 126 // int(10 * step_seconds))
    assert "12.60 CPU-seconds a clip and 403.2 a step of 32" in finding.found


def test_a_reference_that_does_not_fit_is_a_finding(patient, recipe, monkeypatch):
    from video_opd.doctor import cost_estimate

    def too_large(*_):
        raise EngineError("model 'm' does not fit cuda", reason="out of memory", remedy="free the device")

    monkeypatch.setattr(cost_estimate, "load_reference", too_large)
    (finding,) = estimate_cost(patient)
    assert (finding.verdict, finding.remedy) == ("fail", "free the device")
    assert "does not fit" in finding.found


def test_what_selecting_costs_is_told_beside_what_training_costs(patient, recipe):
    from video_opd.config.curriculum_settings import CouplingSettings, RoundsSettings

    def of(curriculum) -> Finding:
        _, found = estimate_cost(replace(patient, recipe=recipe.model_copy(update={"curriculum": curriculum})))
        return found

    rounds = {"name": "tvdf", "count": 2, "num_rounds": 2, "strategy": "top-k"}
    dear = of(RoundsSettings.model_validate({**rounds, "name": "rounds", "num_answers": 8}))
    assert "scoring the pool of 12" in dear.checked
    assert dear.verdict == "warn"  # two steps of four against twelve examples three times
    assert "curriculum.race_enough" in dear.remedy
    filtered = of(RoundsSettings(name="rounds", count=2, num_rounds=2))
    assert "and 0.0 min of the student" in filtered.found  # a random draw behind the filter asks no student
    assert of(CouplingSettings(name="scc", num_anchors=1, num_frontier=1)).checked == dear.checked


def test_the_whole_examination_in_json(recipe_file, capsys, monkeypatch):
    read = []
    iterate_numbered = manifest.iterate_numbered
    monkeypatch.setattr(manifest, "iterate_numbered", lambda path: read.append(path) or iterate_numbered(path))
    status = main(["doctor", str(recipe_file), "--examples", "6", "--json"])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert captured.err == ""
    assert status == 1, "random models fail"
    assert len(read) == len({*read}) == 3, "each manifest is read once"
    assert set(report) == {"recipe", "failed", "findings", "published"}
    shown = {each["setting"]: each for each in report["published"]["differences"]}
    assert shown["training.learning_rate"] == {
        "setting": "training.learning_rate", "recipe": "0.001", "released": "1e-06", "paper": "1e-06"
    }  # fmt: skip
    assert all(set(finding) == {"checked", "found", "verdict", "remedy"} for finding in report["findings"])
    assert report["failed"] == sum(finding["verdict"] == "fail" for finding in report["findings"]) > 0
    assert all(finding["remedy"] for finding in report["findings"] if finding["verdict"] != "ok")
    assert len({finding["checked"] for finding in report["findings"]}) == len(report["findings"]) >= 17
    (decoding,) = (each for each in report["findings"] if each["checked"].startswith("the videos of the next step"))
    assert "decoding takes 0." in decoding["found"]


def test_videos_that_cannot_be_read_are_a_finding(recipe_file, world, tmp_path, capsys):
    videos = Path(shutil.copytree(world / "videos", tmp_path / "videos"))
    (videos / read_manifest(world / "train.jsonl")[0].video).write_bytes(b"")
    arguments = ["doctor", str(recipe_file), "--data.videos", str(videos), "--json", "--examples"]
    allowed = ["--data.max_bad_share", "0.5"]
    for count, verdict, status in (("4", "warn", 0), ("2", "fail", 1)):
        assert main([*arguments, count, *allowed]) == status
        finding = json.loads(capsys.readouterr().out)["findings"][1]
        assert finding["verdict"] == verdict
        assert "2 cannot be used; train-3-00000-" in finding["found"]
        assert "the file is empty" in finding["found"]


def find_videos(arguments: list[str], capsys) -> dict[str, dict[str, str]]:
    """What one examination finds about the videos of every manifest."""
    main(arguments)
    found = [each for each in json.loads(capsys.readouterr().out)["findings"]
             if each["checked"].startswith("the videos of")]  # fmt: skip
    by_part = {part: [each for each in found if part in each["checked"]] for part in ("training", "validation", "test")}
    assert [len(findings) for findings in by_part.values()] == [1, 1, 1]
    return {part: findings[0] for part, findings in by_part.items()}


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_video_that_would_stop_the_run_is_found_in_every_manifest(recipe_file, world, tmp_path, capsys, part):
    """`train` stops where more videos of a manifest than data.max_bad_share cannot be used."""
    videos, manifests = Path(shutil.copytree(world / "videos", tmp_path / "videos")), []
    for split in ("train", "validation", "test"):  # three of each are enough
        short = tmp_path / f"{split}.jsonl"
        short.write_text("".join((world / short.name).read_text().splitlines(keepends=True)[:3]))
        manifests += [f"--data.{split}", str(short)]
    (videos / read_manifest(tmp_path / f"{part}.jsonl")[-1].video).write_bytes(b"")
    called = {"train": "training"}.get(part, part)
    arguments = ["doctor", str(recipe_file), "--data.videos", str(videos), *manifests, "--json", "--examples", "99"]
    for more in ([], ["--data.max_bad_share", "0.9"]):
        found = find_videos([*arguments, *more], capsys)
        assert found[called]["verdict"] == ("warn" if more else "fail")
        assert "the file is empty" in found[called]["found"]
        stops = "data.max_bad_share allows fewer, so the run would stop" in found[called]["found"]
        assert stops == (not more), found[called]
        assert more == [] or "the run would stop" not in found[called]["found"]
        assert all(found[other]["verdict"] == "ok" for other in {"training", "validation", "test"} - {called})


def test_warnings_about_rows_of_every_manifest_are_reported(recipe_file, world, tmp_path, capsys):
    for part in ("validation", "test"):
        first, *rest = (world / f"{part}.jsonl").read_text().splitlines()
        manifest_file = tmp_path / f"{part}.jsonl"
        manifest_file.write_text("\n".join([json.dumps(json.loads(first) | {"spans": [[0.5, 999.0]]}), *rest]) + "\n")
        main(["doctor", str(recipe_file), f"--data.{part}", str(manifest_file), "--examples", "1", "--json"])
        found = {each["checked"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
        assert found[f"{part} manifest {manifest_file}"]["verdict"] == "warn"


def test_what_is_not_decoded_is_said(recipe_file, world, capsys):
    def not_decoded(count: int) -> str:
        main(["doctor", str(recipe_file), "--examples", str(count), "--json"])
        found = {each["checked"]: each["found"] for each in json.loads(capsys.readouterr().out)["findings"]}
        return found["videos that the doctor did not decode"]

    sizes = {part: len(read_manifest(world / f"{part}.jsonl")) for part in ("train", "validation", "test")}
    assert not_decoded(1) == (
        f"those of {sizes['train'] - 1} more training examples, those of {sizes['validation'] - 1} more validation "
        f"examples, those of {sizes['test'] - 1} more test examples"
    )
    assert not_decoded(99) == "none"


@pytest.mark.parametrize("count", [1, checks.MIN_AGREEING - 1, checks.MIN_AGREEING])
@pytest.mark.parametrize("sees", [True, False])
def test_of_too_few_examples_nothing_is_said_of_the_teacher(patient, monkeypatch, count, sees):
    """Neither that it sees the video, nor that it does not, nor that it is better than its student."""
    few = replace(patient, prompts=patient.prompts[:count], groups=patient.groups[:count])
    intact = {id(prompt) for prompt in few.prompts}
    losses = {True: -1.0, False: -2.0 if sees else -1.0}
    monkeypatch.setattr(
        checks, "score",
        lambda policy, prompts, groups, recipe: [torch.full((3,), losses[id(prompt) in intact]) for prompt in prompts],
    )  # fmt: skip
    verdict = "warn" if count < checks.MIN_AGREEING else "ok" if sees else "fail"
    (finding,) = findings(checks._check_teacher_sees, few)
    assert finding.verdict == verdict
    assert ("too few to say" in finding.found) == (count < checks.MIN_AGREEING)
    assert ("--examples" in finding.remedy) == (count < checks.MIN_AGREEING)
    (accuracy,) = findings(checks._check_accuracy, few)
    assert ("too few to say" in accuracy.found) == (count < checks.MIN_AGREEING)
    assert ("only a large difference means something" in accuracy.found) == (count >= checks.MIN_AGREEING)


def test_a_model_is_not_doctored(recipe_file, tmp_path):
    """Nothing is written."""
    before = set(tmp_path.rglob("*"))
    main(["doctor", str(recipe_file), "--examples", "2"])
    assert set(tmp_path.rglob("*")) == before


def test_findings_read_well_in_a_log(capsys):
    long = "a very long sentence about what was looked at and found, " * 4
    show_findings(
        [
            Finding(checked="one", found=long + "[red]not markup[/]", verdict="ok"),
            Finding(checked=long, found="found", verdict="fail", remedy="mend it"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok    one"
    assert all(len(line) <= 100 for line in lines)
    assert all(line[:6].strip() in ("", "ok", "fail") for line in lines[:-1])
    assert "[red]not markup[/]" in " ".join(line.strip() for line in lines)
    assert "      -> mend it" in lines
    assert lines[-1] == "1 ok, 0 warn, 1 fail"


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_noise_floor_is_that_of_the_first_step(recipe, prompts, precision, estimator):
    """The tiny student as its own teacher: the doctor's figure is the one that the first step of training has."""
    tables = recipe.model_dump(mode="json", exclude_none=True)
    tables["student"]["model"] = tables["teacher"]["model"] = "tiny-student"
    tables["method"]["estimator"] = estimator
    tables["compute"]["precision"] = precision
    recipe = Recipe.model_validate(tables)
    student = load_student(recipe, "tiny-student")
    teacher = load_frozen(recipe, "tiny-student")
    patient = Patient.admit(recipe, student, teacher, prompts[:8])
    (finding,) = findings(checks._check_noise_floor, patient)
    learner = Learner(student, recipe.training, total_steps=1)
    step = take_step(
        learner, prompts[:8], make_method(recipe, OneTeacher(teacher)), step=0, seed=derive_seed(recipe.seed, "step", 0)
    )
    advantages = torch.cat([batch.losses.advantage[batch.answer_mask] for batch in step.batches])
    rms, largest = float(advantages.square().mean().sqrt()), float(advantages.abs().max())
    assert f"RMS {rms:.1e}, largest {largest:.1e} nats over {len(advantages)} tokens" in finding.found
    assert (rms < 1e-5) if precision == "float32" else (1e-3 < rms < 0.05)


def test_a_teacher_that_is_hardly_louder_than_rounding_is_found(patient):
    """In bfloat16 a teacher that is the student itself says nothing but rounding."""
    recipe = patient.recipe.model_copy(
        update={"compute": patient.recipe.compute.model_copy(update={"precision": "bfloat16"})}
    )
    student = load_student(recipe, recipe.student.model)
    patient = Patient.admit(recipe, student, load_frozen(recipe, recipe.student.model), patient.prompts)
    (finding,) = findings(checks._check_noise_floor, patient)
    assert finding.verdict == "warn"
    assert "rounding hides" in finding.remedy


def test_a_noise_floor_that_nobody_can_measure_is_said(patient, monkeypatch):
    def too_large(*_):
        raise EngineError("model 'm' does not fit cuda", reason="out of memory", remedy="free the device")

    monkeypatch.setattr(checks, "load_frozen", too_large)
    compute = patient.recipe.compute.model_copy(update={"precision": "bfloat16"})
    patient = replace(patient, recipe=patient.recipe.model_copy(update={"compute": compute}))
    (finding,) = findings(checks._check_noise_floor, patient)
    assert (finding.verdict, finding.remedy) == ("warn", "free the device")
    assert "does not fit" in finding.found


def test_a_judge_that_sees_something_else_gives_advantage(patient, monkeypatch):
    """The student as its own teacher goes the method's way: a teacher path that loses the video is found there."""
    original = type(patient.student).read

    def blind_when_judging(self, prompts, *, grad=False):
        judging = "judge" in {frame.function for frame in inspect.stack()}
        return original(self, [remove_video(prompt) for prompt in prompts] if judging else prompts, grad=grad)

    monkeypatch.setattr(type(patient.student), "read", blind_when_judging)
    assert verdicts(checks._check_same_numbers, patient) == ["ok", "ok"]
    assert verdicts(checks._check_noise_floor, patient) == ["fail"]


@pytest.mark.parametrize("name", ["sft", "op-rkd", "op-fkd", "grpo", "mixture"])
def test_every_method_can_be_examined(recipe_file, name, capsys):
    """Distillation from annotations is also asked whether the teacher knows their wording; a random one knows none."""
    recipe_file.write_text(recipe_file.read_text() + f'\n[method]\nname = "{name}"\n')
    main(["doctor", str(recipe_file), "--examples", "2", "--json"])
    report = json.loads(capsys.readouterr().out)
    by_check = {finding["checked"]: finding["verdict"] for finding in report["findings"]}
    wording = by_check.get("the annotated answers are in the teacher's wording")
    assert wording == ("warn" if name in ("sft", "op-rkd", "op-fkd") else None)
    assert by_check["a student that is its own teacher gives advantages of zero, on the way that training goes"] == "ok"


def test_a_recipe_without_a_teacher_is_examined_without_one(recipe_file, models, capsys):
    text = recipe_file.read_text().replace(f'[teacher]\nmodel = "{models["teacher"]}"\n', "")
    recipe_file.write_text(text + '\n[method]\nname = "grpo"\n')
    assert main(["doctor", str(recipe_file), "--examples", "2", "--json"]) == 0
    checked = " ".join(finding["checked"] for finding in json.loads(capsys.readouterr().out)["findings"])
    assert "rough cost" in checked
    assert "student: special tokens" in checked
    assert "teacher" not in checked


@pytest.mark.parametrize("kind", ["hint", "clip"])
def test_a_view_is_examined_with_wrong_spans_and_without(kind, recipe_file, capsys):
    """The models are random, so what they are shown changes their scores and helps nothing."""
    keys = ["--teacher.view.kind", kind]
    main(["doctor", str(recipe_file), "--examples", "2", "--json", *keys])
    findings = json.loads(capsys.readouterr().out)["findings"]
    (found,) = (each for each in findings if each["checked"].startswith("the teacher in its view"))
    assert found["verdict"] == "warn"
    losses = dict(re.findall(r"(wrong spans|no view) (-?[\d.]+)", found["found"].split("nats per token: ")[1]))
    assert losses.keys() == {"wrong spans", "no view"}
    assert losses["wrong spans"] != losses["no view"]


def test_every_one_of_several_teachers_is_examined(recipe_file, models, capsys):
    text = recipe_file.read_text().replace(f'[teacher]\nmodel = "{models["teacher"]}"\n', "")
    several = "".join(f'[[teachers]]\nmodel = "{models[name]}"\n' for name in ("teacher", "student"))
    recipe_file.write_text(f'teachers_by = "average"\n{text}\n{several}')
    main(["doctor", str(recipe_file), "--examples", "2", "--json"])
    checked = [finding["checked"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    for name in ("teacher-1", "teacher-2"):
        assert sum(each.startswith(f"{name}: greedy answers") for each in checked) == 1
    assert sum(each.startswith("rough cost") for each in checked) == 1
    assert not any(each.startswith("teacher: greedy") for each in checked)


@pytest.mark.parametrize(
    ("mious", "losses", "verdict", "remedy"),
    [
        ((0.9, 0.2, 0.4), (1.5, 0.5), "ok", ""),
        ((0.86, 0.86, 0.4), (1.5, 0.5), "warn", "shown wrong spans"),
        ((0.9, 0.2, 0.4), (0.01, 0.5), "warn", "shown wrong spans"),
        ((0.4, 0.1, 0.4), (1.5, 0.5), "warn", "no better with the view"),
        ((0.0, 0.0, 0.0), (1.5, 0.5), "warn", "shown wrong spans"),
    ],
)
def test_what_is_made_of_a_teachers_view(patient, monkeypatch, mious, losses, verdict, remedy):
    """A hint that is not read helps as much when it is random; so would have been found before any training."""
    shown = {"true": 0, "wrong": 1, "none": 2}
    marks = {id(prompt): "none" for prompt in patient.prompts}

    def show(kind):
        def view(prompt):
            seen = replace(prompt)
            kept.append(seen)
            marks[id(seen)] = kind
            return seen

        return view

    kept: list = []
    logprobs = (-1.0, *(-1.0 - loss for loss in losses))
    monkeypatch.setattr(view_check, "measure_accuracy", lambda _, seen, __: (mious[shown[marks[id(seen[0])]]], 6))
    monkeypatch.setattr(
        view_check, "score", lambda _, seen, *__: [torch.full((3,), logprobs[shown[marks[id(seen[0])]]])]
    )
    finding = view_check.check_view(patient, show("true"), show("wrong"))
    assert finding.verdict == verdict
    assert remedy in finding.remedy
    assert bool(finding.remedy) == bool(remedy)
    assert f"its view: mIoU {mious[0]:.2f}; wrong spans: mIoU {mious[1]:.2f}; no view: mIoU {mious[2]:.2f}" in (
        finding.found
    )


def test_a_view_of_the_whole_video_has_no_wrong_part(patient, monkeypatch):
    mious = iter((0.5, 0.6))
    monkeypatch.setattr(view_check, "measure_accuracy", lambda *_: (next(mious), 6))
    finding = view_check.check_view(patient, replace, None)
    assert finding.verdict == "warn"
    assert "no better with the view" in finding.remedy
    assert view_check.WRONG_SPANS not in finding.found


def test_a_view_of_all_of_every_video_is_found(patient):
    finding = view_check.check_view(patient, lambda prompt: prompt, lambda prompt: prompt)
    assert finding.verdict == "warn"
    assert "view.margin_s" in finding.remedy


def test_a_teacher_with_a_view_is_examined_as_it_sees(recipe_file, capsys):
    """The student, frozen, is its own teacher: what the checks ask of it, they ask in its view."""
    words = [
        "doctor",
        str(recipe_file),
        "--examples",
        "6",
        "--teacher.model",
        "student",
        "--teacher.view.kind",
        "clip",
        "--json",
    ]
    main(words)
    report = json.loads(capsys.readouterr().out)
    found = {finding["checked"]: finding["found"] for finding in report["findings"]}
    (told,) = [text for checked, text in found.items() if checked.startswith("the teacher in its view")]
    assert "no view: mIoU" in told
    floor = next(text for checked, text in found.items() if "advantages of zero" in checked)
    assert float(floor.rpartition(" ")[2]) > 1e-3  # another clip than the student's, so another judgement
