"""The watch against a collapse that a loss does not show: rows by hand, and a run that collapses."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.config import Recipe, WatchSettings
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.errors import EngineError
from video_opd.runs.best_checkpoint import find_best_checkpoint
from video_opd.runs.collapse_watch import CollapseWatch, read_steps, refuse_collapsed
from video_opd.runs.directory import RunDirectory
from video_opd.train.run import list_changeable_keys
from video_opd.train.step_metrics import _measure_distinct as measure_distinct
from video_opd.types import Answer, Example, Span

SETTINGS = WatchSettings(window=4)
HEALTHY = {"distinct_answers": 0.9, "output_format_rate": 1.0, "entropy": 0.5, "mean_answer_tokens": 17.0}


def make_rows(*steps: dict[str, float], healthy: int = 10) -> list[dict[str, float]]:
    """So many healthy rows, then others in which some figures differ."""
    rows = [HEALTHY] * healthy + [HEALTHY | step for step in steps]
    return [{"step": step, **row} for step, row in enumerate(rows, start=1)]


def find_stop(rows, settings=SETTINGS) -> tuple[int, int] | None:
    """The step at which a run stops, and the step since which a figure is beyond its limit."""
    watch = CollapseWatch(settings)
    for row in rows:
        watch.note(row)
        if watch.collapse:
            return watch.collapse.step, watch.collapse.since
    return None


@pytest.mark.parametrize(
    ("figure", "value", "limit"),
    [
        ("distinct_answers", 0.0, "distinct_answers"),
        ("output_format_rate", 0.1, "output_format_rate"),
        ("mean_answer_tokens", 1.0, "shortest"),
        ("mean_answer_tokens", 300.0, "longest"),
    ],
)
def test_every_way_to_collapse_is_found(figure, value, limit):
    """Ten healthy steps; windows of four. The mean of steps 11 to 14 is the first that is wholly collapsed."""
    rows = make_rows(*[{figure: value}] * 20)
    watch = CollapseWatch(SETTINGS)
    passed = [(excess.step, excess.figure.limit) for row in rows for excess in watch.note(row)]
    first = 13 if limit == "longest" else 14  # three answers of 300 tokens and one of 17: 229, above 170
    assert passed == [(first, limit)]
    assert find_stop(rows) == (first + 4, first)


def test_the_limit_is_relative_to_the_best_window():
    """The best window has 0.9, so the limit is 0.09; a mean of 0.09 is not below it."""
    assert find_stop(make_rows(*[{"distinct_answers": 0.091}] * 20)) is None
    assert find_stop(make_rows(*[{"distinct_answers": 0.089}] * 20)) == (18, 14)
    rising = [{"distinct_answers": 0.05}] * 4 + [{"distinct_answers": 0.5}] * 8 + [{"distinct_answers": 0.045}] * 20
    assert find_stop(make_rows(*rising, healthy=0)) == (20, 16)
    loose = SETTINGS.model_copy(update={"distinct_answers": 0.0})
    assert find_stop(make_rows(*[{"distinct_answers": 0.0}] * 20), loose) is None


BARE = [{"output_format_rate": 0.0, "distinct_answers": 0.0}]


@pytest.mark.parametrize(
    "rows",
    [
        make_rows(*[HEALTHY] * 50),
        make_rows(*[{"distinct_answers": value} for value in (0.2, 0.1, 0.3, 0.0, 0.2) * 8]),
        make_rows(*[{"distinct_answers": 0.0}] * 7, *[HEALTHY] * 20),  # it recovers before the run stops
        make_rows(*[{"output_format_rate": 0.4, "distinct_answers": 0.2}] * 9, *BARE * 40, healthy=0),  # it began so
        make_rows(*[{"mean_answer_tokens": 2.0}] * 20),  # a tenth of 17 is less
        make_rows(*[{"mean_answer_tokens": 169.0}] * 20),
        [
            {"step": step, "annotation_nll": 1.0, "mean_answer_tokens": 17.0 if step < 9 else 1.0}
            for step in range(1, 40)
        ],
        [{"step": step, "num_answers": 0} for step in range(1, 40)],
    ],
    ids=["healthy", "noisy", "recovers", "began-so", "short", "long", "annotations", "nothing"],
)
def test_what_is_no_collapse_does_not_stop_a_run(rows):
    assert find_stop(rows) is None


def test_after_a_recovery_it_counts_anew():
    rows = make_rows(*[{"distinct_answers": 0.0}] * 7, *[{}] * 10, *[{"distinct_answers": 0.0}] * 20)
    watch, alarmed = CollapseWatch(SETTINGS), []
    for row in rows[:31]:
        watch.note(row)
        alarmed += [row["step"]] if watch.is_alarmed else []
    assert alarmed == [14, 15, 16, 17, 31]
    assert find_stop(rows) == (35, 31)


def test_the_figures_of_real_runs_stay_far_from_the_limits():
    """The extremes over all steps of tiny-opd, tiny-grpo and tiny-opd-long, 60 steps each, at once."""
    worst = {"distinct_answers": 0.67, "output_format_rate": 0.8, "mean_answer_tokens": 16.9}
    assert find_stop(make_rows(*[worst] * 50), WatchSettings()) is None


def test_the_length_of_own_answers_is_watched_in_a_mix():
    mixed = {"mean_answer_tokens": 17.0, "mean_own_answer_tokens": 1.0}
    start = {"mean_own_answer_tokens": 17.0}
    assert find_stop(make_rows(*[start] * 10, *[mixed] * 20, healthy=0)) == (18, 14)


def test_a_measurement_of_the_teacher_is_watched_where_there_is_one():
    rows = make_rows(*[{"teacher_view_miou": 0.8}] * 4, *[{"teacher_view_miou": 0.3}] * 20, healthy=0)
    watch = CollapseWatch(SETTINGS, rows)
    assert watch.collapse is not None
    assert watch.collapse.figure.name == "the teacher's mIoU in its view"
    assert find_stop(make_rows(*[{"teacher_view_miou": 0.8}] * 4, *[{"teacher_view_miou": 0.45}] * 20)) is None


def test_a_warning_comes_once_and_not_again_when_a_run_goes_on(caplog):
    rows = make_rows(*[{"distinct_answers": 0.0}] * 20)
    watch = CollapseWatch(SETTINGS)
    with caplog.at_level(logging.WARNING):
        for row in rows[:16]:
            watch.note_and_warn(row)
        CollapseWatch(SETTINGS, rows[:16]).note_and_warn(rows[16])
    (record,) = caplog.records
    assert record.getMessage() == (
        "step 14: the share of distinct answers is 0 (mean of 4 steps), below the limit of 0.09 since step 14 "
        "(watch.distinct_answers = 0.1, relative to the best so far); the run stops if this lasts for 4 more steps"
    )


def test_with_stop_false_it_only_warns(caplog):
    watch = CollapseWatch(SETTINGS.model_copy(update={"stop": False}))
    for row in make_rows(*[{"distinct_answers": 0.0}] * 20):
        watch.note_and_warn(row)
    assert watch.collapse is None
    assert watch.is_alarmed
    assert ["the run goes on (watch.stop = false)" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("place", range(1, 20))
def test_a_run_that_goes_on_knows_what_it_knew(place, tmp_path):
    """Interrupted after any step, also within a window; the journal may hold later rows, which are done again."""
    rows = make_rows(*[{"distinct_answers": 0.0}] * 20)
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"loss": 1.0} | row) + "\n" for row in rows[: place + 3]))
    watch = CollapseWatch(SETTINGS, read_steps(path, until=place))
    for row in rows[place:]:
        if watch.collapse:
            break
        watch.note(row)
    assert watch.collapse is not None
    assert (watch.collapse.step, watch.collapse.since) == (max(18, place), 14)
    assert watch.last_sound_step == 10


def test_the_share_of_distinct_answers_by_hand():
    def pairs(*texts: tuple[str, str]):
        for id, text in texts:
            example = Example(id=id, video="v", query="q", spans=(Span(0, 1),), duration=9.0)
            answer = Answer(prompt_id=id, token_ids=(0,), sampler_logprobs=None, text=text, truncated=False)
            yield type("OnePrompt", (), {"id": id, "example": example}), answer

    def measure(*texts):
        return measure_distinct(list(pairs(*texts)))

    assert measure(("a", "1"), ("b", "2"), ("c", "3")) == {"distinct_answers": 1.0}
    assert measure(("a", "1"), ("b", "1"), ("c", "1")) == {"distinct_answers": 0.0}
    assert measure(("a", "1"), ("b", "1"), ("c", "3")) == {"distinct_answers": 0.5}
    assert measure(("a", "1"), ("a", "2"), ("b", "1"), ("b", "3")) == {"distinct_answers": 0.0}  # the first of each
    assert measure(("a", "1"), ("a", "2")) == {}


def test_no_recipe_says_it_and_it_may_change_when_a_run_goes_on():
    recipe = load_recipe(Path("tiny-opd"))
    assert recipe.watch is None
    assert "watch" not in recipe.to_toml()
    assert "watch" in list_changeable_keys(recipe)
    assert all(load_recipe(path).watch is None for name, path in shipped_recipes().items() if name.startswith("tiny-"))


def write_checkpoints(folder: Path, mious: dict[int, float | None]) -> RunDirectory:
    run = RunDirectory(folder)
    run.evaluation.mkdir(parents=True)
    for step, miou in mious.items():
        (run.checkpoints / f"step-{step:06d}").mkdir(parents=True)
        (run.checkpoints / f"step-{step:06d}" / "COMPLETE.json").write_text("{}")
        if miou is not None:
            report = {"name": "v", "step": step, "split": "validation", "scores": {"miou": miou}}
            (run.evaluation / f"validation-{step:06d}.json").write_text(json.dumps(report))
    return run


def test_the_best_checkpoint_is_one_that_is_there(tmp_path):
    run = write_checkpoints(tmp_path / "a", {20: 0.4, 40: 0.6, 60: 0.1, 70: None})
    (run.evaluation / "validation-000030.json").write_text('{"scores": {"miou": 0.9}}')  # its checkpoint is gone
    best = find_best_checkpoint(run, before=5)
    assert (best.step, best.miou) == (40, 0.6)
    assert best.folder == run.checkpoints / "step-000040"
    run = write_checkpoints(tmp_path / "b", {20: None, 40: None, 60: None})
    assert [found and found.step for found in (find_best_checkpoint(run, before=b) for b in (59, 40, 5))] == [
        40,
        40,
        None,
    ]


def test_a_ruined_checkpoint_is_not_the_best_because_it_alone_was_evaluated(tmp_path):
    """Checkpoints every 10 steps, an evaluation every 100: at step 100 the student had collapsed."""
    run = write_checkpoints(tmp_path, {70: None, 80: None, 90: None, 100: 0.02})
    assert [(best.step, best.miou) for best in (find_best_checkpoint(run, before=b) for b in (85, 60))] == [
        (80, None),
        (100, 0.02),
    ]


def test_the_checkpoint_that_is_named_is_the_one_that_was_kept(tmp_path):
    """A rare figure was beyond its limit since step 6, and the one that ends the run since step 14."""
    rows = make_rows(*[{"distinct_answers": 0.0}] * 8)
    rows[0]["teacher_view_miou"], rows[5]["teacher_view_miou"] = 0.8, 0.3
    watch = CollapseWatch(SETTINGS, rows)
    assert watch.last_sound_step == 2
    run = write_checkpoints(tmp_path, {2: None, 9: None, 18: None})
    with pytest.raises(EngineError, match=r"distinct answers is 0 .* use the best checkpoint, .*step-000002 \("):
        refuse_collapsed(watch, run)


STEPS = 30


@pytest.fixture(scope="module")
def collapsing(models, world, tmp_path_factory) -> list[str]:
    """A command whose learning rate ruins the student: soon it gives one answer to everything."""
    recipe = Path(__file__).resolve().parents[2] / "recipes" / "tiny-opd.toml"
    paths = [f"--data.{split}={world / f'{split}.jsonl'}" for split in ("train", "validation")]
    return [
        "train", str(recipe), "--out", str(tmp_path_factory.mktemp("collapse") / "run"), "--steps", str(STEPS),
        "--student.model", models["student"], "--teacher.model", models["teacher"],
        f"--data.videos={world / 'videos'}", *paths, f"--data.test={world / 'test.jsonl'}",
        "--training.batch-size", "4", "--training.micro-batch-size", "4", "--answers.max-new-tokens", "6",
        "--training.learning-rate", "0.3", "--training.warmup-steps", "0", "--training.decay", "none",
        "--schedule.checkpoint-every", "2", "--schedule.evaluate-every", "2", "--schedule.probe-every", "0",
        "--schedule.keep-checkpoints", "1", "--watch.window", "2",
    ]  # fmt: skip


def test_a_run_that_collapses_stops_and_keeps_its_best_checkpoint(collapsing, refused, tmp_path, capsys):
    run = RunDirectory(Path(collapsing[3]))
    said = refused(*collapsing, late=True)
    rows = list(read_steps(run.metrics, until=STEPS))
    stopped = rows[-1]["step"]
    assert 4 < stopped < STEPS
    assert f"after step {stopped} the share of distinct answers is 0" in said
    best = find_best_checkpoint(run, before=0)
    assert f"use the best checkpoint, {best.folder} (validation mIoU" in said
    assert best.step < stopped - 2
    steps = sorted(int(folder.name.removeprefix("step-")) for folder in run.checkpoints.glob("step-??????"))
    assert steps == sorted({best.step, stopped})
    # The same command refuses again, and trains nothing.
    again = refused(*collapsing, late=True)
    assert again.split(": ", 1)[1] == said.split(": ", 1)[1]
    assert list(read_steps(run.metrics, until=STEPS)) == rows
    # The folder is one of a run.
    capsys.readouterr()
    assert main(["report", str(run.path)]) == 0
    assert "Distinct answers" in (run.path / "report.html").read_text()
    predictions = tmp_path / "predictions.jsonl"
    manifest = next(word.removeprefix("--data.test=") for word in collapsing if word.startswith("--data.test="))
    videos = next(word.removeprefix("--data.videos=") for word in collapsing if word.startswith("--data.videos="))
    for model in (run.path, best.folder / "model"):
        predictions.unlink(missing_ok=True)
        assert main(["evaluate", str(model), manifest, "--videos", videos, "--out", str(predictions)]) == 0
    # With other limits it goes on to its end.
    assert main([*collapsing, "--watch.stop", "false"]) == 0
    assert len(list(read_steps(run.metrics, until=STEPS))) == STEPS
    # Where that step is the last one, there is nothing to stop, and the result is measured.
    whole = [*collapsing[:3], str(tmp_path / "whole"), "--steps", str(stopped), *collapsing[6:]]
    assert main(whole) == 0
    assert (tmp_path / "whole" / "evaluation" / "student-after.json").exists()


def test_a_recipe_takes_the_table():
    tables = {"name": "n", "student": {"model": "m"}, "teacher": {"model": "m"}}
    data = {"videos": "v", "train": "t", "validation": "w"}
    recipe = Recipe(**tables, data=data, watch={"window": 3})
    assert recipe.watch == WatchSettings(window=3)
    assert "window = 3" in recipe.to_toml()
