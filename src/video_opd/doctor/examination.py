"""Runs the checks in their order."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from video_opd.config import Recipe, ViewSettings
from video_opd.data.manifest import check_manifest
from video_opd.data.teacher_views import OtherSpans, ShownSpans
from video_opd.doctor.checks import CHECKS, TEACHER_CHECKS
from video_opd.doctor.cost_estimate import judge_memory
from video_opd.doctor.decoding_cost import estimate_whole_cost
from video_opd.doctor.patient import Finding, Patient
from video_opd.doctor.view_check import check_view
from video_opd.methods.teachers import View
from video_opd.policy.adapters import has_adapter, is_of_adapter
from video_opd.policy.common_tokens import require_common_tokens
from video_opd.policy.load import Policy
from video_opd.sample_size import count_of
from video_opd.train.answering_choice import settle_answering
from video_opd.train.build import load_student, load_teacher, make_source, prepare_compute, prepare_data
from video_opd.train.build_views import make_view, make_views
from video_opd.train.early_checks import refuse_early
from video_opd.train.memory_choice import settle_memory
from video_opd.train.run_inputs import Inputs
from video_opd.types import Prompt


def examine(recipe: Recipe, *, num_examples: int = 8) -> list[Finding]:
    """Run all checks on the first examples of a recipe's manifests.

    Args:
        recipe: the recipe to examine.
        num_examples: number of examples of each manifest whose videos are decoded. The models answer those of the
            training manifest.

    Raises:
        UserError: models or data so broken that no check can run.
    """
    inputs = Inputs()
    refuse_early(recipe, inputs=inputs)
    prepare_compute(recipe.compute)
    prepare_data(recipe)
    memory = judge_memory(recipe, inputs)
    recipe = settle_answering(settle_memory(recipe, inputs, refuses=False), inputs)
    student = load_student(recipe, recipe.student.model)
    teacher = load_teacher(recipe, inputs, student)
    policies = teacher.policies if teacher else ()
    for policy in policies:
        require_common_tokens(student, policy)
    findings: list[Finding] = []
    prompts: list[Prompt] = []
    not_decoded: dict[str, int] = {}
    for part, path in _name_manifests(recipe).items():
        examples = inputs.read_manifest(recipe, path)
        first = examples[:num_examples]
        with closing(make_source(recipe, student, examples, for_teachers=part == "training")) as source:
            limit = source.max_bad_share * source.num_examples
            source.max_bad_share = 1.0  # what is set aside is a finding here, and no reason to stop
            rendered = source.prompts(first)
        prompts = rendered if part == "training" else prompts
        findings += [_examine_manifest(part, path), _examine_videos(part, source.set_aside, len(first), limit)]
        not_decoded[part] = len(examples) - len(first)
    findings.append(_list_not_decoded(not_decoded, len(inputs.read_side_questions(recipe))))
    findings.append(_count_trained(student))
    findings.append(memory)
    if prompts:
        patient = Patient.admit(recipe, student, policies[0] if policies else None, prompts)
        findings.extend(finding for check in CHECKS for finding in check(patient))
        views = make_views(recipe, inputs, student) or (None,) * len(policies)
        for (name, settings), policy, view in zip(recipe.name_teachers().items(), policies, views, strict=True):
            examined = replace(patient, teacher=policy, view=view)
            found = [finding for check in TEACHER_CHECKS for finding in check(examined)]
            if settings.view:
                found.append(_examine_view(examined, settings.view, inputs))
            findings.extend(
                found if len(policies) == 1 else [replace(f, checked=f"{name}: {f.checked}") for f in found]
            )
        findings.extend(estimate_whole_cost(patient, teacher, inputs))
    return findings


def _examine_view(patient: Patient, settings: ViewSettings, inputs: Inputs) -> Finding:
    """Compare a teacher's view with a wrong one: the spans of other examples, or a random part where none are known."""
    recipe, student = patient.recipe, patient.student

    def show(spans: ShownSpans) -> View:
        return make_view(recipe, settings.model_copy(update={"spans": spans}), inputs, student)

    if settings.kind == "dense" and settings.margin_s is None:
        return check_view(patient, show("annotated"), None)
    others = OtherSpans.of(inputs.read_manifest(recipe, recipe.data.train)).examples
    return check_view(patient, show("annotated"), show("shuffled" if len(others) > 1 else "random"))


def _name_manifests(recipe: Recipe) -> dict[str, Path]:
    """The manifests of a recipe, each by its part in the run."""
    data = recipe.data
    named = {"training": data.train, "validation": data.validation, "test": data.test}
    return {part: path for part, path in named.items() if path is not None}


def _examine_manifest(part: str, path: Path) -> Finding:
    """Report the warnings about the rows of a manifest; errors have stopped the examination already."""
    warnings = check_manifest(path)
    return Finding(
        checked=f"{part} manifest {path}",
        found=f"{count_of(len(warnings), 'warning', 'warnings')}; first: {warnings[0]}"
        if warnings
        else "nothing wrong in any row",
        verdict="warn" if warnings else "ok",
        remedy=f"run `video-opd data check {path}` for the whole list" if warnings else "",
    )


def _count_trained(student: Policy) -> Finding:
    """Count the weights that a step changes."""
    weights = dict(student.model.named_parameters())
    trained = sum(weight.numel() for weight in weights.values() if weight.requires_grad)
    whole = sum(weight.numel() for name, weight in weights.items() if not is_of_adapter(name))
    where = ", in an adapter beside frozen weights" if has_adapter(student.model) else ""
    found = f"{trained:,} of {whole:,} ({trained / whole:.2%}){where}"
    return Finding(checked="the number of weights that are trained", found=found, verdict="ok")


def _examine_videos(part: str, set_aside: dict[str, str], count: int, limit: float) -> Finding:
    """Check that the first videos of a manifest can be read, and that those that cannot do not stop the run.

    Args:
        part: the part of the manifest in the run.
        set_aside: the id of each example that cannot be used, and the reason.
        count: number of examples that were tried.
        limit: a run stops when it sets aside more examples of this manifest.
    """
    first = "".join(f"; {id}: {reason}" for id, reason in list(set_aside.items())[:1])
    stops = len(set_aside) > limit
    remedy = "run `video-opd data check MANIFEST --videos … --decode` for the whole list"
    if stops:
        first += "; data.max_bad_share allows fewer, so the run would stop"
    return Finding(
        checked=f"the videos of the first {count} {part} examples",
        found=f"{len(set_aside)} cannot be used{first}" if set_aside else "all can be read",
        verdict="fail" if set_aside and (stops or len(set_aside) == count) else "warn" if set_aside else "ok",
        remedy=remedy if set_aside else "",
    )


def _list_not_decoded(not_decoded: dict[str, int], num_side_questions: int) -> Finding:
    """Say which videos were not decoded."""
    parts = [f"those of {count} more {part} examples" for part, count in not_decoded.items() if count]
    if num_side_questions:
        parts.append(f"those of {count_of(num_side_questions, 'side question', 'side questions')}")
    return Finding(
        checked="videos that the doctor did not decode",
        found=", ".join(parts) if parts else "none",
        verdict="ok",
    )
