"""A copy of the student as teacher that takes over its weights, or is their moving average."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from video_opd.cli import main
from video_opd.config import TeacherSettings
from video_opd.config.recipe_file import load_recipe
from video_opd.errors import ConfigurationError
from video_opd.policy.load import load_policy
from video_opd.runs.collapse_watch import CollapseWatch
from video_opd.train.build_models import load_reference, load_student
from video_opd.train.build_teachers import load_teacher
from video_opd.train.changing_teacher import TEACHER_FILE, ChangingTeacher
from video_opd.train.early_checks import refuse_unfit_job
from video_opd.train.measured_models import list_frozen, measure_student
from video_opd.train.run_inputs import Inputs

VIEW = {"teacher.model": "student", "teacher.view.kind": "clip", "teacher.view.margin_s": "0.5"}
KEYS = {**VIEW, "method.estimator": "exact", "training.steps": "4", "schedule.keep_checkpoints": "9"}


class Weights(torch.nn.Module):
    """Two trained weights, and one that is frozen."""

    def __init__(self, one: float, other: float, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.tensor([one], dtype=dtype))
        self.other = torch.nn.Parameter(torch.tensor([other], dtype=dtype))
        self.frozen = torch.nn.Parameter(torch.tensor([7.0], dtype=dtype), requires_grad=False)


@pytest.fixture
def follow(student):
    """Makes a teacher that changes; it begins as the student, whose weights are 1 and 2."""

    def make(dtype: torch.dtype = torch.float32, **keys: float) -> ChangingTeacher:
        settings = TeacherSettings(model="student", view={"kind": "clip"}, **keys)
        own, copy = (replace(student, model=Weights(1, 2, kind)) for kind in (torch.float32, dtype))
        return ChangingTeacher.of(settings, own, copy.freeze())

    return make


def set_student(changing: ChangingTeacher, one: float, other: float) -> None:
    for name, value in (("one", one), ("other", other)):
        changing.trained[name].data.fill_(value)


def read_weights(changing: ChangingTeacher) -> list[float]:
    return [float(weight) for weight in changing.weights.values()]


def train(recipe: Path, out: Path, **keys: str) -> Path:
    assert main(["train", str(recipe), "--out", str(out), *[w for k, v in keys.items() for w in (f"--{k}", v)]]) == 0
    return out


def read_rows(run: Path) -> list[dict]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if "seconds" not in key and "memory" not in key} for row in read]


def read_saved(run: Path, step: int, file: str) -> dict[str, torch.Tensor]:
    return load_file(run / f"checkpoints/step-{step:06d}" / file)


def assert_equal_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_average_moves_by_its_share_at_every_step(follow):
    changing = follow(average=0.75)
    assert changing.weights.keys() == {"one", "other"}, "what the student does not train stays"
    set_student(changing, 5, -2)
    changing.follow(1)
    assert read_weights(changing) == [2.0, 1.0]  # .75 * 1 + .25 * 5, .75 * 2 - .25 * 2
    set_student(changing, 10, 5)
    changing.follow(2)
    assert read_weights(changing) == [4.0, 2.0]


def test_an_average_in_a_short_type_does_not_stand_still(follow, tmp_path):
    changing = follow(torch.bfloat16, average=0.999)
    set_student(changing, 2, 2)
    for step in range(1, 11):  # 0.001 is less than half of what lies between 1 and the next bfloat16
        changing.follow(step)
    assert changing.weights["one"].dtype == torch.bfloat16
    assert float(changing.precise["one"]) == pytest.approx(2 - 0.999**10, abs=1e-6)
    assert read_weights(changing)[0] == 1.0078125
    changing.save(tmp_path)
    other = follow(torch.bfloat16, average=0.999)
    other.load(tmp_path)
    assert torch.equal(other.precise["one"], changing.precise["one"])
    assert read_weights(other) == read_weights(changing)


def test_a_refresh_takes_the_weights_of_that_step(follow):
    changing = follow(refresh_every=2)
    for step, expected in ((1, [1, 2]), (2, [20, 2]), (3, [20, 2]), (4, [40, 2])):
        set_student(changing, 10 * step, 2)
        changing.follow(step)
        assert read_weights(changing) == expected


@pytest.mark.parametrize(
    ("keys", "measured"),
    [
        ({"teacher.refresh_every": "2"}, [1, 2, 4]),
        ({"teacher.average": "0.5", "schedule.evaluate_every": "3"}, [1, 3]),
        ({"teacher.average": "0.5", "watch.window": "2"}, [1, 2, 4]),
    ],
)
def test_a_run_goes_on_bit_by_bit_as_if_it_had_not_stopped(keys, measured, recipe_file, models, tmp_path):
    keys = KEYS | keys
    finished = train(recipe_file, tmp_path / "finished", **keys)
    assert [row["step"] for row in read_rows(finished) if "teacher_view_miou" in row] == measured
    teachers = [read_saved(finished, step, TEACHER_FILE) for step in (1, 2, 3, 4)]
    students = [read_saved(finished, step, "model/model.safetensors") for step in (1, 2, 3, 4)]
    before = load_file(Path(models["student"]) / "model.safetensors")
    if "teacher.refresh_every" in keys:
        for teacher, student in zip(teachers, (before, students[1], students[1], students[3]), strict=True):
            assert_equal_weights(teacher, student)
    else:
        for name, value in teachers[0].items():
            torch.testing.assert_close(value, (before[name] + students[0][name]) / 2, rtol=0, atol=1e-6)
    stopped = tmp_path / "stopped"
    shutil.copytree(finished, stopped)
    for file in (*stopped.glob("checkpoints/step-00000[34]"), *stopped.glob("evaluation/*")):
        if "before" not in file.name:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    train(recipe_file, stopped, **keys)
    assert read_rows(stopped) == read_rows(finished)
    for file in (TEACHER_FILE, "model/model.safetensors"):
        assert_equal_weights(read_saved(finished, 4, file), read_saved(stopped, 4, file))


def test_a_refresh_teaches_otherwise_and_its_time_is_told(recipe_file, tmp_path):
    changing = train(recipe_file, tmp_path / "changing", **KEYS, **{"teacher.refresh_every": "2"})
    frozen = train(recipe_file, tmp_path / "frozen", **KEYS)
    mine, theirs = read_rows(changing), read_rows(frozen)
    assert [row["loss"] for row in mine[:2]] == [row["loss"] for row in theirs[:2]]
    assert mine[2]["loss"] != theirs[2]["loss"]
    assert mine[2]["work"] == theirs[2]["work"] or mine[2]["num_answer_tokens"] != theirs[2]["num_answer_tokens"]
    phases = [json.loads(line)["seconds_by_phase"] for line in (changing / "metrics.jsonl").read_text().splitlines()]
    assert all(row["teacher change"] > 0 for row in phases)
    assert "teacher change" in (changing / "report.html").read_text()
    assert not list(frozen.glob(f"checkpoints/*/{TEACHER_FILE}"))
    assert not any("teacher_view_miou" in row for row in theirs)
    recipe = (frozen / "recipe.toml").read_text()
    assert "refresh_every" not in recipe
    assert "average" not in recipe


def test_a_checkpoint_without_the_teacher_is_refused(recipe_file, tmp_path, refused):
    keys = KEYS | {"teacher.refresh_every": "2", "training.steps": "1"}
    run = train(recipe_file, tmp_path / "run", **keys)
    folder = run / "checkpoints/step-000001"
    recipe = load_recipe(recipe_file, keys)
    student = load_student(recipe, recipe.student.model)
    changing = ChangingTeacher.of(recipe.teacher, student, load_policy(recipe.student.model))
    changing.load(folder)
    saved = load_file(folder / TEACHER_FILE)
    first = next(iter(saved))
    for spoiled, reason in (
        ({name: value for name, value in saved.items() if name != first}, "other weights"),
        (saved | {first: saved[first] * float("nan")}, "not finite"),
    ):
        (tmp_path / TEACHER_FILE).parent.mkdir(exist_ok=True)
        save_file(spoiled, tmp_path / TEACHER_FILE)
        with pytest.raises(ConfigurationError, match=reason):
            changing.load(tmp_path)
    (tmp_path / TEACHER_FILE).write_bytes(b"{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        changing.load(tmp_path)
    marker = json.loads((folder / "COMPLETE.json").read_text())
    del marker["files"][TEACHER_FILE]
    (folder / "COMPLETE.json").write_text(json.dumps(marker))
    words = [word for key, value in keys.items() for word in (f"--{key}", value)]
    assert "it has no teacher" in refused("train", recipe_file, "--out", run, *words)


def test_the_reference_stays_what_it_was(recipe_file):
    keys = {**VIEW, "method.name": "grpo", "method.num_answers": "2", "method.reference_weight": "0.1"}
    for more, is_shared in (({}, True), ({"teacher.refresh_every": "2"}, False)):
        recipe = load_recipe(recipe_file, keys | more)
        student = load_student(recipe, recipe.student.model)
        judge = load_teacher(recipe, Inputs(), student)
        reference = load_reference(recipe, student, judge.policies)
        assert reference is not None
        assert (reference.model is judge.policies[0].model) == is_shared
        parts = [frozen.part for frozen in list_frozen(recipe, measure_student(recipe), 0.0)]
        assert parts == (["teacher"] if is_shared else ["teacher", "reference"])


def test_the_average_in_a_longer_type_counts_as_memory(recipe_file):
    sizes = []
    for more in ({}, {"teacher.average": "0.9"}):
        recipe = load_recipe(recipe_file, VIEW | {"compute.precision": "bfloat16"} | more)
        sizes += [frozen.num_bytes for frozen in list_frozen(recipe, measure_student(recipe), 0.0)]
    assert sizes[1] == 3 * sizes[0]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"teacher.refresh_every": "2", "teacher.average": "0.9"}, "both refresh_every and average"),
        ({"teacher.refresh_every": "2", "teacher.model": "tiny-teacher"}, "is for a copy of the student"),
        ({"teacher.average": "0.9", "student.lora.rank": "4"}, "the base under the adapter"),
        ({"teacher.average": "1.0"}, "less than 1"),
        (
            {"teacher.refresh_every": "2", "curriculum.name": "rounds", "curriculum.count": "4"},
            "selects by the teacher's scores",
        ),
    ],
)
def test_what_does_not_fit_is_refused(keys, reason, recipe_file):
    with pytest.raises(ConfigurationError, match=reason):
        load_recipe(recipe_file, VIEW | keys)


def test_a_copy_without_a_view_is_refused(recipe_file):
    keys = {"teacher.model": "student", "teacher.average": "0.9", "method.name": "mixture"}
    with pytest.raises(ConfigurationError, match="teaches nothing"):
        load_recipe(recipe_file, keys)


def test_a_job_of_several_processes_is_refused(recipe_file):
    recipe = load_recipe(recipe_file, VIEW | {"teacher.refresh_every": "2"})
    with pytest.raises(ConfigurationError, match="job of 2 processes"):
        refuse_unfit_job(recipe, 2)
    refuse_unfit_job(recipe, 1)


def test_a_teacher_that_changes_is_announced_as_an_experiment(recipe_file, tmp_path, caplog):
    for key, value in (("average", "0.9"), ("refresh_every", "1")):
        train(recipe_file, tmp_path / key, **VIEW, **{f"teacher.{key}": value, "training.steps": "1"})
        assert any(f"teacher.{key} is an experiment" in message for message in caplog.messages)
        caplog.clear()
    train(recipe_file, tmp_path / "two", **VIEW, **{"training.steps": "1"})
    assert not any("experiment" in message for message in caplog.messages)


def test_the_watch_judges_every_measurement_of_the_teachers_own_answers():
    watch = CollapseWatch(None)
    for step, miou in ((1, 0.6), (20, 0.7), (40, 0.36)):
        assert watch.note({"step": step, "teacher_view_miou": miou}) == []
        assert watch.note({"step": step + 1}) == []
    (excess,) = watch.note({"step": 60, "teacher_view_miou": 0.34})
    assert excess.describe().startswith("the teacher's mIoU in its view is 0.34, below the limit of 0.35 since step 60")
    assert watch.collapse is None
    watch.note({"step": 80, "teacher_view_miou": 0.3})
    assert watch.collapse is not None
    assert watch.collapse.since == 60
