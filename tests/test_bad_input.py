"""A user's mistake gets one sentence with cause, reason and remedy, exit status 2, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from safetensors.torch import load_file, save_file

import video_opd
from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.data.video.video_io import write_video
from video_opd.errors import ConfigurationError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def clip(world) -> Path:
    return world / "videos" / read_manifest(world / "test.jsonl")[0].video


# Videos


def grey_video(path: Path, num_frames: int) -> None:
    write_video(path, np.full((num_frames, 64, 64, 3), 90, dtype=np.uint8), fps=2)


def truncated(path: Path, clip: Path) -> None:
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])


def without_frames(path: Path, clip: Path) -> None:
    import av

    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, clip: None, "No such file"),
        (lambda path, clip: path.mkdir(), "not a regular file"),
        (lambda path, clip: path.write_bytes(b""), "the file is empty"),
        (lambda path, clip: path.write_bytes(b"no video at all, " * 1000), "a text that begins with"),
        (truncated, "truncated or corrupt"),
        (without_frames, "no frames"),
        (lambda path, clip: grey_video(path, 1), "has 1 frame"),
    ],
    ids=["missing", "folder", "empty", "text", "truncated", "zero-frames", "too-short"],
)
def test_ground_refuses_a_video_before_it_loads_a_model(refused, make, message, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("video_opd.policy.load.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    video = tmp_path / "clip.mp4"
    make(video, clip)
    assert re.search(message, refused("ground", "tiny-teacher", video, "the red circle", "--json"))


def test_ground_refuses_a_corrupt_video(refused, models, shared_data):
    assert "corrupt" in refused("ground", models["student"], shared_data / "video" / "corrupted.mp4", "a person")


def test_ground_refuses_an_empty_query(refused, clip):
    assert "the query is empty" in refused("ground", "tiny-teacher", clip, " ")


def test_ground_refuses_what_the_budget_cannot_hold(refused, models, clip):
    assert "frames share max_tokens = 3" in refused("ground", models["student"], clip, "x", "--max-tokens", 3)
    assert "no built-in template" in refused("ground", models["student"], clip, "x", "--template", "nope")
    assert "device 'abacus'" in refused("ground", models["student"], clip, "x", "--device", "abacus")


# Manifests

ROW = {"id": "a", "video": "a.mp4", "query": "q", "spans": [[1.0, 2.0]], "duration": 10.0}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no rows"),
        (["{"], "line 1: .*JSON"),
        ([json.dumps(ROW), "[1]"], "line 2: "),
        ([json.dumps(ROW | {"start": 1})], "line 1 .*unknown key `start`"),
        ([json.dumps(ROW | {"spans": [[3.0, 2.0]]})], "before it starts"),
        ([json.dumps(ROW).replace("2.0", "NaN")], "NaN is not a number"),
        ([json.dumps(ROW | {"video": "../a.mp4"})], r"climbs with '\.\.'"),
        ([json.dumps(ROW | {"video": "/etc/passwd"})], "absolute"),
        ([json.dumps(ROW), json.dumps(ROW)], "line 2 .*already that of line 1"),
    ],
    ids=["empty", "json", "list", "unknown-key", "reversed", "nan", "leaves", "absolute", "duplicate"],
)
def test_a_bad_manifest_is_refused_everywhere(refused, lines, message, recipe_file, tmp_path, capsys):
    manifest, out = tmp_path / "bad.jsonl", tmp_path / "predictions.jsonl"
    manifest.write_text("".join(f"{line}\n" for line in lines))
    out.write_text("earlier results")
    evaluate = ("evaluate", "tiny-teacher", manifest, "--videos", tmp_path, "--out", out)
    train = ("train", recipe_file, "--data.train", manifest, "--out", tmp_path / "run")
    for command in (evaluate, train):
        assert re.search(message, refused(*command))
    assert out.read_text() == "earlier results"
    assert not (tmp_path / "run").exists()

    assert main(["data", "check", str(manifest)]) == 2
    captured = capsys.readouterr()
    assert "error: " in captured.out
    assert "Traceback" not in captured.err


def test_a_manifest_that_is_not_there(refused, tmp_path):
    assert "No such file" in refused("data", "check", tmp_path / "none.jsonl")
    assert "Is a directory" in refused("data", "check", tmp_path)


def test_a_videos_folder_that_is_not_there_is_told_once(refused, world, recipe_file, tmp_path):
    nowhere, out = tmp_path / "nowhere", tmp_path / "run"
    arguments = ("--videos", nowhere, "--out", tmp_path / "p.jsonl")
    assert "no such folder" in refused("evaluate", "tiny-teacher", world / "test.jsonl", *arguments)
    assert "no such folder" in refused("train", recipe_file, "--data.videos", nowhere, "--out", out)
    assert not out.exists()


# Recipes


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--training.learnin-rate=1", r"unknown key training\.learnin_rate.*Perhaps training\.learning_rate"),
        ("--training.steps=many", r"training\.steps = 'many': input should be a valid integer"),
        ("--prompt.user={video} When?", r"\{query\} 0 times"),
        ("--prompt.user={query} {query} {video}", r"\{query\} 2 times"),
        ("--prompt.template=tinny", "no built-in template"),
        ("--video.max-frames=3", "multiple of 2"),
        ("--student.model=nowhere", "'nowhere' was not found"),
        ("--teacher.model=./nowhere", "'./nowhere' was not found"),
        ("--compute.device=abacus", "device 'abacus'"),
    ],
)
@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_bad_recipe_is_refused(refused, command, override, message, recipe_file, tmp_path):
    out = ("--out", tmp_path / "run") if command == "train" else ()
    assert re.search(message, refused(command, recipe_file, override, *out))


@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_file_that_is_no_recipe_is_refused(refused, command, tmp_path):
    assert "No such file" in refused(command, tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = tiny\n")
    assert "is not TOML" in refused(command, broken)
    assert "is a folder: a recipe is expected" in " ".join(refused(command, tmp_path).split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("demo --steps 0", "'0' is not a whole number of at least 1"),
        ("demo --steps 1.5", "'1.5' is not a whole number"),
        ("demo --seed x", "--seed: invalid int value: 'x'"),
        ("train r.toml --training.steps", "it has no value"),
        ("report runs --training.steps 5", "this command has no recipe"),
        ("tiny-world build --wrong-share 2", "'2' is not a number from 0 to 1"),
        ("ground m v q --fps nan", "'nan' is not a number above 0"),
        ("train", "required: recipe"),
        ("dance", "invalid choice: 'dance'"),
        ("data", "required: COMMAND"),
        ("report runs --jsn", "unrecognized arguments: --jsn"),
    ],
)
def test_a_command_line_that_makes_no_sense(refused, arguments, message):
    assert message in refused(*arguments.split())


# Models


@pytest.fixture
def model(models, tmp_path) -> Path:
    """A model folder of one's own to break."""
    return Path(shutil.copytree(models["student"], tmp_path / "model"))


def emptied(model: Path) -> None:
    for file in model.iterdir():
        file.unlink()


def pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def cut_short(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20_000])


def without(name: str) -> Callable[[Path], None]:
    return lambda model: (model / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], None]:
    return lambda model: (model / name).write_text(text)


def one_layer_more(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    (model / "config.json").write_text(json.dumps(config))


def of_another_size(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["intermediate_size"] *= 2
    (model / "config.json").write_text(json.dumps(config))


def for_text_only(model: Path) -> None:
    for name in ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json"):
        (model / name).unlink(missing_ok=True)
    (model / "config.json").write_text('{"model_type": "llama", "vocab_size": 384, "hidden_size": 32}')


def with_fewer_rows_than_tokens(model: Path) -> None:
    weights, config = load_file(model / "model.safetensors"), json.loads((model / "config.json").read_text())
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        if name in weights:
            weights[name] = weights[name][:300].clone()
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    config["text_config"]["vocab_size"] = 300
    (model / "config.json").write_text(json.dumps(config))


BROKEN_MODELS = {
    "empty": (emptied, r"no \*\.safetensors"),
    "no-weights": (without("model.safetensors"), r"no \*\.safetensors"),
    "bin-only": (pickled, r"\*\.bin files can run code"),
    "cut-short": (cut_short, "weights cannot be loaded: SafetensorError"),
    "no-config": (without("config.json"), r"no config \(config\.json\)"),
    "empty-config": (with_text("config.json", ""), "config cannot be loaded"),
    "odd-config": (with_text("config.json", '{"model_type": "abacus"}'), "config cannot be loaded"),
    "no-tokenizer": (without("tokenizer.json"), "no tokenizer"),
    "broken-tokenizer": (with_text("tokenizer.json", "{"), "tokenizer or processor cannot be loaded"),
    "no-template": (without("chat_template.jinja"), "no chat template"),
    "missing-weights": (one_layer_more, "do not fill 11 of"),
    "other-size": (of_another_size, "do not fill 6 of"),
    "text-only": (for_text_only, "no processor"),
    "other-tokenizer": (with_fewer_rows_than_tokens, "tokens, the model 300"),
    "broken-grounding": (with_text("grounding.json", "{"), "grounding.json"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN_MODELS.values(), ids=BROKEN_MODELS)
def test_a_broken_model_is_refused(refused, spoil, message, model, clip):
    spoil(model)
    assert re.search(message, refused("ground", model, clip, "the red circle"))


def test_what_is_no_model_at_all(refused, clip):
    assert "is a file" in refused("ground", clip, clip, "the red circle")
    assert "neither a folder here" in refused("ground", "nowhere", clip, "the red circle")


def test_an_intact_copy_is_not_refused(model, clip):
    """Or the tests above would prove nothing."""
    assert main(["ground", str(model), str(clip), "the red circle"]) == 0


def renamed_token(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[40:42]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


def brighter(model: Path) -> None:
    for file in model.glob("*processor_config.json"):
        config = json.loads(file.read_text())
        config.get("video_processor", config)["image_mean"] = [0.1, 0.1, 0.1]
        file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(renamed_token, "different tokenizers"), (brighter, r"prepare video differently \(image_mean")],
)
@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_teacher_of_another_family_is_refused(refused, command, spoil, message, model, recipe_file, tmp_path):
    spoil(model)
    out = ("--out", tmp_path / "run") if command == "train" else ()
    assert re.search(message, refused(command, recipe_file, "--teacher.model", model, *out))


@pytest.mark.parametrize("offline", ["1", "0"])
def test_a_hub_name_without_a_network_ends_quickly(offline, clip, tmp_path, sentence):
    """Nothing listens at the endpoint: a refused connection, and the hub's own offline mode."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-m", "video_opd.cli", "ground", "Qwen/Qwen3-VL-8B-Instruct", str(clip), "the red circle"],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": offline, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence.fullmatch(done.stderr.strip()), done.stderr
    assert "could not be downloaded from the Hugging Face hub" in done.stderr


# Folders and files that are written


@pytest.mark.slow
def test_a_run_of_another_recipe_is_left_alone(refused, recipe_file, tmp_path):
    run = tmp_path / "run"
    assert main(["train", str(recipe_file), "--out", str(run), "--steps", "1"]) == 0
    before = contents(run)
    sentence = refused("train", recipe_file, "--out", run, "--steps", "1", "--training.learning-rate", "0.5")
    assert "training.learning_rate: 0.001 -> 0.5" in sentence
    after = contents(run)
    assert {name: after[name] for name in before if name != ".run.lock"} == {
        name: text for name, text in before.items() if name != ".run.lock"
    }
    assert main(["train", str(recipe_file), "--out", str(run), "--steps", "1", "--data.max-bad-share", "0.9"]) == 0


def test_a_folder_that_is_no_run_is_left_alone(refused, recipe_file, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("It was a dark and stormy night.")
    for command in (("train", recipe_file, "--out", thesis), ("demo", "--out", thesis), ("report", thesis)):
        refused(*command)
    assert contents(thesis) == {"chapter1.tex": b"It was a dark and stormy night."}


def test_a_file_in_place_of_a_folder(refused, recipe_file, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for command in (("train", recipe_file, "--out", file), ("demo", "--out", file), ("report", file)):
        refused(*command)
    refused("tiny-world", "build", "--out", file, "--train", 2)
    refused("train", recipe_file, "--out", file / "run")
    assert file.read_text() == "mine"


def test_predictions_that_cannot_be_written_are_told_before_the_work(refused, world, tmp_path, monkeypatch):
    monkeypatch.setattr("video_opd.policy.load.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file" / "predictions.jsonl"):
        command = ("evaluate", "tiny-teacher", world / "test.jsonl", "--videos", world / "videos", "--out", out)
        assert "cannot be written" in refused(*command)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission(refused, recipe_file, world, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    evaluate = ("evaluate", "tiny-teacher", world / "test.jsonl", "--videos", world / "videos")
    assert "ermission denied" in refused(*evaluate, "--out", locked / "p.jsonl")
    assert "ermission denied" in refused("train", recipe_file, "--out", locked / "run")


def test_names_that_no_file_can_have(refused, recipe_file, clip, world):
    long = "x" * 300
    evaluate = ("evaluate", long, world / "test.jsonl", "--videos", world / "videos", "--out", "p.jsonl")
    for command in (
        ("ground", long, clip, "the disc appears"), evaluate, ("train", long), ("report", long),
        ("train", recipe_file, "--out", long),
        ("data", "check", long), ("metrics", long, "--ground-truth", world / "test.jsonl"),
    ):  # fmt: skip
        refused(*command)
    refused("train", recipe_file, "--student.model", long)
    assert "does not exist" in refused("train", "tiny-opd", "--out", "run", "--data.videos", long)
    with pytest.raises(ConfigurationError, match="was not found"):
        video_opd.load(long)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "line 1 is not a prediction"),
        ("[]", "0 predictions: none of them"),
        ("[7]", "entry 1 is not a prediction: it is a int"),
        ('{"answer": "1 - 2"}', '"id"'),
        ('{"id": "a", "answer": "1 - 2"}\n{"id": "a", "answer": "1 - 2"}', "line 2 .*on line 1 already"),
        ('{"id": "a", "spans": [[1, NaN]]}', "line 1 .*NaN is not a number"),
        ('{"id": "a", "answer": "1 - 2", "id": "b"}', "line 1 .*the key `id` is there twice"),
        ('{"id": "a", "answer": "1 - 2"}\n' + "[" * 100_000, "line 2 .*the nesting too deep"),
    ],
)
def test_broken_predictions(refused, text, message, world, tmp_path):
    predictions = tmp_path / "predictions.jsonl"
    if text is not None:
        predictions.write_text(text)
    assert re.search(message, refused("metrics", predictions, "--ground-truth", world / "test.jsonl"))


# Bad clips met on the way


@pytest.fixture
def damaged_world(world, tmp_path) -> Path:
    """The world with one training clip of six cut short: two of twelve training queries ask about it."""
    copy = Path(shutil.copytree(world, tmp_path / "world"))
    clip = copy / "videos" / read_manifest(copy / "train.jsonl")[0].video
    truncated(clip, world / "videos" / clip.name)
    return copy


@pytest.fixture
def damaged_recipe(recipe_file, damaged_world) -> Path:
    tables = tomllib.loads(recipe_file.read_text())
    tables["data"] |= {"videos": str(damaged_world / "videos"), "max_bad_share": 0.2}
    tables["training"]["steps"] = 3  # of four prompts: all twelve
    recipe_file.write_text(tomli_w.dumps(tables))
    return recipe_file


@pytest.mark.slow
def test_a_bad_clip_is_set_aside_counted_and_reported(damaged_recipe, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(damaged_recipe), "--out", str(run)]) == 0
    told = capsys.readouterr().err.splitlines()[-1]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["num_set_aside"] == 2
    assert sum(row["num_answers"] for row in rows) == 10
    assert told.startswith("2 examples were set aside, such as train-3-00000-")
    assert "truncated or corrupt" in told


@pytest.mark.slow
def test_too_many_bad_clips_stop_the_run_and_it_goes_on_when_they_are_mended(
    refused, damaged_recipe, damaged_world, world, tmp_path
):
    run = tmp_path / "run"
    command = ("train", damaged_recipe, "--out", run, "--data.max-bad-share", 0.1)
    sentence = refused(*command, late=True)
    assert "2 of 12 examples have no usable video, the first train-3-00000-" in sentence
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert rows, "it stopped at the second bad example, not at the first"
    assert f"step-{len(rows):06d}" in {path.name for path in (run / "checkpoints").iterdir()}

    shutil.copytree(world / "videos", damaged_world / "videos", dirs_exist_ok=True)
    assert "--accept-changed videos" in refused(*command)
    assert main([*map(str, command), "--accept-changed", "videos"]) == 0
    finished = (run / "metrics.jsonl").read_text().splitlines()
    assert finished[: len(rows)] == rows
    assert [json.loads(row)["step"] for row in finished] == [1, 2, 3]


def test_evaluate_stops_at_too_many_bad_clips_and_leaves_earlier_results(refused, models, damaged_world, tmp_path):
    out = tmp_path / "predictions.jsonl"
    earlier = '{"id": "a", "answer": "1 - 2 seconds", "spans": [[1.0, 2.0]]}\n'
    out.write_text(earlier)
    command = ("evaluate", models["student"], damaged_world / "train.jsonl", "--videos", damaged_world / "videos")
    sentence = refused(*command, "--out", out, "--batch-size", 4, late=True)
    assert "2 of 12 examples have no usable video" in sentence
    assert out.read_text() == earlier

    assert main([str(word) for word in (*command, "--out", out, "--max-bad-share", 0.5)]) == 0
    assert len(out.read_text().splitlines()) == 10


# Benchmarks


def benchmark_of(world, folder: Path) -> tuple[object, ...]:
    """A command that asks two questions about two clips."""
    clips = sorted((world / "videos").glob("test-*.mp4"))[:2]
    (folder / "videos").mkdir(parents=True)
    for clip in clips:
        shutil.copy(clip, folder / "videos")
    asked = {clip.stem: {"order": [{"question": "Is it red?", "answer": "yes"}]} for clip in clips}
    (folder / "yes_no.json").write_text(json.dumps(asked))
    return (
        "evaluate",
        "tiny-student",
        "--benchmark",
        "tempcompass",
        "--data",
        folder,
        "--out",
        folder.parent / "a.jsonl",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "."], "with a manifest or --videos: the benchmark brings its own"),
        (["--template", "tiny"], "with --template: the benchmark brings its own prompt"),
        (["--rule", "lmms-eval"], "with --rule lmms-eval: it has the rules official, strict"),
        (["--rule", "exact"], "invalid choice: 'exact'"),
        (["--rule", "strict", "--score", "options"], "a rule rates written answers"),
        (["--option-form", "text"], "options are only scored with --score options"),
        (["--subtitles"], "with --subtitles: it has none"),
        (["--kinds", "captioning"], "invalid choice: 'captioning'"),
        (["--kinds", "multi-choice"], "multi-choice.json: No such file"),
        (["--limit", "0"], "'0' is not a whole number of at least 1"),
        (["--before", "nowhere"], "model 'nowhere' was not found"),
        (["--benchmark", "mvbench"], "holds|MVBench has no task of that name"),
        (["--benchmark", "video-mme"], "the key `duration` is missing|a row must be an object"),
        (["--benchmark", "nextqa"], "invalid choice: 'nextqa'"),
        (["--benchmark", "mvbench", "--kinds", "yes_no"], "with --kinds: it has none"),
        (["--data", "nowhere"], "with --data nowhere: the folder does not exist"),
    ],
)
def test_what_does_not_go_with_a_benchmark_is_told_before_a_model_is_loaded(
    refused, world, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr("video_opd.policy.load.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    monkeypatch.chdir(tmp_path)
    command = benchmark_of(world, tmp_path / "data")
    assert re.search(message, refused(*command, *arguments))
    assert "with a manifest or --videos" in refused(*command[:2], "manifest.jsonl", *command[2:])
    assert not (tmp_path / "data" / "a.jsonl").exists()


def test_evaluate_wants_a_manifest_or_a_benchmark(refused, tmp_path):
    out = ("--out", tmp_path / "a.jsonl")
    assert "without MANIFEST: there are no questions for the model" in refused("evaluate", "tiny-student", *out)
    assert "without --videos: there" in refused("evaluate", "tiny-student", "m.jsonl", *out)
    assert "with no --data" in refused("evaluate", "tiny-student", "--benchmark", "mvbench", *out)
    for option in ("--data .", "--before x", "--rule strict", "--score options", "--option-form text",
                   "--kinds yes_no", "--subtitles"):  # fmt: skip
        sentence = refused("evaluate", "tiny-student", "m.jsonl", "--videos", ".", *out, *option.split())
        assert f"{option.split()[0]} without --benchmark" in sentence
    manifest = ("evaluate", "tiny-student", "m.jsonl", "--videos", ".", *out)
    assert "--limit with a manifest" in refused(*manifest, "--limit", 3)
    with_lmms_eval = ("evaluate", "tiny-student", "--with", "lmms-eval", "--tasks", "a", *out)
    assert "--data without --benchmark" in refused(*with_lmms_eval, "--data", ".")
    assert "--benchmark with lmms-eval" in refused(*with_lmms_eval, "--benchmark", "mvbench")
    assert "unrecognized arguments: n.jsonl" in refused(*manifest, "n.jsonl")


def test_a_benchmark_without_its_videos_is_told_before_a_model_is_loaded(refused, world, tmp_path, monkeypatch):
    monkeypatch.setattr("video_opd.policy.load.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    command = benchmark_of(world, tmp_path / "data")
    lost = min((tmp_path / "data" / "videos").iterdir())
    lost.unlink()
    sentence = refused(*command)
    assert f"1 of 2 questions have no video, the first yes_no/{lost.stem}/order/0: {lost}" in sentence
    assert "more than --max-bad-share 0.05" in sentence


def test_a_benchmark_stops_at_too_many_broken_videos_and_leaves_earlier_results(refused, world, tmp_path, capsys):
    command = benchmark_of(world, tmp_path / "data")
    min((tmp_path / "data" / "videos").iterdir()).write_bytes(b"broken")
    earlier = '{"id": "a", "video": "a.mp4", "categories": {}, "right": "A", "text": "A"}\n'
    command[-1].write_text(earlier)
    sentence = refused(*command, late=True)
    assert "1 of 2 examples have no usable video" in sentence
    assert "more than --max-bad-share 0.05" in sentence
    assert "manifest" not in sentence
    assert command[-1].read_text() == earlier
    assert main([str(word) for word in (*command, "--max-bad-share", 0.5, "--max-new-tokens", 2)]) == 0
    assert "a text that begins with" in capsys.readouterr().err
    assert len(command[-1].read_text().splitlines()) == 2


# Scores and selections


@pytest.fixture(scope="module")
def scores(models, world, tmp_path_factory) -> Path:
    """The random student's scores of the test manifest, whole and in two shards."""
    folder = tmp_path_factory.mktemp("scores")
    common = [
        "score",
        models["student"],
        str(world / "test.jsonl"),
        "--videos",
        str(world / "videos"),
        "--answers",
        "2",
    ]
    for name, more in (("whole", []), ("shard-0", ["--shard", "0/2"]), ("shard-1", ["--shard", "1/2"])):
        assert main([*common, "--out", str(folder / f"{name}.jsonl"), *more]) == 0
    return folder


@pytest.fixture
def asked(models, world, tmp_path) -> tuple:
    """A scoring that would go well, to be spoiled."""
    return (
        "score", models["student"], world / "test.jsonl", "--videos", world / "videos", "--answers", 2,
        "--out", tmp_path / "new.jsonl",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--answers 0", "'0' is not a whole number of at least 1"),
        ("--shard 2/2", "'2/2' is not a shard: write I/N"),
        ("--shard 1", "'1' is not a shard"),
        ("--shard 7/8", "the manifest has fewer examples"),
        ("--top-k best", "invalid choice: 'best'"),
        ("--skip-below 1.5", "'1.5' is not a number from 0 to 1"),
        ("--videos nowhere", "no such folder"),
        ("--teacher nowhere", "'nowhere'"),
        ("--teacher tiny-teacher --answers 1", "the distance to a teacher is measured along sampled answers"),
        ("--pilot 0", "'0' is not a whole number of at least 1"),
        ("--out {tmp}", "cannot be written"),
        ("--device abacus", "device 'abacus'"),
        ("--max-tokens 3", "frames share max_tokens = 3"),
    ],
)
def test_a_scoring_that_cannot_be_done_is_refused(refused, asked, words, message, tmp_path):
    late = "frames" in message
    assert message in refused(*asked, *words.replace("{tmp}", str(tmp_path)).split(), late=late)


def test_other_scores_are_not_gone_on_with_nor_overwritten(refused, scores, asked, models, world, tmp_path):
    out = Path(shutil.copy(scores / "whole.jsonl", tmp_path))
    before = out.read_bytes()
    for words, message in (
        (("--answers", 3), r"settings \(num_answers: 2 and 3\) differ"),
        (("--seed", 1), r"settings \(seed: 0 and 1\) differ"),
        (("--max-new-tokens", 4), r"settings \(max_new_tokens: 8 and 4\) differ"),
        (("--template", "plain"), r"settings \(user: .*\) differ|no built-in template"),
        (("--shard", "0/2"), "their shards differ"),
        (("--race",), r"settings \(race: None and "),
    ):
        assert re.search(message, refused(*asked, "--out", out, *words)), words
    other_model = refused("score", models["teacher"], *asked[2:], "--out", out)
    assert "their model differ" in other_model
    other_manifest = refused("score", models["student"], world / "validation.jsonl", *asked[3:], "--out", out)
    assert "their manifest differ" in other_manifest
    assert out.read_bytes() == before


@pytest.mark.parametrize("text", ["my thesis\n", '{"id": "a", "answer": "1 - 2 seconds"}\n', "{}"])
def test_a_file_of_something_else_is_not_overwritten_by_scores(refused, asked, text, tmp_path):
    out = tmp_path / "mine.jsonl"
    out.write_text(text)
    assert "is not a file of scores" in refused(*asked, "--out", out)
    assert out.read_text() == text


def test_a_scoring_killed_while_it_wrote_its_first_line_goes_on(asked, scores, tmp_path):
    out = tmp_path / "new.jsonl"
    whole = (scores / "whole.jsonl").read_bytes().splitlines(keepends=True)
    for text in (b"", whole[0][:40], whole[0][:-1], whole[0]):
        out.write_bytes(text)
        assert main([str(word) for word in asked]) == 0
        assert len(out.read_bytes().splitlines()) == len(whole)


@pytest.mark.parametrize("command", ["merge-scores", "select"])
def test_scores_that_do_not_go_together_are_refused(refused, command, scores, tmp_path):
    def given(*names: str) -> str:
        files = [scores / f"{name}.jsonl" if name[0] != "/" else name for name in names]
        if command == "merge-scores":
            return refused(command, *files, "--out", tmp_path / "out")
        return refused(command, "--student", *files, "--strategy", "difficulty", "--threshold", 0, "--count", 1,
                       "--out", tmp_path / "out")  # fmt: skip

    assert "shards 0 of 2" in given("shard-0")
    assert "is given twice" in given("shard-0", "shard-0")
    again = shutil.copy(scores / "shard-0.jsonl", tmp_path / "again.jsonl")
    assert "shards 0, 0 of 2" in given("shard-0", str(again))
    assert "scores of different models, manifests or settings: their shards differ" in given("shard-0", "whole")
    assert "no such file" in given("none")
    half = tmp_path / "half.jsonl"
    half.write_text("".join((scores / "whole.jsonl").read_text().splitlines(keepends=True)[:3]))
    assert "half.jsonl has 2 of 4 examples" in given(str(half))
    half.write_text("no scores\n")
    assert "is not a file of scores" in given(str(half))
    half.write_text('{"scores": {"format": 1}}\n')
    assert "is not a file of scores" in given(str(half))
    broken = re.sub(r'"iou": [0-9.]+', '"iou": NaN', (scores / "whole.jsonl").read_text())
    half.write_text(broken)
    assert "cannot be used" in given(str(half))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--count 1", "it needs the teacher's scores"),
        ("--count 1 --threshold 0", "no scores: there is nothing to select from"),
        ("--count 1 --strategy top-k --teacher {whole}", "it needs the student's scores"),
        ("--count 1 --strategy top-k --threshold 0 --student {whole}", "it needs the teacher's scores"),
        ("--count 0 --threshold 0 --teacher {whole}", "--count: '0' is not a whole number of at least 1"),
        ("--count 5 --threshold 0 --teacher {whole}", "count = 5, and 4 of 4 examples are left"),
        ("--count 1 --threshold 1 --teacher {whole}", "and 0 of 4 examples are left at threshold 1"),
        ("--count x --teacher {whole}", "--count: 'x' is not a whole number of at least 1"),
        ("--teacher {whole}", "required: --count"),
        ("--count 1 --strategy best --teacher {whole}", "invalid choice: 'best'"),
        ("--count 1 --threshold 2 --teacher {whole}", "'2' is not a number from 0 to 1"),
        ("--count 1 --std 0 --teacher {whole}", "'0' is not a number above 0"),
        (
            "--count 1 --strategy top-k --threshold 0 --disagreement reverse-kl --student {whole}",
            "the student's scores hold no reverse KL",
        ),
        ("--count 1 --threshold 0 --teacher {whole} --out {tmp}", "cannot be written"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(refused, words, message, scores, tmp_path):
    words = words.format(whole=scores / "whole.jsonl", tmp=tmp_path).split()
    assert message in refused("select", "--out", tmp_path / "selection.jsonl", *words)
    assert not (tmp_path / "selection.jsonl").exists()


def test_scores_of_two_manifests_are_not_held_against_one_another(refused, scores, models, world, tmp_path):
    other = tmp_path / "other.jsonl"
    command = ["score", models["student"], str(world / "validation.jsonl"), "--videos", str(world / "videos")]
    assert main([*command, "--answers", "2", "--out", str(other)]) == 0
    words = ("--teacher", scores / "whole.jsonl", "--student", other, "--strategy", "top-k", "--count", 1)
    assert "scores of different manifests" in refused("select", *words, "--threshold", 0, "--out", tmp_path / "s")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("name=nope", "curriculum.name = 'nope'|nope"),
        ("name=rounds", r"curriculum\.count"),
        ("name=rounds count=0", r"curriculum\.count = 0"),
        ("name=rounds count=13 num_rounds=2", "curriculum.count = 13, and the training manifest has 12 examples"),
        ("name=rounds count=4 threshold=1.5", r"curriculum\.threshold = 1\.5"),
        ("name=rounds count=4 threshold=0", "random without a threshold is the whole pool"),
        ("name=rounds count=4 num_rounds=3", r"training\.steps = 2 for curriculum\.num_rounds = 3"),
        ("name=rounds count=4 strategy=best", r"curriculum\.strategy = 'best'"),
        ("name=rounds count=4 reliability=agreement num_answers=1", "needs curriculum.num_answers of at least 2"),
        ("name=tvdf count=4 disagreement=reverse-kl num_answers=1", "is measured along sampled answers"),
        ("name=tvdf count=4 disagreement=reverse-kl reuse_answers=true", "reuse_answers gives only IoUs"),
        ("name=rounds count=4 threshold=0 strategy=dsus race=true", "curriculum.race needs a threshold"),
        ("name=rounds count=4 num_rounds=2 teacher_scores={tmp}/none.jsonl", "no such file"),
        ("name=rounds count=4 num_rounds=2 teacher_scores={half}", "has 2 of 4 examples"),
        ("name=scc num_anchors=6 num_frontier=7", "num_anchors and num_frontier = 13, and the training manifest has"),
        ("name=scc num_anchors=0 num_frontier=0", "nothing would be trained on"),
        ("name=scc anchor_threshold=0.3 frontier_threshold=0.7", r"frontier_threshold = 0\.7 is above"),
        ("name=whole-pool suspend_at=-1", r"curriculum\.suspend_at = -1"),
        ("name=whole-pool count=4", "curriculum.count: this curriculum has no such setting"),
        ("name=selection", r"curriculum\.file"),
        ("name=selection file={tmp}/none.jsonl", "no such file"),
        ("name=selection file={tmp}", "no such file"),
        ("name=selection file={half}", "line 1 is not a line of a selection"),
        ("name=selection file={stranger}", "1 of its examples are not in the manifest, such as 'x'"),
        ("name=selection file={nothing}", "it has no chosen example"),
    ],
)
def test_a_curriculum_that_cannot_be_followed_is_refused(refused, words, message, scores, recipe_file, tmp_path):
    files = {name: tmp_path / f"{name}.jsonl" for name in ("half", "stranger", "nothing")}
    files["half"].write_text("".join((scores / "whole.jsonl").read_text().splitlines(keepends=True)[:3]))
    files["stranger"].write_text('{"id": "x", "kept": true}\n')
    files["nothing"].write_text("")
    flags = [f"--curriculum.{word}" for word in words.format(tmp=tmp_path, **files).split()]
    assert re.search(message, refused("train", recipe_file, "--out", tmp_path / "run", *flags))
    assert not (tmp_path / "run").exists()


def test_suspending_needs_answers_of_the_students_own(refused, recipe_file, tmp_path):
    flags = ("--method.name=sft", "--curriculum.suspend-at=0.5")
    assert "uses the student's own answers" in refused("train", recipe_file, "--out", tmp_path / "run", *flags)


@pytest.mark.slow
def test_a_teacher_who_is_never_right_leaves_nothing_to_train_on_and_the_run_can_be_mended(
    refused, recipe_file, tmp_path
):
    command = (
        "train", recipe_file, "--out", tmp_path / "run", "--curriculum.name=rounds", "--curriculum.count=4",
        "--curriculum.num-rounds=1", "--curriculum.num-answers=2", f"--curriculum.cache={tmp_path / 'scores'}",
    )  # fmt: skip
    sentence = refused(*command, late=True)
    assert "count = 4, and 0 of 12 examples are left at threshold 0.7" in sentence
    assert sentence == refused(*command, late=True)


@pytest.mark.slow
def test_a_selection_that_changed_under_a_run_is_refused(refused, recipe_file, world, tmp_path):
    ids = [example.id for example in read_manifest(world / "train.jsonl")]
    file = tmp_path / "selection.jsonl"
    file.write_text("".join(json.dumps({"id": id, "kept": True}) + "\n" for id in ids[:4]))
    command = (
        "train", recipe_file, "--out", tmp_path / "run", "--curriculum.name=selection", f"--curriculum.file={file}"
    )  # fmt: skip
    assert main([str(word) for word in command]) == 0
    file.write_text("".join(json.dumps({"id": id, "kept": True}) + "\n" for id in ids[:5]))
    sentence = refused(*command)
    assert "have changed" in sentence
    assert "--accept-changed selection" in sentence
