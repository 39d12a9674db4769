"""The authors' released settings against ours, one difference at a time; and what clipping does to a comparison."""

from __future__ import annotations

from study import EXACT, METHODS, OPD, Method, Study, Tables

SUM_OVER_TOKENS: Tables = {"training": {"normalise": "examples"}}
TRUNCATED: Tables = {"answers": {"top_p": 0.8, "top_k": 20}}
"""As in the generation config of Qwen3-VL-8B-Instruct."""
SCHEDULE: Tables = {"training": {"warmup_steps": 0, "warmup_share": 0.03, "decay": "cosine"}}
"""Our recipe for the tiny world has a warm-up of 5 % and a linear decay."""
WARM_UP: Tables = {"training": {"warmup_steps": 0, "warmup_share": 0.03}}
NO_WARM_UP: Tables = {"training": {"warmup_steps": 0}}
ADAMW: Tables = {"training": {"weight_decay": 0.1, "betas": [0.9, 0.95]}}
FLAT: Tables = {"training": {"warmup_steps": 0, "decay": "none"}}
NEVER_CLIPPED: Tables = {"training": {"clip_norm": 1e9}}

DIFFERENCES: dict[str, Tables] = {
    "ours": {},
    "examples": SUM_OVER_TOKENS,
    "temperature": {"answers": {"temperature": 0.9}},
    "truncated": TRUNCATED,
    "temperature-truncated": {"answers": {"temperature": 0.9} | TRUNCATED["answers"]},
    "warm-up": WARM_UP,
    "no-warm-up": NO_WARM_UP,
    "schedule": SCHEDULE,
    "adamw": ADAMW,
    "flat": FLAT,
    "released": {
        "training": SUM_OVER_TOKENS["training"] | SCHEDULE["training"] | ADAMW["training"],
        "answers": {"temperature": 0.9} | TRUNCATED["answers"],
    },
}

CLIPPED: dict[str, tuple[Method, Tables]] = {
    f"{name}-{how}": (METHODS[name], tables)
    for name in ("opd", "grpo")
    for how, tables in (("clipped", {}), ("free", NEVER_CLIPPED), ("examples", SUM_OVER_TOKENS))
}


DIVERGENCES: dict[str, Method] = {
    "reverse": EXACT,
    "forward": EXACT | {"divergence": "forward-kl"},
    "jsd-10": EXACT | {"divergence": "jsd", "beta": 0.1},
    "jsd-50": EXACT | {"divergence": "jsd", "beta": 0.5},
    "jsd-90": EXACT | {"divergence": "jsd", "beta": 0.9},
    "sampled": OPD,
    "half-own": EXACT | {"own_share": 0.5},
    "half-own-sampled": OPD | {"own_share": 0.5},
}
"""GKD's divergences on own answers, and its mix of own and annotated answers."""


def studies() -> dict[str, Study]:
    """All of them, in the order in which they are run."""
    return {
        "released": Study(
            methods=dict.fromkeys(DIFFERENCES, OPD), changes=DIFFERENCES, seeds=(0, 1, 2),
            rate_of=dict.fromkeys(DIFFERENCES, "opd"),
        ),
        "clipping": Study(
            methods={name: method for name, (method, _) in CLIPPED.items()},
            changes={name: tables for name, (_, tables) in CLIPPED.items()}, seeds=(0, 1, 2),
            rate_of={name: name.partition("-")[0] for name in CLIPPED},
        ),
        "divergences": Study(
            methods=DIVERGENCES, seeds=(0, 1, 2),
            rate_of={name: "opd" if name.endswith("sampled") else "opd-exact" for name in DIVERGENCES},
        ),
    }  # fmt: skip
