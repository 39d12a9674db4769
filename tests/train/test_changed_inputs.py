"""A run knows which manifests, models and videos it was begun with; it goes on with others only where that is meant."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from train.test_lost_checkpoints import Killed, content
from train.test_runs import NOTHING_TRAINED
from video_opd.config.recipe_file import load_recipe
from video_opd.demo import find_bundled_recipe
from video_opd.errors import ConfigurationError, DataError, UserError
from video_opd.files.input_records import RecordedInputs
from video_opd.policy import file_hashes
from video_opd.runs.directory import RunDirectory
from video_opd.runs.inputs_file import read_inputs
from video_opd.train import changed_inputs, loop
from video_opd.train.changed_inputs import note_inputs, settle_inputs
from video_opd.train.input_identity import refuse_unknown_inputs
from video_opd.train.lost_checkpoints import set_aside_for_restart
from video_opd.train.run import run_recipe
from video_opd.train.run_inputs import Inputs
from video_opd.train.run_parts import RunParts
from video_opd.train.training_state import TrainingState

SPLITS = ("train", "validation", "test")
NAMES = (*SPLITS, "side-questions", "student", "teacher", "videos")
EVALUATIONS = ("student-before", "teacher", "validation-000000", "validation-000002", "timelines")


class Place:
    """A world and models of one's own, and the folder of a run on them. Nothing is trained or evaluated."""

    def __init__(self, folder: Path, recipe_file: Path) -> None:
        self.world, self.folder, self.out, self.told = folder / "world", folder, folder / "run", list[str]()
        data = {f"data.{split}": str(self.world / f"{split}.jsonl") for split in SPLITS}
        models = {f"{name}.model": str(folder / name) for name in ("student", "teacher")}
        data["data.workers"] = "0"
        side = {"side_questions.file": str(self.world / "before.jsonl"), "side_questions.template": "tiny-before"}
        self.recipe = load_recipe(recipe_file, {"data.videos": str(self.world / "videos"), **data, **models, **side})

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.out)

    def settle(self, *accept: str, is_offered: bool = True) -> RecordedInputs:
        """What a start does before its first evaluation."""
        self.told.clear()
        for part in (self.run.evaluation, self.run.checkpoints):
            part.mkdir(parents=True, exist_ok=True)
        offered = accept if is_offered else None
        return settle_inputs(self.recipe, self.run, Inputs(), accept=offered, tell=self.told.append)

    def begin(self) -> RecordedInputs:
        """A run of two steps, with what it leaves."""
        recorded = self.settle()
        for name in EVALUATIONS:
            (self.run.evaluation / f"{name}.json").write_text(name)
        (self.run.evaluation / "student-before.predictions.jsonl").write_text("answers")
        self.save(2, recorded.data_sha256)
        return recorded

    def save(self, step: int, data_sha256: str) -> None:
        folder = self.run.checkpoints / f"step-{step:06d}"
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps({"step": step, "data_sha256": data_sha256}))

    def change(self, name: str) -> None:
        """Change one input."""
        if name in ("student", "teacher"):  # another number, the same size
            path = self.folder / name / "model.safetensors"
            raw = bytearray(path.read_bytes())
            raw[-1] ^= 1
            path.write_bytes(raw)
        elif name == "videos":
            self.clips()[0].unlink()
        else:
            shorten(self.world / f"{'before' if name == 'side-questions' else name}.jsonl")

    def choose(self) -> None:
        """Let the recipe train on a selection."""
        ids = [json.loads(line)["id"] for line in (self.world / "train.jsonl").read_text().splitlines()]
        path = self.folder / "selection.jsonl"
        path.write_text("".join(json.dumps({"id": id, "kept": True, "order": at}) + "\n" for at, id in enumerate(ids)))
        overrides = {"curriculum.name": "selection", "curriculum.file": str(path)}
        chosen = load_recipe(self.folder / "recipe.toml", overrides).curriculum
        self.recipe = self.recipe.model_copy(update={"curriculum": chosen})

    def clips(self) -> list[Path]:
        return sorted((self.world / "videos").iterdir())


def shorten(path: Path) -> None:
    """One row less."""
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.fixture
def place(tmp_path, world, models, recipe_file) -> Place:
    shutil.copytree(world, tmp_path / "world")
    for name, folder in models.items():
        shutil.copytree(folder, tmp_path / name)
    return Place(tmp_path, recipe_file)


def test_all_that_a_run_reads_is_recorded(place):
    place.settle()
    now = json.loads((place.out / "inputs.json").read_text())
    assert now["files"].keys() == {*SPLITS, "side-questions"}
    for split in SPLITS:
        assert now["files"][split]["bytes"] == (place.world / f"{split}.jsonl").stat().st_size
    for name in ("student", "teacher"):
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= now["models"][name]["files"].keys()
    named = {json.loads(line)["video"] for file in (*SPLITS, "before")
             for line in (place.world / f"{file}.jsonl").read_text().splitlines()}  # fmt: skip
    assert now["videos"]["bytes"] == {name: (place.world / "videos" / name).stat().st_size for name in sorted(named)}
    assert place.told == []


TOLD = {
    **dict.fromkeys(SPLITS, r"jsonl had [\d,]+ bytes with SHA-256 [0-9a-f]{8}… and has [\d,]+ bytes with SHA-256 "),
    "side-questions": r"before\.jsonl had ",
    "student": r"model\.safetensors had ([\d,]+ bytes) with SHA-256 \w+… and has \1 with SHA-256 \w+… \(.*student\)",
    "teacher": r"model\.safetensors had ",
    "videos": r"of \d+ in .*videos 1 missing, such as \S+\.mp4",
}

OUTDATED = {
    "train": set(),
    "student": set(),
    "test": {"student-before", "teacher", "timelines"},
    "side-questions": {"student-before", "teacher", "timelines"},
    "validation": {"validation-000000", "validation-000002"},
    "teacher": {"teacher", "timelines"},
    "videos": set(EVALUATIONS),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_refused_with_the_difference_or_accepted_by_name(name, place, sentence):
    first = place.begin()
    assert place.settle() == first
    place.change(name)
    before = content(place.out)
    others = [each for each in NAMES if each != name]
    for accept, is_offered in (((), True), (others, True), ((), False)):
        with pytest.raises(ConfigurationError) as refused:
            place.settle(*accept, is_offered=is_offered)
        assert sentence.fullmatch(f"video-opd: {refused.value}")
        assert f"inputs of the run in {place.out} have changed since they were recorded" in str(refused.value)
        assert re.search(rf"\({name}: .*{TOLD[name]}", str(refused.value))
        assert (f"`train … --accept-changed {name}`" in str(refused.value)) == is_offered
        assert content(place.out) == before

    mine = [place.run.evaluation / name for name in ("student-notes.txt", "student-before.json.old", "teacher.txt")]
    for file in mine:
        file.write_text("of the user")
    now = place.settle(name)
    assert all(file.exists() for file in mine)
    assert place.told[0].startswith(f"accepted: {name}: ")
    assert now == read_inputs(place.out)
    assert now.version == 2
    change = now.changes[0]
    assert change.accepted == [name]
    assert re.search(TOLD[name], change.differences[0])
    assert now.known_data >= {first.data_sha256, now.data_sha256}
    aside = place.run.evaluation / "before-change-1"
    assert {path.stem for path in aside.glob("*.json")} == OUTDATED[name]
    assert change.evaluations == ("evaluation/before-change-1" if OUTDATED[name] else None)
    assert {path.stem for path in place.run.evaluation.glob("*.json")} == set(EVALUATIONS) - OUTDATED[name]
    assert (aside / "student-before.predictions.jsonl").exists() == ("student-before" in OUTDATED[name])

    assert place.settle() == now, "what was accepted is what the run has now"
    assert place.settle(name) == now
    assert place.told == [f"--accept-changed {name}: it is as it was recorded, so there is nothing to accept"]


def test_several_changes_are_told_together_and_accepted_one_after_the_other(place):
    place.begin()
    for name in ("test", "teacher"):
        place.change(name)
    with pytest.raises(ConfigurationError, match=r"\(test: .*; teacher: .*`train … --accept-changed test teacher`"):
        place.settle()
    with pytest.raises(ConfigurationError, match=r"\(teacher: .*`train … --accept-changed test teacher`"):
        place.settle("test")
    place.settle("test", "teacher")
    place.change("test")
    (place.run.evaluation / "student-before.json").write_text("again")
    now = place.settle("test")
    assert [change.accepted for change in now.changes] == [["test", "teacher"], ["test"]]
    assert (place.run.evaluation / "before-change-2" / "student-before.json").read_text() == "again"


@pytest.mark.parametrize("is_taken_back", [False, True])
def test_an_acceptance_that_is_killed_loses_and_hides_nothing(is_taken_back, place, monkeypatch):
    """Killed when the evaluations are aside and the change is not recorded: the same command goes on, and nothing that
    was set aside is replaced by what was measured meanwhile."""
    place.begin()
    whole = (place.world / "test.jsonl").read_bytes()
    place.change("test")
    with monkeypatch.context() as patch:
        patch.setattr(changed_inputs, "write_inputs", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            place.settle("test")
    assert not (place.run.evaluation / "student-before.json").exists()
    with pytest.raises(ConfigurationError, match="test: "):
        place.settle()
    if is_taken_back:
        (place.world / "test.jsonl").write_bytes(whole)
        place.settle()
        (place.run.evaluation / "student-before.json").write_text("again")
        place.change("test")
    place.settle("test")
    aside = {path.parent.name: path.read_text() for path in place.run.evaluation.glob("*/student-before.json")}
    assert aside == {"before-change-1": "student-before"} | ({"before-change-1-2": "again"} if is_taken_back else {})


def test_a_round_s_evaluation_goes_aside_with_the_validations(place):
    place.begin()
    (place.run.rounds / "1").mkdir(parents=True)
    (place.run.rounds / "1" / "evaluation.json").write_text("round 1")
    place.change("validation")
    place.settle("validation")
    assert (place.run.evaluation / "before-change-1" / "rounds" / "1" / "evaluation.json").read_text() == "round 1"
    assert not (place.run.rounds / "1" / "evaluation.json").exists()


@pytest.mark.parametrize("is_adapter", [False, True])
def test_a_student_that_is_loaded_again_is_measured_again(is_adapter, place):
    """Before the first checkpoint its files are what is trained; of an adapter they are the base."""
    place.begin()
    if is_adapter:
        overrides = {"student.lora.rank": "2", "student.model": str(place.folder / "student")}
        lora = load_recipe(place.folder / "recipe.toml", overrides).student
        place.recipe = place.recipe.model_copy(update={"student": lora})
    else:
        shutil.rmtree(place.run.checkpoints)
    place.change("student")
    place.settle("student")
    assert [path.name for path in place.run.evaluation.glob("*.json")] == ["teacher.json"]


def test_a_run_that_has_measured_nothing_takes_what_there_is(place):
    first = place.settle()
    place.change("test")
    now = place.settle()
    assert now.files["test"] != first.files["test"]
    assert now.changes == []


def test_a_run_of_an_earlier_version_goes_on_and_is_recorded_once(place):
    place.begin()
    (place.out / "inputs.json").unlink()
    now = place.settle()
    assert "the run was begun without a record of its inputs" in place.told[0]
    assert now.from_begin is False
    assert place.settle("test") == now
    assert "without a record" not in "".join(place.told)
    place.change("test")
    assert place.settle("test").from_begin is False


def test_other_manifests_in_a_run_of_an_earlier_version_are_not_recorded_as_its_own(place):
    place.begin()
    (place.out / "inputs.json").unlink()
    whole = (place.world / "train.jsonl").read_bytes()
    place.change("train")
    for accept in ((), ("train",)):
        with pytest.raises(ConfigurationError, match=r"the manifests, or scores or a selection .* have changed since"):
            place.settle(*accept)
        assert not (place.out / "inputs.json").exists()
    (place.world / "train.jsonl").write_bytes(whole)
    assert place.settle().from_begin is False


def test_a_checkpoint_saw_data_that_the_run_is_known_to_have_had(place):
    first = place.begin()
    place.change("train")
    now = place.settle("train")
    names = ("recipe", "models", "data", "method", "learner", "gate", "curriculum", "watch")
    parts = RunParts(**dict.fromkeys(names))
    for state in (TrainingState(), *(TrainingState(step=2, data_sha256=known) for known in first.known_data)):
        assert note_inputs(parts, state, place.run, now).mark_row() == {"inputs_version": 2}
        assert state.data_sha256 == now.data_sha256
    assert parts.mark_row() == {}
    with pytest.raises(ConfigurationError, match=r"the manifests, or scores or a selection .* have changed since"):
        note_inputs(parts, TrainingState(step=2, data_sha256="0" * 64), place.run, now)


def put(**changes: Any):
    return lambda whole: json.dumps(whole | changes)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "", lambda _: "{", lambda _: "[]", lambda _: "[" * 100_000, lambda _: '{"mine": 1}',
        put(models=3), put(format=2), put(videos={"folder": "x"}), put(changes=[{"accepted": 3}]),
        put(videos={"folder": "x", "bytes": {"a.mp4": "large"}}), put(from_begin="yes"), put(more=1),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused_in_one_sentence_and_stays(spoil, place, sentence):
    """Also where nothing was measured: it may be a file of the user's own."""
    place.settle()
    path = place.out / "inputs.json"
    path.write_text(spoil(json.loads(path.read_text())))
    before = content(place.out)
    with pytest.raises(DataError, match=r"inputs\.json cannot be read: .*move it away") as refused:
        place.settle()
    assert sentence.fullmatch(f"video-opd: {refused.value}")
    assert content(place.out) == before


@pytest.mark.parametrize("names", [["tset"], ["test", "curriculum"], ["teacher-1"], [7]])
def test_an_unknown_name_lists_the_valid_ones(names, place):
    with pytest.raises(ConfigurationError, match=r"the recipe has no input of that name\. ") as refused:
        refuse_unknown_inputs(place.recipe, names)
    assert "est" in refused.value.remedy
    refuse_unknown_inputs(place.recipe, NAMES)


def test_in_the_api_a_flag_in_place_of_names_is_refused(place):
    import video_opd

    with pytest.raises(ConfigurationError, match=r"--accept-changed True: the recipe has no input of that name\."):
        video_opd.train(place.recipe, place.out, accept_changed=True)


@pytest.mark.parametrize("name", [*NAMES[:-1], "selection"])
def test_an_input_that_is_gone_is_refused_in_one_sentence(name, place, sentence):
    if name == "selection":
        place.choose()
    place.begin()
    if name in ("student", "teacher"):
        shutil.rmtree(place.folder / name)
    else:
        file = {"side-questions": place.world / "before.jsonl", "selection": place.folder / "selection.jsonl"}
        file.get(name, place.world / f"{name}.jsonl").unlink()
    before = content(place.out)
    for accept in ((), (name,)):
        with pytest.raises(UserError) as refused:
            place.settle(*accept)
        assert sentence.fullmatch(f"video-opd: {refused.value}")
    assert content(place.out) == before


def test_a_file_of_a_model_that_cannot_be_read_is_told(place, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("video_opd.train.input_identity.hash_file", fail)
    with pytest.raises(
        ConfigurationError, match=r"student/\S+ cannot be read: .* \(Permission denied\)\. Make it readable"
    ):
        place.settle()


def test_a_selection_is_an_input(place):
    place.choose()
    place.begin()
    shorten(place.folder / "selection.jsonl")
    with pytest.raises(ConfigurationError, match=r"\(selection: .*selection\.jsonl had .*--accept-changed selection`"):
        place.settle()
    refuse_unknown_inputs(place.recipe, ["selection"])
    assert place.settle("selection").changes[0].evaluations is None


def test_weights_are_hashed_once_and_not_again_while_they_look_the_same(place, monkeypatch):
    hashed: list[str] = []
    plain = file_hashes._hash_content.__wrapped__
    monkeypatch.setattr(
        file_hashes, "_hash_content", lambda path, state: hashed.append(path.name) or plain(path, state)
    )
    first = place.begin()
    assert hashed.count("model.safetensors") == 2, "student and teacher"
    hashed.clear()
    place.settle()
    assert hashed == []
    os.utime(place.folder / "teacher" / "model.safetensors", ns=(1, 1))  # copied from elsewhere
    now = place.settle()
    assert hashed == ["model.safetensors"]
    assert now.models["teacher"].files["model.safetensors"].modified_ns == 1
    assert now.changes == first.changes == []
    assert read_inputs(place.out) == now
    place.settle()
    assert hashed == ["model.safetensors"]


def test_weights_of_the_same_size_and_time_are_told_apart(place):
    """An archive or an image of a container may give every file the same time."""
    weights = place.folder / "teacher" / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    place.begin()
    place.change("teacher")
    os.utime(weights, ns=(1, 1))
    with pytest.raises(ConfigurationError, match=r"\(teacher: model\.safetensors had "):
        place.settle()


def test_a_record_without_the_second_time_is_completed(place):
    place.begin()
    recorded = json.loads((place.out / "inputs.json").read_text())
    for file in recorded["models"]["teacher"]["files"].values():
        del file["changed_ns"]
    (place.out / "inputs.json").write_text(json.dumps(recorded))
    now = place.settle()
    assert all(file.changed_ns for file in now.models["teacher"].files.values())
    assert now == read_inputs(place.out)
    assert now.changes == []


def test_files_beside_the_named_ones_do_not_count(place):
    """Neither videos that no row names, nor defaults for asking, nor a folder full of something else."""
    first = place.begin()
    (place.world / "videos" / "another.mp4").write_bytes(b"x")
    (place.world / "videos" / "deep").mkdir()
    (place.world / "videos" / "deep" / "a.mp4").write_bytes(b"x")
    (place.folder / "teacher" / "README.md").write_text("x")
    (place.folder / "teacher" / "generation_config.json").write_text("{}")
    assert place.settle() == first


def test_new_files_of_a_model_and_gone_ones_are_told(place):
    place.begin()
    (place.folder / "teacher" / "more.json").write_text("{}")
    (place.folder / "teacher" / "chat_template.jinja").rename(place.folder / "teacher" / "template")
    told = r"teacher: chat_template\.jinja is gone, and 1 more of its files changed"
    with pytest.raises(ConfigurationError, match=told):
        place.settle()


def test_videos_that_shrank_or_came_back_are_told(place):
    first, second = place.clips()[:2]
    whole = first.read_bytes()
    first.unlink()
    place.begin()
    first.write_bytes(whole)
    second.write_bytes(second.read_bytes() + b"x")
    told = rf"1 there that were missing, such as {first.name}, 1 of another size, such as {second.name} \([\d,]+ "
    with pytest.raises(ConfigurationError, match=told + "bytes then, "):
        place.settle()


def test_names_that_are_not_utf_8_are_recorded_too(place):
    """Of side questions' videos and of files of a model; a manifest may not have them."""
    questions = place.world / "before.jsonl"
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    rows[0]["video"], rows[1]["video"] = "\udcff.mp4", "\ud800\0.mp4"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place.world / "videos" / "\udcff.mp4").write_bytes(b"x")
    (place.folder / "teacher" / "\udcff.json").write_text("{}")
    sizes = place.begin().videos.bytes
    assert (sizes["\udcff.mp4"], sizes["\ud800\0.mp4"]) == (1, None)
    assert place.settle().changes == []
    (place.world / "videos" / "\udcff.mp4").unlink()
    with pytest.raises(ConfigurationError, match=r"1 missing, such as \\udcff\.mp4"):
        place.settle()


def test_a_folder_of_pictures_is_told_by_the_size_of_its_pictures(place):
    folder, train = place.world / "videos" / "pictures", place.world / "train.jsonl"
    folder.mkdir()
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    rows[0] |= {"video": "pictures", "frame_rate": 3.0}
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(b"picture")
    (folder / "notes.txt").write_text("not a picture")
    assert place.begin().videos.bytes["pictures"] == 21
    (folder / "2.jpg").unlink()
    with pytest.raises(ConfigurationError, match=r"1 of another size, such as pictures \(21 bytes then, 14 now\)"):
        place.settle()


def test_a_tiny_world_that_is_rendered_again_is_the_same(place, tmp_path):
    from video_opd.train.build import render_data

    data = {"videos": tmp_path / "made" / "videos", **{split: tmp_path / "made" / f"{split}.jsonl" for split in SPLITS}}
    sizes = {f"data.tiny_world.num_{split}": "2" for split in SPLITS} | {"data.tiny_world.render": "true"}
    recipe = load_recipe(
        find_bundled_recipe("tiny-opd"), {f"data.{key}": str(path) for key, path in data.items()} | sizes
    )
    place.recipe, found = recipe, []
    for _ in range(2):
        render_data(recipe, Inputs())
        found.append(place.begin() if not found else place.settle())
        shutil.rmtree(tmp_path / "made")
    assert found[0] == found[1]
    assert found[0].files.keys() == {*SPLITS, "side-questions"}
    assert None not in found[0].videos.bytes.values()


def test_after_a_restart_the_inputs_are_recorded_anew(place):
    first = place.begin()
    shutil.rmtree(place.run.checkpoints)
    place.change("test")
    assert set_aside_for_restart(place.run) == place.out / "before-restart-1"
    now = place.settle()
    assert (now.changes, now.from_begin) == ([], True)
    assert read_inputs(place.out / "before-restart-1") == first


@pytest.mark.parametrize("name", ["train", "teacher"])
def test_what_a_selection_was_made_from_stays(name, place):
    """It cannot be made again in the middle of a round, and the flag is not offered for it."""
    place.begin()
    (place.run.rounds / "1").mkdir(parents=True)
    (place.run.rounds / "1" / "selection.jsonl").write_text("")
    place.change("test")
    place.settle("test")
    place.change(name)
    before = content(place.out)
    for accept in ((), (name,)):
        with pytest.raises(ConfigurationError, match=r"rounds/1/selection\.jsonl was chosen from what") as refused:
            place.settle(*accept)
        assert "--accept-changed" not in str(refused.value)
        assert content(place.out) == before


def test_fewer_steps_than_were_taken_are_refused(place):
    """Where the number of examples decides how many there are."""
    open_steps = place.recipe.training.model_copy(update={"steps": None})
    place.recipe = place.recipe.model_copy(update={"training": open_steps})
    place.begin()
    train = place.world / "train.jsonl"
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:4]))
    before = content(place.out)
    with pytest.raises(ConfigurationError, match="with the changed examples the run has 1 steps, and 2 are taken"):
        place.settle("train")
    assert content(place.out) == before


def test_scores_before_and_after_are_of_the_same_test_manifest(place, monkeypatch):
    """From a run that is killed in its second step to the report: nothing is compared that is of different data."""

    def take_step(*_, step, **__):
        if step == until:
            raise Killed
        return NOTHING_TRAINED

    monkeypatch.setattr(loop, "take_step", take_step)
    until = 1
    with contextlib.suppress(Killed):
        run_recipe(place.recipe, place.out, accept_changed=())
    place.change("test")
    with pytest.raises(ConfigurationError, match="test: "):
        run_recipe(place.recipe, place.out, accept_changed=())
    until = 2
    results = run_recipe(place.recipe, place.out, accept_changed=["test"])
    assert results["student_before"]["num_queries"] == results["student_after"]["num_queries"] == 3
    aside = place.run.evaluation / "before-change-1" / "student-before.json"
    assert json.loads(aside.read_text())["scores"]["num_queries"] == 4
    rows = [json.loads(line) for line in place.run.metrics.read_text().splitlines()]
    assert [row.get("inputs_version") for row in rows] == [None, 2]
    assert "The run went on with other inputs than before, accepted by name (test): " in place.run.report.read_text()


@pytest.mark.parametrize("words", [["test"], ["test", "teacher"]])
def test_the_flag_and_the_api_reach_the_run(words, monkeypatch, tmp_path, capsys):
    import video_opd
    from video_opd.cli import main

    seen = []
    results = {"run": str(tmp_path), "steps": 1, "train_seconds": 0.0}
    monkeypatch.setattr("video_opd.train.run.run_recipe", lambda *_, **more: seen.append(more) or results)
    assert main(["train", "tiny-opd", "--out", str(tmp_path / "run"), "--json", "--accept-changed", *words]) == 0
    video_opd.train("tiny-opd", out=tmp_path / "run", accept_changed=words, restart=True)
    video_opd.train("tiny-opd", out=tmp_path / "run", accept_changed=words[0])
    assert [list(more["accept_changed"]) for more in seen] == [words, words, words[:1]]
    assert [more["restart"] for more in seen] == [False, True, False]
