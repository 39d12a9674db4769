"""A comparison from beginning to end with random models: who did how much, nothing done twice, nothing mixed up."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.compare import compare, comparison_runs
from video_opd.compare.compared_run import Run
from video_opd.compare.comparison_runs import ComparisonRuns
from video_opd.compare.results import read_results
from video_opd.compare.sentences import write_sentences
from video_opd.config.comparison_recipe import load_comparison, make_recipe
from video_opd.config.recipe_file import overlay
from video_opd.data.video import decoding_workers
from video_opd.errors import ConfigurationError, DataError, EngineError

TEXT = """
name = "small"
recipe = "recipe.toml"
seeds = [0, 1]
learning_rates = [1e-3, 3e-3]
target_miou = 0.9

[shared.schedule]
evaluate_every = 1

[methods.opd.method]
name = "opd"
[methods.grpo.method]
name = "grpo"
num_answers = 3
[methods.sft.method]
name = "sft"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, models, world) -> Path:
    """A folder with the recipe, the comparison, and everything it made in `out/`."""
    folder = tmp_path_factory.mktemp("comparison")
    recipe = {
        "student": models["student"], "teacher": models["teacher"], "videos": world / "videos",
        **{split: world / f"{split}.jsonl" for split in ("train", "validation", "test")},
    }  # fmt: skip
    (folder / "recipe.toml").write_text(RECIPE.format(**recipe))
    (folder / "compare.toml").write_text(TEXT)
    assert main(["compare", str(folder / "compare.toml"), "--out", str(folder / "out")]) == 0
    return folder


RECIPE = """
name = "base"
[student]
model = "{student}"
[teacher]
model = "{teacher}"
[data]
videos = "{videos}"
train = "{train}"
validation = "{validation}"
test = "{test}"
workers = 0
[prompt]
template = "tiny"
[video]
max_frames = 64
max_tokens = 64
max_frame_tokens = 1
[answers]
max_new_tokens = 6
[training]
steps = 2
batch_size = 4
micro_batch_size = 2
[schedule]
probe_every = 0
[compute]
device = "cpu"
threads = 1
evaluation_batch_size = 4
"""


@pytest.fixture(scope="module")
def results(finished) -> dict:
    return json.loads((finished / "out" / "comparison.json").read_text())


def test_every_method_ran_at_every_rate_and_with_every_seed(finished, results):
    assert list(results["methods"]) == ["opd", "grpo", "sft"]
    assert len(results["sweep"]) == 6
    for name, method in results["methods"].items():
        tried = {each["learning_rate"]: each["validation_miou"] for each in results["sweep"] if each["method"] == name}
        best = max(tried.values())
        assert method["learning_rate"] == min(rate for rate, miou in tried.items() if miou == best)
        assert [run["seed"] for run in method["runs"]] == [0, 1]
        assert [point["step"] for point in method["curve"]] == [0, 1, 2]
        assert (finished / "out" / method["runs"][1]["folder"] / "report.html").exists()
    assert (finished / "out" / "report.html").exists()


ABORTS = """
import os
from video_opd.data.video import decoding_process as module
real = module.decode_video
module.decode_video = lambda sink, path, *rest: os.abort() if path.name == {!r} else real(sink, path, *rest)
module.main()
"""


def test_a_decoder_that_aborts_costs_one_clip(finished, world, tmp_path, monkeypatch):
    """Though none is decoded ahead."""
    row = json.loads((world / "test.jsonl").read_text().splitlines()[0])
    (tmp_path / "aborts.py").write_text(ABORTS.format(Path(row["video"]).name))
    monkeypatch.setattr(decoding_workers, "PROGRAM", (str(tmp_path / "aborts.py"),))
    monkeypatch.setenv("VIDEO_OPD_DECODE_HERE", "0")  # so that it is put back
    words = ["compare", str(finished / "compare.toml"), "--methods", "sft", "--seeds", "0", "--learning-rates", "1e-3",
             "--training.steps", "1", "--data.max-bad-share", "0.5"]  # fmt: skip
    for name, flags in (("in a process", []), ("here", ["--decode-here"])):
        assert main([*words, *flags, "--out", str(tmp_path / name)]) == 0
        (evaluation,) = (tmp_path / name).rglob("student-before.json")
        reasons = json.loads(evaluation.read_text())["set_aside"]
        assert (row["id"] in reasons) == (not flags)
        assert all("its decoder ended twice, with SIGABRT" in reason for reason in reasons.values())


def test_a_step_that_trained_on_no_token_made_no_update(tmp_path):
    """All suspended, all masked, or no usable video: the second updates of a batch are not counted either."""
    (tmp_path / "recipe.toml").write_text("[training]\nupdates_per_batch = 2\n")
    rows = (
        {"num_answers": 8, "num_answer_tokens": 40},
        {"num_answers": 8, "num_answer_tokens": 0, "num_answers_masked": 8},
        {"num_answers": 0, "num_prompts": 0},
        {"num_answers": 0},
    )
    more = {"seconds_by_phase": {}, "cpu_seconds_by_phase": {}}
    lines = [json.dumps({"step": step, **row, **more}) for step, row in enumerate(rows, start=1)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    ledger = Run(method="grpo", learning_rate=1e-4, seed=0, folder=tmp_path).ledger
    assert ledger["optimiser_steps"] == 2
    assert ledger["answer_tokens_learned_from"] == 40


def test_the_ledger_counts_what_was_done(results):
    """Two steps of four prompts."""
    ledgers = {name: method["ledger"] for name, method in results["methods"].items()}
    for ledger in ledgers.values():
        assert ledger["examples"] == 8
        assert ledger["optimiser_steps"] == 2
        assert ledger["work"]["student"]["prompt_passes"] == 8
        assert set(ledger["cpu_seconds_by_phase"]) == {
            "decode", "read", "answer", "teacher", "score", "backward", "step",
        }  # fmt: skip
        assert ledger["cpu_seconds_by_phase"]["decode"] > 0
    written = {name: ledger["work"]["student"]["answers_written"] for name, ledger in ledgers.items()}
    assert written == {"opd": 8, "grpo": 24, "sft": 0}
    judged = {name: ledger["work"]["teacher"]["prompt_passes"] for name, ledger in ledgers.items()}
    assert judged == {"opd": 8, "grpo": 0, "sft": 0}
    assert ledgers["opd"]["answer_tokens_learned_from"] == ledgers["opd"]["work"]["student"]["tokens_written"]


def test_all_runs_share_one_student_and_one_order_of_examples(finished):
    """The same seed shows the same examples at the same step to every method."""
    runs = finished / "out" / "runs"
    for seed in (0, 1):
        first = [
            [json.loads(line)["id"] for line in path.read_text().splitlines()]
            for path in sorted(runs.glob(f"*seed{seed}/answers.jsonl"))
        ]
        assert len(first) > 2
        assert {ids[0] for ids in first} == {first[0][0]}
    before = {path.read_text() for path in runs.glob("*/evaluation/student-before.json")}
    assert len(before) == 1


def test_scores_of_untouched_models_are_taken_over_only_for_the_same_model(finished, models, tmp_path):
    """A method with another teacher is not shown the first one's scores."""
    folder = tmp_path
    shutil.copy(finished / "recipe.toml", folder)
    text = TEXT.replace("learning_rates = [1e-3, 3e-3]", "").replace("seeds = [0, 1]", "seeds = [0]")
    text = (
        text[: text.index("[methods.grpo")]
        + f"""
[methods.itself.method]
name = "opd"
[methods.itself.teacher]
model = "{models["student"]}"
[methods.again.method]
name = "opd"
estimator = "exact"
"""
    )
    (folder / "compare.toml").write_text(text)
    recipe, tables = load_comparison(folder / "compare.toml")
    results = compare(recipe, tables, folder / "out")

    def teacher_of(name):
        run = folder / "out" / results["methods"][name]["runs"][0]["folder"]
        return json.loads((run / "evaluation" / "teacher.json").read_text())["model"]

    assert teacher_of("opd") == teacher_of("again") == models["teacher"]
    assert teacher_of("itself") == models["student"]


def test_what_is_wrong_with_the_last_method_is_known_before_the_first_is_run(finished, tmp_path, capsys):
    shutil.copy(finished / "recipe.toml", tmp_path)
    (tmp_path / "compare.toml").write_text(TEXT.replace('name = "sft"', 'name = "sft"\nanswer = "{begin}"'))
    assert main(["compare", str(tmp_path / "compare.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be filled in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_same_command_again_does_nothing_again(finished, results, capsys):
    journals = {path: path.stat().st_mtime_ns for path in finished.glob("out/runs/*/metrics.jsonl")}
    assert main(["compare", str(finished / "compare.toml"), "--out", str(finished / "out"), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == results
    assert "seed" not in printed.err
    assert {path: path.stat().st_mtime_ns for path in finished.glob("out/runs/*/metrics.jsonl")} == journals
    assert not list(finished.glob("out/runs/*/environment-2.json"))


def test_what_is_missing_is_done_and_comes_out_the_same(finished, results, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    shutil.rmtree(out / results["methods"]["opd"]["runs"][1]["folder"])
    recipe, tables = load_comparison(finished / "compare.toml")
    again = compare(recipe, tables, out)
    assert again["methods"]["opd"]["scores"] == results["methods"]["opd"]["scores"]
    assert again["methods"]["opd"]["runs"][1]["curve"][1]["miou"] == pytest.approx(
        results["methods"]["opd"]["runs"][1]["curve"][1]["miou"], abs=0
    )


def test_runs_of_an_earlier_version_are_compared_under_todays_names(finished, results, tmp_path):
    """Some of the runs are from before the metric was called output_format_rate."""
    shutil.copytree(finished / "out", tmp_path / "out")
    old = sorted((tmp_path / "out" / "runs").glob("opd*"))
    for path in [path for run in old for path in (run / "evaluation").glob("*.json")]:
        path.write_text(path.read_text().replace('"output_format_rate"', '"format_rate"'))
    recipe, tables = load_comparison(finished / "compare.toml")
    again = compare(recipe, tables, tmp_path / "out")
    assert old
    assert "format_rate" not in again["methods"]["opd"]["scores"]
    assert again["methods"]["opd"]["scores"] == results["methods"]["opd"]["scores"]
    page = (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "out" / "comparison.json").write_text(
        json.dumps(again).replace('"output_format_rate"', '"format_rate"')
    )
    assert main(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").read_text() == page


def cut_rows(run: Path) -> None:
    rows = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(rows[0])


def change_row(**keys: object):
    def spoil(run: Path) -> None:
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        rows[0] = {key: value for key, value in (rows[0] | keys).items() if value is not None}
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return spoil


def change_file(name: str, content: str | None):
    def spoil(run: Path) -> None:
        (run / name).write_text(content) if content is not None else (run / name).unlink()

    return spoil


DAMAGES = {
    "a row is missing": (cut_rows, "metrics.jsonl is damaged: it has no row of step 2"),
    "no step": (
        change_row(step=None),
        "the row of step 1: it is missing, and one of step None",
    ),
    "another step": (change_row(step=7), "one of step 7 is in its place"),
    "no times": (change_row(seconds_by_phase=None), "the row of step 1: it has no seconds_by_phase"),
    "a time that is a text": (
        change_row(cpu_seconds_by_phase={"read": "1"}),
        "its cpu_seconds_by_phase is not made",
    ),
    "a time that is a list": (change_row(seconds_by_phase=[]), "its seconds_by_phase is not made of numbers"),
    "work that is a number": (change_row(work=3), "its work is not made of numbers"),
    "prompts that are a text": (change_row(num_prompts="4"), "its num_prompts is not made of numbers"),
    "no environment": (change_file("environment.json", "[1]"), "environment.json is damaged: it names no device"),
    "an evaluation is missing": (
        change_file("evaluation/validation-000001.json", None),
        "evaluation is damaged: it has no evaluation after step 1",
    ),
    "side questions without a share": (
        change_file("evaluation/student-after.json", '{"scores": {"miou": 0.5}, "side_questions": {}}'),
        "its side_questions.accuracy has a value that no evaluation writes",
    ),
    "a score that is a text": (
        change_file("evaluation/student-after.json", '{"scores": {"miou": 0.5, "r1@0.3": "high"}}'),
        "its scores.r1@0.3 has a value",
    ),
    "a score that is not finite": (
        change_file("evaluation/validation-000002.json", '{"scores": {"miou": NaN}}'),
        "a score is not a finite number",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_file_of_a_run_is_named(case, finished, results, tmp_path):
    """By the function that puts the numbers together, for all runs are finished."""
    spoil, sentence = DAMAGES[case]
    shutil.copytree(finished / "out", tmp_path / "out", ignore=shutil.ignore_patterns("checkpoints"))
    recipe, tables = load_comparison(finished / "compare.toml")
    comparison = ComparisonRuns(recipe=recipe, tables=tables, out=tmp_path / "out")
    spoil(tmp_path / "out" / results["methods"]["grpo"]["runs"][1]["folder"])
    finals, sweep = ([run for run, _ in each] for each in (comparison.list_finals(), comparison.list_sweep()))
    with pytest.raises(DataError) as refused:
        read_results(recipe, finals, sweep)
    assert sentence in str(refused.value)
    assert "move the folder of this run away and run the same command" in str(refused.value)


def test_a_disk_that_fills_at_the_end_is_one_sentence(finished, monkeypatch):
    def full(path, _):
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error.add_note(str(path))
        raise error

    monkeypatch.setattr("video_opd.compare.comparison_runs.write_durably", full)
    recipe, tables = load_comparison(finished / "compare.toml")
    with pytest.raises(EngineError, match=r"comparison\.json could not be written or read: No space left") as failed:
        compare(recipe, tables, finished / "out")
    assert isinstance(failed.value.__cause__, OSError)


def test_a_file_of_another_name_is_no_evaluation(finished, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished / "out" / results["methods"]["sft"]["runs"][0]["folder"], folder)
    (folder / "evaluation" / "validation-before my change.json").write_text("{}")
    run = Run(method="sft", learning_rate=1e-3, seed=0, folder=folder)
    assert [point["step"] for point in run.curve] == [0, 1, 2]


def test_runs_that_saw_other_data_are_refused(finished, results, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    recipe, tables = load_comparison(finished / "compare.toml")
    marker = out / results["methods"]["sft"]["runs"][1]["folder"] / "finished.json"
    marker.write_text('{"data_sha256": "of other manifests"}')
    with pytest.raises(ConfigurationError, match="used other data: the manifests have changed since"):
        compare(recipe, tables, out)


def test_data_that_change_while_it_runs_are_noticed(finished, world, tmp_path, monkeypatch):
    """The manifest is another one when the second run begins; both runs have finished, and nothing is compared."""
    from video_opd.compare import comparison_runs as runs

    shutil.copytree(world, tmp_path / "world")
    for name in ("recipe.toml", "compare.toml"):
        (tmp_path / name).write_text((finished / name).read_text().replace(str(world), str(tmp_path / "world")))
    original, test = runs.run_recipe, tmp_path / "world" / "test.jsonl"

    def meddling(*arguments, **keywords):
        original(*arguments, **keywords)
        test.write_text("".join(test.read_text().splitlines(keepends=True)[:2]))

    monkeypatch.setattr(runs, "run_recipe", meddling)
    recipe, tables = load_comparison(tmp_path / "compare.toml", only=["sft"], learning_rates=())
    with pytest.raises(ConfigurationError, match=r"seed1 used other data"):
        compare(recipe, tables, tmp_path / "out")
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_other_data_are_noticed_before_anything_is_run(finished, tmp_path, world, capsys):
    """A manifest that changed, and one run that is missing: nothing is trained, and no old score is taken over."""
    shutil.copytree(world, tmp_path / "world")
    for name in ("recipe.toml", "compare.toml"):
        text = (finished / name).read_text().replace(str(world), str(tmp_path / "world"))
        (tmp_path / name).write_text(text)
    arguments = ["compare", str(tmp_path / "compare.toml"), "--out", str(tmp_path / "out"), "--methods", "sft",
                 "--seeds", "0", "--learning-rates"]  # fmt: skip
    assert main(arguments) == 0
    test = tmp_path / "world" / "test.jsonl"
    test.write_text("".join(test.read_text().splitlines(keepends=True)[:2]))
    capsys.readouterr()
    assert main([*arguments[:-3], "--seeds", "0", "1", "--learning-rates"]) == 2
    assert "used other data: the manifests have changed since" in capsys.readouterr().err
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1


def _spoil(run: Path, change) -> None:
    recorded = json.loads((run / "inputs.json").read_text())
    change(recorded)
    (run / "inputs.json").write_text(json.dumps(recorded))


def _forget_weights(recorded: dict) -> None:
    recorded["models"]["teacher"]["files"]["model.safetensors"] |= {"modified_ns": 1, "sha256": "0" * 64}


def _forget_video(recorded: dict) -> None:
    recorded["videos"]["bytes"][min(recorded["videos"]["bytes"])] = 1


def _accept(recorded: dict) -> None:
    recorded["changes"] = [{"accepted": ["test"], "differences": ["test: another one"], "data_sha256": "0" * 64}]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_forget_weights, r"have changed since .* \(teacher: model\.safetensors had .* would not be comparable"),
        (_forget_video, r"have changed since .* \(videos: of \d+ in .* 1 of another size"),
        (_accept, r"went on with other inputs half-way \(test: another one\)"),
    ],
)
def test_runs_with_other_models_or_videos_are_refused_before_anything_is_run(
    change, told, finished, results, tmp_path, monkeypatch
):
    from video_opd.compare import comparison_runs as runs

    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    recipe, tables = load_comparison(finished / "compare.toml")
    shutil.rmtree(out / results["methods"]["opd"]["runs"][0]["folder"])
    _spoil(out / results["methods"]["sft"]["runs"][1]["folder"], change)
    monkeypatch.setattr(runs, "run_recipe", lambda *_, **__: pytest.fail("ran something"))
    with pytest.raises(ConfigurationError, match=told) as refused:
        compare(recipe, tables, out)
    assert "--accept-changed" not in str(refused.value)


def test_what_was_measured_on_other_inputs_is_not_taken_over(finished, results, tmp_path):
    from video_opd.runs.directory import RunDirectory
    from video_opd.train.shared_work import SharedWork

    shutil.copytree(finished / "out" / results["methods"]["sft"]["runs"][0]["folder"], tmp_path / "one")
    comparison, tables = load_comparison(finished / "compare.toml")
    recipe = make_recipe(comparison, tables, "sft", None, 0)
    shared = SharedWork()
    shared.note(recipe, RunDirectory(tmp_path / "one"))
    for name, change, expected in (
        ("same", lambda _: None, {"student-before", "teacher", "validation-000000"}),
        ("teacher", _forget_weights, {"student-before", "validation-000000"}),
        ("videos", _forget_video, set()),
    ):
        (tmp_path / name / "evaluation").mkdir(parents=True)
        shutil.copy(tmp_path / "one" / "inputs.json", tmp_path / name)
        _spoil(tmp_path / name, change)
        shared.take_over(recipe, RunDirectory(tmp_path / name))
        assert {path.stem for path in (tmp_path / name / "evaluation").glob("*.json")} == expected


def test_the_report_of_a_comparison_can_be_written_again(finished, capsys):
    page = finished / "out" / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert main(["report", str(finished / "out")]) == 0
    assert page.read_bytes() == before


def test_a_folder_of_another_comparison_is_refused(finished, capsys):
    arguments = [
        "compare",
        str(finished / "compare.toml"),
        "--out",
        str(finished / "out"),
        "--training.batch-size",
        "2",
    ]
    assert main(arguments) == 2
    assert "holds a run with another recipe (training.batch_size: 4 -> 2)" in capsys.readouterr().err


def test_bad_comparisons_end_in_one_sentence(finished, tmp_path, capsys):
    bad = {
        "absent.toml": "cannot be read",
        "lone.toml": "methods.opd: method.ablation = 'deaf'",
        "group.toml": "num_answers = 1 with grpo",
        "target.toml": "without evaluations during training",
    }
    shutil.copy(finished / "recipe.toml", tmp_path)
    (tmp_path / "lone.toml").write_text(TEXT.replace('name = "opd"', 'name = "opd"\nablation = "deaf"'))
    (tmp_path / "group.toml").write_text(TEXT.replace("num_answers = 3", "num_answers = 1"))
    (tmp_path / "target.toml").write_text(TEXT.replace("evaluate_every = 1", "evaluate_every = 0"))
    for name, message in bad.items():
        assert main(["compare", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


class TestSentences:
    """What is said follows from the numbers."""

    @pytest.fixture
    def told(self, results):
        return copy.deepcopy(results)

    def difference(self, told, mean, low, high) -> str:
        told["differences"] = [{"one": "opd", "other": "grpo", "mean": mean, "interval": [low, high]}]
        for name, seconds in (("opd", 71.0), ("grpo", 100.0)):
            told["methods"][name]["ledger"]["cpu_seconds_by_phase"] = {"read": seconds}
        return write_sentences(told)[0]

    def test_a_difference_beyond_its_interval(self, told):
        said = self.difference(told, 0.05, 0.03, 0.07)
        assert said == "opd beats grpo by 0.050 ± 0.020 mIoU at 2 steps and costs 0.71 of its time."

    def test_one_the_other_way_round(self, told):
        said = self.difference(told, -0.05, -0.07, -0.03)
        assert said == "grpo beats opd by 0.050 ± 0.020 mIoU at 2 steps; opd costs 0.71 of its time."

    def test_none_that_shows(self, told):
        said = self.difference(told, 0.01, -0.01, 0.03)
        assert said.startswith("opd and grpo show no clear difference at 2 steps: +0.010 ± 0.020 mIoU")

    def test_the_teacher_is_passed_only_beyond_the_interval(self, told):
        gaps = {"opd": (0.01, -0.02, 0.04), "grpo": (-0.05, -0.07, -0.03), "sft": (0.05, 0.03, 0.07)}
        for name, (mean, *interval) in gaps.items():
            told["methods"][name]["over_its_teacher"] = {"mean": mean, "interval": interval}
        assert [said for said in write_sentences(told) if "teacher" in said] == [
            "opd shows no clear difference from its teacher: +0.010 ± 0.030 mIoU.",
            "grpo stays behind its teacher by 0.050 ± 0.020 mIoU.",
            "sft passes its teacher by 0.050 ± 0.020 mIoU.",
        ]

    def test_times_of_different_devices_are_not_left_unremarked(self, told):
        assert not any("devices" in said for said in write_sentences(told))
        assert "different devices" in write_sentences(told | {"num_devices": 2, "device": "H100, H200"})[-1]

    @pytest.mark.parametrize(
        ("num_queries", "num_seeds", "why"),
        [
            (1, 1, "on 1 test query and with one seed"),
            (1, 2, "on 1 test query"),
            (29, 3, "on 29 test queries"),
            (400, 1, "with one seed"),
        ],
    )
    def test_one_seed_settles_nothing_nor_do_few_queries(self, told, num_queries, num_seeds, why):
        counts = {"num_queries": num_queries, "num_seeds": num_seeds}
        told["differences"] = [{"one": "opd", "other": "grpo", "mean": 0.3, "interval": None, **counts}]
        assert write_sentences(told)[0].startswith(
            f"opd and grpo differ by +0.300 mIoU at 2 steps {why}, which proves nothing; "
        )

    def test_what_few_queries_cannot_say(self, told):
        told["student_before"]["scores"]["num_queries"] = 1
        told["num_validation_queries"] = 3
        said = " ".join(write_sentences(told))
        assert "Which method is better cannot be said from 1 test query: a 95 % interval needs at least 30" in said
        assert "Which learning rate is best and when a method reaches the target cannot be said from 3 valid" in said
        told["student_before"]["scores"]["num_queries"] = told["num_validation_queries"] = 30
        assert "cannot be said from" not in " ".join(write_sentences(told))

    def test_without_a_test_manifest_it_is_said(self, told):
        del told["differences"]
        told["student_before"] = None
        assert "No test manifest: which method is better cannot be said." in write_sentences(told)

    def test_methods_that_score_the_same_on_every_query(self, told):
        said = self.difference(told, 0.0, 0.0, 0.0)
        assert said.startswith("opd and grpo score the same on every query at 2 steps; ")

    def test_what_was_forgotten_is_not_told_from_few_questions_nor_seeds_left_out(self, told):
        told["student_before"] = {"side_questions": {"accuracy": 1.0, "num_questions": 4}}
        for method in told["methods"].values():
            method["side_questions"] = {"mean": 0.5, "sd": 0.0}
        (said,) = [said for said in write_sentences(told) if "side question" in said]
        assert said.startswith("What was forgotten cannot be said from 4 side questions")
        told["student_before"]["side_questions"]["num_questions"] = 200
        for method in told["methods"].values():
            method["runs"] = method["runs"][:1]
        assert all("of one seed)" in said for said in write_sentences(told) if "side question" in said)

    def test_seeds_that_disagree_forget_nothing_for_certain(self, told):
        told["student_before"] = {"side_questions": {"accuracy": 0.8, "num_questions": 4000}}
        for name, method in told["methods"].items():
            method["side_questions"] = {"mean": 0.7, "sd": 0.1 if name == "grpo" else 0.0}
        assert all("shows no change" in said for said in write_sentences(told) if "side questions" in said)

    def test_forgetting_is_a_change_beyond_chance(self, told):
        told["student_before"] = {"side_questions": {"accuracy": 0.8, "num_questions": 200}}
        for name, after in (("opd", 0.6), ("grpo", 0.77), ("sft", 0.95)):
            told["methods"][name]["side_questions"] = {"mean": after, "sd": 0.01}
        verdicts = [said for said in write_sentences(told) if "side questions" in said]
        assert [verdict.split(" side")[0] for verdict in verdicts] == [
            "opd forgets some of the", "grpo shows no change on the", "sft gains on the",
        ]  # fmt: skip

    def test_the_target(self, told):
        told["num_validation_queries"] = 96
        told["methods"]["opd"]["to_target"] = [{"step": 1, "cpu_seconds": 4.0}, None]
        said = write_sentences(told)
        assert "opd reaches a validation mIoU of 0.9 by step 1 and 4 CPU seconds with 1 of its seeds." in said
        assert "grpo does not reach a validation mIoU of 0.9." in said
        told["num_validation_queries"] = 29
        assert not any("a validation mIoU of 0.9" in said for said in write_sentences(told))


@pytest.mark.parametrize(
    ("tables", "stops", "window"),
    [({}, False, 10), ({"watch": {"window": 5}}, False, 5), ({"watch": {"stop": True}}, True, 10)],
)
def test_a_collapse_is_a_result_unless_the_recipe_says_that_it_ends_a_run(
    finished, monkeypatch, tmp_path, tables, stops, window
):
    watches = []

    class Stopped(Exception):
        pass

    def run_recipe(recipe, *_, **__):
        watches.append(recipe.watch)
        raise Stopped

    monkeypatch.setattr(comparison_runs, "run_recipe", run_recipe)
    recipe, shared = load_comparison(finished / "compare.toml")
    with pytest.raises(Stopped):
        compare(recipe, overlay(shared, tables), tmp_path / "out")
    (watch,) = watches
    assert (watch.stop, watch.window) == (stops, window)
