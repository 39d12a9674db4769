"""Section 8 of docs/CLAIMS.md: the authors' released settings, and what clipping does to a comparison of methods."""

from __future__ import annotations

from comparing import Results, gap, miou, step_figure, verdict
from markdown import bullets, spread, table
from release_studies import CLIPPED, DIFFERENCES, DIVERGENCES

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
COSTS = {
    "reverse": "reverse KL, own answers",
    "forward": "forward KL, own answers",
    "jsd-10": "generalised JSD with beta 0.1, own answers",
    "jsd-50": "generalised JSD with beta 0.5, own answers",
    "jsd-90": "generalised JSD with beta 0.9, own answers",
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
            WORDS[name], spread([run["scores"]["miou"] for run in results["methods"][name]["runs"]]),
            "" if apart is None else str(apart), f"{norm:.1f}", f"{clipped:.0%}",
        ])  # fmt: skip
    head = ["", "mIoU (sd)", "against ours", "norm of the gradient, median", "steps that are clipped"]
    apart = {name: gap(results, name, "ours") for name in DIFFERENCES if name != "ours"}
    clear = [f"{WORDS[name]} ({each})" for name, each in apart.items() if each and each.is_clear]
    known = sum(each is not None for each in apart.values())
    said = [
        f"{len(clear)} of {known} differences are clear{': ' + '; '.join(clear) if clear else ''}.",
        "AdamW divides the gradient by its own size. A constant factor, such as an answer's length, therefore acts "
        "through the clipping only: a clipped step moves as far as another, but its examples count less in the "
        "averages of AdamW.",
    ]
    return table(head, rows) + "\n\n" + bullets(said)


def divergences(results: Results | None) -> str | None:
    """GKD's divergences on own answers, and its mix of own and annotated answers."""
    if results is None:
        return None
    rows = [
        [COSTS[name], spread([run["scores"]["miou"] for run in results["methods"][name]["runs"]]),
         str(gap(results, name, "reverse") or ""), f"{step_figure(results, name, 'median_grad_norm'):.2f}"]
        for name in DIVERGENCES
    ]  # fmt: skip
    said = [
        verdict(COSTS[name], COSTS["reverse"], apart)
        for name in DIVERGENCES
        if name != "reverse" and (apart := gap(results, name, "reverse"))
    ]
    head = ["", "mIoU (sd)", "against the reverse KL", "norm of the gradient, median"]
    return table(head, rows) + "\n\n" + bullets(said)


def clipping(results: Results | None) -> str | None:
    """Video-OPD and GRPO with and without clipping."""
    if results is None:
        return None
    rows = []
    for name in CLIPPED:
        method, _, how = name.partition("-")
        clipped, norm = (step_figure(results, name, key) for key in ("share_above_1", "median_grad_norm"))
        rows.append([
            method, HOW[how], spread([run["scores"]["miou"] for run in results["methods"][name]["runs"]]),
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
    signs = {(each.mean > 0) if each.is_clear else None for each in ahead.values() if each}
    if signs == {None}:
        change = "Neither method is clearly ahead, however the gradient is clipped."
    else:
        change = f"The clipping {'changes' if len(signs) > 1 else 'does not change'} which method is clearly ahead."
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
