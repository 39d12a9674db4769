"""Section 8 of docs/CLAIMS.md: the authors' released settings, and what clipping does to a comparison of methods."""

from __future__ import annotations

from comparing import Results, gap, miou, mious, step_figure, verdict
from markdown import bullets, spread, table
from release_studies import CLIPPED, DIFFERENCES

WORDS = {
    "ours": "the settings of `tiny-opd`",
    "examples": "the loss summed over the tokens of an answer, the mean over examples",
    "temperature": "temperature 0.9, log-probs of both models at 0.9",
    "truncated": "sampling with top-p 0.8 and top-k 20, log-probs not truncated",
    "temperature-truncated": "both of these",
    "warm-up": "warm-up over 3 % of the steps instead of 5 %",
    "no-warm-up": "no warm-up",
    "schedule": "warm-up over 3 % of the steps and cosine decay, instead of 5 % and linear decay",
    "adamw": "AdamW with a weight decay of 0.1 and betas of 0.9 and 0.95, instead of 0, 0.9 and 0.999",
    "flat": "no warm-up and no decay, as in `paper/video-opd-8b`",
    "released": "all that the release does; not the line above",
}
LEARNT_BY = {
    "reverse": "reverse KL, own answers",
    "forward": "forward KL, own answers",
    "jsd-10": "generalised JSD with beta 0.1, own answers",
    "jsd-50": "generalised JSD with beta 0.5, own answers",
    "jsd-90": "generalised JSD with beta 0.9, own answers",
    "sampled": "the sampled token, own answers",
    "half-own": "reverse KL, half of the answers from annotations",
    "half-own-sampled": "the sampled token, half of the answers from annotations",
}
HOW = {
    "clipped": "mean over tokens, clipped at 1",
    "free": "mean over tokens, never clipped",
    "examples": "summed over tokens, clipped at 1",
}


def differences(results: Results | None) -> str | None:
    """Every setting of the release alone, and all together."""
    if results is None:
        return None
    rows = []
    for name in DIFFERENCES:
        apart = gap(results, name, "ours")
        clipped, norm = (step_figure(results, name, key) for key in ("share_above_1", "median_grad_norm"))
        rows.append([
            WORDS[name], spread(mious(results, name)),
            "" if apart is None else str(apart), f"{norm:.1f}", f"{clipped:.0%}",
        ])  # fmt: skip
    head = ["", "mIoU (sd)", "against ours", "norm of the gradient, median", "steps that are clipped"]
    apart = {name: gap(results, name, "ours") for name in DIFFERENCES if name != "ours"}
    clear = [f"{WORDS[name]} ({each})" for name, each in apart.items() if each and each.is_clear]
    known = sum(each is not None for each in apart.values())
    said = [
        *_same(results),
        f"Clear differences: {len(clear)} of {known}{': ' + '; '.join(clear) if clear else ''}.",
        "AdamW divides the gradient by its own size. A constant factor, such as an answer's length, therefore acts "
        "through the clipping only: a clipped step moves as far as another, but its examples count less in the "
        "averages of AdamW.",
    ]
    return table(head, rows) + "\n\n" + bullets(said)


def _same(results: Results) -> list[str]:
    """Settings that gave the very scores of ours, and why."""
    ours = mious(results, "ours")
    clipped = min(step_figure(results, name, "share_above_1") or 0.0 for name in ("ours", "examples"))
    if mious(results, "examples") != ours or clipped < 1:
        return []
    return [
        "The sum over the tokens of an answer gives the same runs as the mean over tokens, to the last digit shown: "
        "every step of both is clipped to the same length, and here the direction is the same too."
    ]


def divergences(results: Results | None) -> str | None:
    """GKD's divergences on own answers, and its mix of own and annotated answers; each beside the same without it."""
    if results is None:
        return None
    rows, said = [], []
    for name in results["methods"]:
        rival = "sampled" if name == "half-own-sampled" else "reverse"
        apart = None if name in ("reverse", "sampled") else gap(results, name, rival)
        norm = step_figure(results, name, "median_grad_norm")
        rows.append([LEARNT_BY[name], spread(mious(results, name)), f"{results['methods'][name]['learning_rate']:g}",
                     "-" if norm is None else f"{norm:.2f}"])  # fmt: skip
        if apart:
            said.append(verdict(f"Learning by {LEARNT_BY[name]},", f"learning by {LEARNT_BY[rival]},", apart))
    return table(["", "mIoU (sd)", "learning rate", "norm of the gradient, median"], rows) + "\n\n" + bullets(said)


def clipping(results: Results | None) -> str | None:
    """Video-OPD and GRPO with and without clipping."""
    if results is None:
        return None
    rows = []
    for name in CLIPPED:
        method, _, how = name.partition("-")
        clipped, norm = (step_figure(results, name, key) for key in ("share_above_1", "median_grad_norm"))
        rows.append([
            method, HOW[how], spread(mious(results, name)),
            f"{norm:.2f}", f"{clipped:.0%}",
        ])  # fmt: skip
    head = ["", "gradient", "mIoU (sd)", "norm, median", "steps with a norm above 1"]
    said = []
    for method in ("opd", "grpo"):
        for how in ("free", "examples"):
            apart = gap(results, f"{method}-{how}", f"{method}-clipped")
            if apart:
                said.append(verdict(f"{method}, {HOW[how]},", f"{method}, {HOW['clipped']},", apart))
    ahead = {how: gap(results, f"opd-{how}", f"grpo-{how}") for how in HOW}
    told = [f"{HOW[how]}: {each}" for how, each in ahead.items() if each]
    clear = [each.mean > 0 for each in ahead.values() if each and each.is_clear]
    change = f"opd is clearly ahead in {sum(clear)} of {len(told)}, grpo in {len(clear) - sum(clear)}."
    said.append(f"opd less grpo: {'; '.join(told)}. {change}")
    return table(head, rows) + "\n\n" + bullets(said)


def in_short(found: dict[str, Results | None]) -> list[str]:
    """The section in sentences."""
    said = []
    if results := found.get("released"):
        apart = gap(results, "released", "ours")
        said.append(
            f"**The authors' released settings.** opd reaches {miou(results, 'ours'):.3f} with our settings and "
            f"{miou(results, 'released'):.3f} with theirs ({apart})."
        )
    if results := found.get("clipping"):
        shares = {name: step_figure(results, f"{name}-clipped", "share_above_1") for name in ("opd", "grpo")}
        ahead = {how: gap(results, f"opd-{how}", f"grpo-{how}") for how in ("clipped", "free")}
        said.append(
            f"**Clipping.** With the mean over tokens, {shares['opd']:.0%} of opd's steps and {shares['grpo']:.0%} of "
            f"grpo's have a gradient above the norm of 1. opd less grpo is {ahead['clipped']} with clipping and "
            f"{ahead['free']} without."
        )
    return said
