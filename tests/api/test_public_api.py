"""What `import video_opd` gives: lazily, typed, and the same as the commands."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import errno
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import video_opd
from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.data.manifest import read_manifest


def in_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after(code: str) -> list[str]:
    """Which of the heavy packages are imported after some code ran in a fresh Python."""
    heavy = ("torch", "numpy", "transformers", "pydantic", "av")
    return in_fresh_python(f"import sys\n{code}\nprint(*(name for name in {heavy!r} if name in sys.modules))").split()


def test_the_import_alone_loads_nothing_heavy():
    assert loaded_after("import video_opd; dir(video_opd); video_opd.Span(0, 1); video_opd.__version__") == []
    assert "torch" not in loaded_after("import video_opd; video_opd.parse_answer('4 - 9 s'); video_opd.metrics")
    assert "torch" in loaded_after("import video_opd; video_opd.load")


def test_every_public_name_is_there_and_documented():
    for name in video_opd.__all__:
        value = getattr(video_opd, name)
        assert inspect.getdoc(value), name
        assert name in dir(video_opd)
    assert sorted(video_opd.__all__) == list(video_opd.__all__)
    assert {*video_opd._HOME, "train"} == {*video_opd.__all__}


def test_what_is_not_public_is_refused_as_usual():
    with pytest.raises(AttributeError, match="has no attribute 'grounds'"):
        video_opd.grounds  # noqa: B018
    with pytest.raises(ImportError):
        exec("from video_opd import grounds")


def test_completion_offers_the_public_names_and_nothing_that_was_imported():
    assert [name for name in dir(video_opd) if not name.startswith("__")] == list(video_opd.__all__)


def test_a_type_checker_sees_a_misspelt_name():
    """A `__getattr__` that it can see would give every name the type Any."""
    tree = ast.parse(Path(video_opd.__file__).read_text(encoding="utf-8"))
    assert "__getattr__" not in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert callable(video_opd.__getattr__)


def test_train_says_what_it_takes():
    names = ["recipe", "out", "restart", "accept_changed", "overrides"]
    assert list(inspect.signature(video_opd.train).parameters) == names
    from video_opd.train.from_recipe import train

    assert inspect.signature(train) == inspect.signature(video_opd.train)
    assert "Args:" in inspect.getdoc(video_opd.train)


def test_train_is_a_function_whatever_was_imported_before():
    code = "import video_opd; {}; assert callable(video_opd.train); from video_opd import train; assert callable(train)"
    for before in ("pass", "import video_opd.train.optimizer", "from video_opd.train import optimizer"):
        in_fresh_python(code.format(before))


def test_python_m_is_the_command(capsys):
    done = subprocess.run(
        [sys.executable, "-m", "video_opd", "--version"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"video-opd {video_opd.__version__}\n")


def test_the_package_says_that_it_is_typed():
    assert (Path(video_opd.__file__).parent / "py.typed").exists()


@pytest.fixture(scope="module")
def model() -> video_opd.GroundingModel:
    return video_opd.load("tiny-teacher", device="cpu")


def test_a_query_is_answered_as_the_command_answers_it(model, world, capsys):
    example = read_manifest(world / "test.jsonl")[0]
    clip = world / "videos" / example.video
    found = model.ground(clip, example.query)
    assert main(["ground", "tiny-teacher", str(clip), example.query, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {
        "answer": found.answer,
        "spans": [list(span) for span in found.spans],
        "duration": found.duration,
        "num_video_tokens": found.num_video_tokens,
    } == said
    assert (found.query, found.reason) == (example.query, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.answer = "another"  # type: ignore[misc]


def test_several_queries_are_answered_as_each_alone(model, world):
    example = read_manifest(world / "test.jsonl")[0]
    clip = str(world / "videos" / example.video)
    queries = [example.query, "a red circle", "the blue square"]
    assert model.ground(clip, queries) == [model.ground(clip, query) for query in queries]
    assert model.ground(clip, []) == []
    assert not model.shares_video, "the tiny world asks before it shows"


def test_a_part_of_a_video_can_be_asked_about(model, world):
    example = read_manifest(world / "test.jsonl")[0]
    found = model.ground(world / "videos" / example.video, example.query, clip=(2.0, 6.0))
    assert 4.0 <= found.duration <= 4.5, "to the end of the last frame"


def test_how_a_model_is_asked_can_be_said(world):
    model = video_opd.load("tiny-student", device="cpu", fps=1.0, max_new_tokens=4)
    example = read_manifest(world / "test.jsonl")[0]
    found = model.ground(world / "videos" / example.video, example.query)
    assert model.how.answers.max_new_tokens == 4
    assert found.num_video_tokens == example.duration / 2
    assert found.reason is not None


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"fsp": 1}, "fsp = 1: it is no way to ask a model"),
        ({"fps": -1}, "fps = -1"),
        ({"max_frames": 3}, "max_frames = 3"),
        ({"template": "tinny"}, "Perhaps tiny is meant"),
        ({"max_new_token": 3}, "Perhaps max_new_tokens is meant"),
        ({"precision": "half"}, "precision = 'half'"),
    ],
)
def test_a_wrong_way_to_ask_is_refused(how, sentence):
    with pytest.raises(video_opd.UserError, match=sentence):
        video_opd.load("tiny-student", **how)


def test_a_query_without_words_is_refused(model, world):
    clip = next((world / "videos").iterdir())
    with pytest.raises(video_opd.UserError, match="has no words"):
        model.ground(clip, " ")


@pytest.mark.parametrize("query", [3, None, [3], b"a circle"])
def test_a_query_that_is_no_text_is_refused(model, query):
    with pytest.raises(video_opd.UserError, match="a query is a text"):
        model.ground("clip.mp4", query)


@pytest.mark.parametrize("clip", [5, (1,), "1,2", ("a", "b")])
def test_a_clip_that_is_not_two_times_is_refused(model, clip):
    with pytest.raises(video_opd.UserError, match="not two times in seconds"):
        model.ground("clip.mp4", "a circle", clip=clip)


def test_a_model_is_shown_in_one_line(model):
    assert repr(model) == "GroundingModel(name='tiny-teacher', device='cpu', precision='float32')"


def test_numbers_below_one_are_refused(model, world, tmp_path):
    manifest, videos, out = world / "test.jsonl", world / "videos", tmp_path / "out.jsonl"
    with pytest.raises(video_opd.UserError, match="batch_size = 0"):
        video_opd.evaluate(model, manifest, videos, batch_size=0)
    with pytest.raises(video_opd.UserError, match="answers = 0"):
        video_opd.score(model, manifest, videos, out, answers=0)
    assert not out.exists()


def test_an_evaluation_is_the_commands(model, world, tmp_path, capsys):
    manifest, videos, out = world / "test.jsonl", world / "videos", tmp_path / "predictions.jsonl"
    evaluation = video_opd.evaluate(model, manifest, videos, out=out)
    other = tmp_path / "other.jsonl"
    words = ["evaluate", "tiny-teacher", str(manifest), "--videos", str(videos), "--out", str(other), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == evaluation.scores.to_dict()
    assert out.read_bytes() == other.read_bytes()
    assert video_opd.metrics(out, manifest).to_dict() == evaluation.scores.to_dict()
    with pytest.raises(video_opd.UserError, match="is there already"):
        video_opd.evaluate(model, manifest, videos, out=out)


def test_metrics_by_another_rule(world, tmp_path):
    manifest, out = world / "test.jsonl", tmp_path / "p.jsonl"
    out.write_text("".join(json.dumps({"id": e.id, "answer": "1 - 5 s"}) + "\n" for e in read_manifest(manifest)))
    assert video_opd.metrics(out, manifest, scorer="timelens").flat()
    with pytest.raises(video_opd.UserError, match="Perhaps timelens is meant"):
        video_opd.metrics(out, manifest, scorer="timelense")


@pytest.mark.slow
def test_scores_are_those_of_the_command_and_can_be_chosen_from(model, world, tmp_path, capsys):
    manifest, videos, out = world / "train.jsonl", world / "videos", tmp_path / "new folder" / "teacher.jsonl"
    scores = video_opd.score(model, manifest, videos, out, answers=2)
    assert len(scores.rows) == 12
    before = out.read_bytes()
    words = ["score", "tiny-teacher", str(manifest), "--videos", str(videos), "--answers", "2", "--out", str(out)]
    assert main([*words, "--batch-size", "1"]) == 0
    assert out.read_bytes() == before, "the command goes on with it, and there is nothing left to do"
    with pytest.raises(video_opd.UserError, match="holds other scores already"):
        video_opd.score(model, manifest, videos, out, answers=3)

    by_file = video_opd.select(out, None, strategy="random", count=3, threshold=0.5)
    by_iou = video_opd.select(scores.mean_iou(), None, strategy="random", count=3, threshold=0.5)
    assert by_file.ids == by_iou.ids
    assert len(by_file.ids) == 3
    with pytest.raises(video_opd.UserError, match="Give two files, or two mappings"):
        video_opd.select(out, {"a": 0.1}, strategy="top-k", count=1)


def test_selecting_needs_no_files():
    teacher, student = {"a": 0.9, "b": 0.8, "c": 0.2}, {"a": 0.8, "b": 0.1, "c": 0.1}
    assert video_opd.select(teacher, student, strategy="top-k", count=1).ids == ("b",)


@pytest.mark.slow
def test_a_recipe_is_trained_by_path_and_by_object(recipe_file, tmp_path):
    one = video_opd.train(recipe_file, out=tmp_path / "one", training={"steps": 1}, seed=3)
    recipe = load_recipe(recipe_file)
    other = video_opd.train(recipe, tmp_path / "other", training={"steps": 1}, seed=3)
    assert (one.steps, other.steps) == (1, 1)
    assert one.scores == other.scores
    assert one.scores.keys() == {"student_before", "student_after"}
    assert one.folder == tmp_path / "one"
    assert (one.folder / "report.html").exists()
    assert load_recipe(one.folder / "recipe.toml") == load_recipe(other.folder / "recipe.toml")
    assert video_opd.load(one.folder, device="cpu").name == str(one.folder)


def test_a_recipe_can_be_named_and_a_wrong_key_is_refused(recipe_file, tmp_path):
    for recipe in ("tiny-opd", recipe_file, load_recipe(recipe_file)):
        with pytest.raises(video_opd.UserError, match="stepps"):
            video_opd.train(recipe, out=tmp_path / "run", training={"stepps": 1})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [None, object(), {1, 2}])
def test_a_value_that_no_recipe_holds_is_refused(value, tmp_path):
    with pytest.raises(video_opd.UserError, match=r"training\.steps = .*a recipe holds texts, numbers"):
        video_opd.train("tiny-opd", out=tmp_path / "run", training={"steps": value})


def test_numbers_of_numpy_are_numbers():
    numpy = pytest.importorskip("numpy")
    from video_opd.train.from_recipe import _apply_overrides, as_overrides

    given = {"training": {"steps": numpy.int64(3), "learning_rate": numpy.float32(0.5)}, "data": {"videos": Path("v")}}
    recipe = _apply_overrides("tiny-opd", as_overrides(given))
    assert (recipe.training.steps, recipe.training.learning_rate) == (3, 0.5)
    assert str(recipe.data.videos) == "v"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda file: video_opd.train("tiny-opd", out=file), "this is a file, and a run needs a folder"),
        (lambda file: video_opd.train(None), "recipe = None: this is not a path or a name"),
        (lambda file: video_opd.load(""), "name = '': this is not a path or a name"),
        (lambda file: video_opd.load(None), "name = None: this is not a path or a name"),
        (lambda file: video_opd.metrics(file, file, scorer=3), "scorer = 3: this is not a name, and not a scorer"),
        (lambda file: video_opd.parse_answer(None), "answer None: this is NoneType, not a text"),
    ],
)
def test_an_argument_of_another_type_is_refused_in_one_sentence(tmp_path, call, sentence):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(video_opd.UserError) as refused:
        call(file)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_disk_that_fills_while_training_is_one_sentence(recipe_file, tmp_path, monkeypatch):
    """As on the command line: what the operating system said is the cause of the error."""
    few = {"training": {"steps": 1}, "method": {"name": "sft"}, "data": {"workers": 0}}
    name = "validation-000001.json"
    with disk_full_at(name, monkeypatch), pytest.raises(video_opd.UserError, match="No space left on device") as failed:
        video_opd.train(recipe_file, out=tmp_path / "run", **few)
    assert isinstance(failed.value.__cause__, OSError)
    assert str(failed.value).startswith(f"{tmp_path / 'run' / 'evaluation' / name} could not be written or read: ")
    assert video_opd.train(recipe_file, out=tmp_path / "run", **few).steps == 1


def test_a_disk_that_fills_while_answers_are_written_is_one_sentence(model, world, tmp_path, monkeypatch):
    manifest, videos = world / "test.jsonl", world / "videos"
    calls = {
        "predictions.jsonl": lambda: video_opd.evaluate(model, manifest, videos, out=tmp_path / "predictions.jsonl"),
        "scores.jsonl": lambda: video_opd.score(model, manifest, videos, tmp_path / "scores.jsonl", answers=1),
    }
    for name, call in calls.items():
        with disk_full_at(name, monkeypatch), pytest.raises(video_opd.UserError, match="No space left") as failed:
            call()
        assert isinstance(failed.value.__cause__, OSError)
        assert str(tmp_path / name) in str(failed.value)


def test_a_folder_that_cannot_be_made_is_told_before_the_work(world, tmp_path):
    """The model is not even loaded: its name leads nowhere."""
    (tmp_path / "file").write_text("mine")
    manifest, videos, out = world / "test.jsonl", world / "videos", tmp_path / "file" / "out.jsonl"
    for call in (video_opd.evaluate, video_opd.score):
        with pytest.raises(video_opd.UserError, match=r"out\.jsonl cannot be written: ") as failed:
            call("tiny-teacher" if call is video_opd.score else "no/model", manifest, videos, out=out)
        assert isinstance(failed.value.__cause__, OSError)


@contextlib.contextmanager
def disk_full_at(name: str, monkeypatch: pytest.MonkeyPatch):
    """The disk takes no byte of files of that name."""

    def full(file: object) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else str(file)) == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        for call, place in (("replace", 1), ("fsync", 0)):
            real = getattr(os, call)

            def run(*arguments: object, real=real, place=place) -> object:
                full(arguments[place])
                return real(*arguments)

            patch.setattr(os, call, run)
        yield
