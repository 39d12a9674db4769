"""The check of a teacher's view: does the teacher use what it sees there, and only there?

A view that helps as much when it shows the wrong thing teaches nothing about the video: the student would learn the
teacher's wording, or nothing. Training would not tell, because the reverse KL falls all the same.
"""

from __future__ import annotations

import torch

from video_opd.doctor.checks import BLIND_NATS, MORE_EXAMPLES, explain_too_few
from video_opd.doctor.patient import Finding, Patient, answer, make_greedy_sampling, measure_accuracy, score
from video_opd.methods.teachers import View
from video_opd.sample_size import count_of

ITS_VIEW, WRONG_SPANS, NO_VIEW = "its view", "wrong spans", "no view"
ABOUT_AS_GOOD = 0.8
"""A view of wrong spans whose mIoU is at least this share of the true view's is about as good."""

SHOWS_ALL = "the view shows the whole of these videos, so it changes nothing: lower view.margin_s"


def check_view(patient: Patient, view: View, wrong: View | None) -> Finding:
    """Compare the teacher in its view with the same teacher where it is shown wrong spans, and without a view.

    Args:
        patient: with the teacher that has the view.
        view: shows what is annotated, or more of everything.
        wrong: shows something else of the same length; None: the view shows the whole video.
    """
    teacher, recipe = patient.models["teacher"], patient.recipe
    views = {ITS_VIEW: view} | ({WRONG_SPANS: wrong} if wrong else {}) | {NO_VIEW: lambda prompt: prompt}
    seen = {name: [show(prompt) for prompt in patient.prompts] for name, show in views.items()}
    groups = answer(teacher, seen[ITS_VIEW], make_greedy_sampling(recipe), recipe)
    mious, means = {}, {}
    for name, prompts in seen.items():
        mious[name], _ = measure_accuracy(teacher, prompts, recipe)
        means[name] = float(torch.cat(score(teacher, prompts, groups, recipe)).mean())
    losses = {name: means[ITS_VIEW] - mean for name, mean in means.items() if name != ITS_VIEW}
    few = explain_too_few(patient)
    # A clip that is the whole video is the prompt itself.
    shows_all = all(one is other for one, other in zip(seen[ITS_VIEW], patient.prompts, strict=True))
    remedy = SHOWS_ALL if shows_all else _find_remedy(mious, losses)
    return Finding(
        checked=f"the teacher in its view, over {count_of(len(patient.prompts), 'example', 'examples')}: mIoU of its "
        "greedy answers, and by how much their log-probs fall in other views",
        found="; ".join(f"{name}: mIoU {miou:.2f}" for name, miou in mious.items())
        + "; loss in nats per token: "
        + ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
        + (f"; {few}" if few else ""),
        verdict="warn" if few or remedy else "ok",
        remedy=MORE_EXAMPLES if few else remedy,
    )


def _find_remedy(mious: dict[str, float], losses: dict[str, float]) -> str:
    """What to do about a view that does not help, or helps whatever it shows; an empty text where nothing is wrong."""
    does_as_well = mious.get(WRONG_SPANS, 0.0) >= ABOUT_AS_GOOD * mious[ITS_VIEW]
    if WRONG_SPANS in mious and (does_as_well or losses[WRONG_SPANS] < BLIND_NATS):
        return (
            "the teacher does as well when it is shown wrong spans, so it does not read what the view shows: take "
            "another teacher or another view; a student would learn nothing about the video"
        )
    if mious[ITS_VIEW] <= mious[NO_VIEW]:
        return (
            "the teacher is no better with the view than without: it cannot read what it is shown, or the "
            "annotated spans are wrong; take another teacher, or a view that shows more"
        )
    return ""
