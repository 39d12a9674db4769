"""`video_opd.evaluate`, `score`, `select` and `metrics`: the commands of these names, on files, as functions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from video_opd.curriculum import Selection, SelectionRule, Strategy, choose, read_scores
from video_opd.curriculum import select as select_by_iou
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.settings import make_checked

if TYPE_CHECKING:
    from video_opd.api.grounding_model import GroundingModel
    from video_opd.curriculum import ScoreFile
    from video_opd.data.prompt_source import PromptSource
    from video_opd.eval.evaluate import Evaluation
    from video_opd.eval.scorers import OfficialScores, Scorer
    from video_opd.grounding import Scores

MAX_BAD_SHARE = 0.05
"""An evaluation or a scoring stops when more of its examples cannot be asked."""


def evaluate(
    model: str | Path | GroundingModel,
    manifest: str | Path,
    videos: str | Path,
    *,
    out: str | Path | None = None,
    batch_size: int = 8,
) -> Evaluation:
    """Answer the queries of a manifest greedily, and score the answers.

    It begins anew when it is called again; the command `video-opd evaluate` goes on where it was stopped.

    Args:
        model: a name as `load` takes it, or a loaded model.
        manifest: the queries, JSON lines.
        videos: the folder that the manifest's video paths start from.
        out: where to write the predictions; a file that is there is not replaced.
        batch_size: prompts read together.

    Returns:
        `scores` (mIoU, R1@0.3 …, intervals), `answers` and `parsed` by id, `set_aside`, `best_constant`.

    Raises:
        UserError: the manifest, a video or the model cannot be used.
    """
    from video_opd.data.manifest import read_manifest
    from video_opd.eval.evaluate import evaluate as evaluate_examples
    from video_opd.grounding import write_predictions

    _require_positive("batch_size", batch_size)
    examples = read_manifest(Path(manifest), Path(videos))
    if out is not None:
        _prepare_new_file(Path(out))
    asked = _ensure_loaded(model)
    with closing(_make_source(asked, Path(videos), len(examples))) as source:
        evaluation = evaluate_examples(
            asked.policy,
            examples,
            source,
            max_new_tokens=asked.how.answers.max_new_tokens,
            batch_size=batch_size,
        )
    if out is not None:
        with explain_write_errors(Path(out)):
            write_predictions(Path(out), evaluation.answers)
    return evaluation


def score(
    model: str | Path | GroundingModel,
    manifest: str | Path,
    videos: str | Path,
    out: str | Path,
    *,
    answers: int = 4,
    seed: int = 0,
) -> ScoreFile:
    """Write several answers to every example of a pool, from one reading each, with their IoUs and log-probs.

    What is in the file already is not asked again: called again with the same arguments, it goes on. The file is the
    one that `video-opd score` writes; `select` chooses from it.

    Args:
        model: a name as `load` takes it, or a loaded model.
        manifest: the pool, JSON lines.
        videos: the folder that the manifest's video paths start from.
        out: the file of scores.
        answers: how many of each example: one greedy answer, the others drawn.
        seed: of the draws.

    Raises:
        UserError: the manifest, a video or the model cannot be used, or the file holds other scores.
    """
    from video_opd.data.manifest import read_manifest
    from video_opd.data.prompt_source import require_folder
    from video_opd.eval.pool import RolloutOptions
    from video_opd.eval.score_into_file import CallerWords, ScoringTask, score_into

    _require_positive("answers", answers)
    out, videos, examples = Path(out), Path(videos), read_manifest(Path(manifest), Path(videos))
    asked = _ensure_loaded(model)
    require_folder(videos)
    with explain_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    scoring = ScoringTask(
        manifest=Path(manifest),
        videos=videos,
        examples=examples,
        model=asked.name,
        how=asked.how,
        precision=asked.precision,
        asking=RolloutOptions(num_answers=answers, max_new_tokens=asked.how.answers.max_new_tokens, seed=seed),
        batch_size=1,
        max_bad_share=MAX_BAD_SHARE,
    )
    called = CallerWords(max_bad_share="the share of bad examples", another_file="give another file")
    return score_into(out, scoring, called, load=lambda: (asked.policy, asked.renderer))


def select(
    teacher: Mapping[str, float] | str | Path | None,
    student: Mapping[str, float] | str | Path | None,
    *,
    strategy: Strategy,
    count: int,
    threshold: float | None = 0.7,
    seed: int = 0,
) -> Selection:
    """Choose what to train on from the scores of teacher and student.

    Args:
        teacher: a file that `score` wrote, or example id -> mean IoU of the teacher. None: the strategy and the
            threshold ask for none.
        student: the same of the student.
        strategy: `top-k`, `dsus`, `bbds`, `gwds`, `difficulty`, `half-and-half` or `random`; see docs/CURRICULUM.md.
        count: how many examples; exactly that many are chosen.
        threshold: examples on which the teacher's mean IoU is lower are left out; None: none are.
        seed: of ties and of draws.

    Returns:
        `ids` in the order of training, and for every example of the pool why it was chosen or not.

    Raises:
        UserError: an unknown strategy, too few examples, or scores of different pools.
    """
    rule = make_checked(SelectionRule, strategy=strategy, count=count, threshold=threshold or 0)
    if _are_files(teacher, student):
        files = [None if path is None else read_scores(Path(path)) for path in (teacher, student)]  # type: ignore[arg-type]
        return choose(files[0], files[1], rule, seed).selection
    return select_by_iou(teacher, student, rule, seed)  # type: ignore[arg-type]


def metrics(
    predictions: str | Path, ground_truth: str | Path, *, scorer: str | Scorer = "ours"
) -> Scores | OfficialScores:
    """Score a file of predictions, ours or another project's. It imports no torch.

    Args:
        predictions: JSON lines of id and answer or spans, or a result file of the field (docs/DATA.md lists them).
        ground_truth: a manifest, or the annotation file of a benchmark.
        scorer: `ours`, the name of another rule, such as `timelens` (docs/DATA.md lists them), or a scorer of your own
            (docs/EXTENDING.md).

    Raises:
        UserError: a file that cannot be read, no prediction that matches, or an unknown scorer.
    """
    from video_opd.eval.scorers import SCORERS, score_files

    if isinstance(scorer, str) and scorer != "ours" and scorer not in SCORERS:
        raise ConfigurationError(
            f"scorer = {scorer!r}",
            reason="no scorer has that name",
            remedy=SCORERS.remedy(scorer),
        )
    if not isinstance(scorer, str) and not callable(scorer):
        raise ConfigurationError(
            f"scorer = {scorer!r}",
            reason="this is not a name, and not a scorer",
            remedy="give the name of a scorer, or a function of your own (docs/EXTENDING.md)",
        )
    return score_files([Path(predictions)], Path(ground_truth), scorer)[0].result


def _ensure_loaded(model: str | Path | GroundingModel) -> GroundingModel:
    from video_opd.api.grounding_model import load

    return load(model) if isinstance(model, str | Path) else model


def _make_source(asked: GroundingModel, videos: Path, num_examples: int) -> PromptSource:
    from video_opd.data.prompt_source import PromptSource, require_folder

    require_folder(videos)
    return PromptSource(
        videos,
        asked.renderer,
        num_examples=num_examples,
        workers=1,
        max_bad_share=MAX_BAD_SHARE,
        share_is_called="the share of bad examples",
        in_processes=True,
    )


def _are_files(teacher: object, student: object) -> bool:
    """Whether the scores stand in files; both must be given in the same way."""
    kinds = {isinstance(given, Mapping) for given in (teacher, student) if given is not None}
    if len(kinds) == 2:
        raise ConfigurationError(
            "scores of the teacher and of the student",
            reason="one is a file and the other a mapping",
            remedy="give two files, or two mappings",
        )
    return kinds == {False}


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"{name} = {value}", reason="it must be at least 1", remedy="give a larger number")


def _prepare_new_file(out: Path) -> None:
    """Refuse a file that is there, and make the folder of one that is not: before hours of work, not after them."""
    if out.exists():
        raise ConfigurationError(
            f"{out} is there already", reason="it would be replaced", remedy="give another name, or remove the file"
        )
    with explain_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
