"""Runs the checks in their order."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from video_opd.config import Recipe
from video_opd.data.manifest import check_manifest
from video_opd.doctor.checks import CHECKS, TEACHER_CHECKS
from video_opd.doctor.cost_estimate import estimate_cost
from video_opd.doctor.patient import Finding, Patient
from video_opd.policy.common_tokens import require_common_tokens
from video_opd.train.build import load_student, load_teacher, make_source, prepare_compute, prepare_data, refuse_early
from video_opd.train.run_inputs import Inputs


def examine(recipe: Recipe, *, num_examples: int = 8) -> list[Finding]:
    """Run all checks on the first training examples of a recipe.

    Raises:
        UserError: models or data so broken that no check can run.
    """
    inputs = Inputs()
    refuse_early(recipe, inputs=inputs)
    prepare_compute(recipe.compute)
    prepare_data(recipe)
    student, teacher = load_student(recipe, recipe.student.model), load_teacher(recipe, inputs)
    policies = teacher.policies if teacher else ()
    for policy in policies:
        require_common_tokens(student, policy)
    examples = inputs.read_manifest(recipe, recipe.data.train)[:num_examples]
    with closing(make_source(recipe, student, examples)) as source:
        source.max_bad_share = 1.0  # what is set aside is a finding here, and no reason to stop
        prompts = source.prompts(examples)
    findings = [_examine_manifest(recipe), _examine_videos(source.set_aside, len(examples))]
    if prompts:
        patient = Patient.admit(recipe, student, policies[0] if policies else None, prompts)
        findings.extend(finding for check in CHECKS for finding in check(patient))
        for name, policy in zip(recipe.name_teachers(), policies, strict=True):
            examined = replace(patient, teacher=policy)
            found = [finding for check in TEACHER_CHECKS for finding in check(examined)]
            findings.extend(
                found if len(policies) == 1 else [replace(f, checked=f"{name}: {f.checked}") for f in found]
            )
        findings.extend(estimate_cost(patient, teacher, inputs))
    return findings


def _examine_manifest(recipe: Recipe) -> Finding:
    """Report the warnings of the manifest; errors have stopped the examination already."""
    warnings = check_manifest(recipe.data.train)
    return Finding(
        checked=f"training manifest {recipe.data.train}",
        found=f"{len(warnings)} warnings; first: {warnings[0]}" if warnings else "nothing wrong",
        verdict="warn" if warnings else "ok",
        remedy=f"run `video-opd data check {recipe.data.train}` for the whole list" if warnings else "",
    )


def _examine_videos(set_aside: dict[str, str], count: int) -> Finding:
    """Check that the first videos can be read."""
    first = "".join(f"; {id}: {reason}" for id, reason in list(set_aside.items())[:1])
    return Finding(
        checked=f"the videos of the first {count} training examples",
        found=f"{len(set_aside)} cannot be used{first}" if set_aside else "all can be read",
        verdict="fail" if len(set_aside) == count else "warn" if set_aside else "ok",
        remedy="run `video-opd data check MANIFEST --videos … --decode` for the whole list" if set_aside else "",
    )
