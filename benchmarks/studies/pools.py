"""The pools behind docs/CURRICULUM.md: rendered worlds, and manifests over them.

worlds/{audit,heavy,clean,scraped}/   rendered; audit, heavy and clean hold the same clips and questions
worlds/{large,large-clean}/           the same for longer runs; both hold the same clips and questions
pools/NAME/{train,validation,test}.jsonl
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from video_opd.data import tiny_world
from video_opd.data.manifest import read_manifest, write_manifest
from video_opd.types import Example

NUM_POOL = 1920
"""Training queries of a pool: four times what a run trains on."""
NUM_LARGE = 12800
"""The same of a run of 200 steps."""
NOISE = {"clean": (0.0, 0.0), "audit": (0.20, 0.35), "heavy": (0.60, 0.35), "scraped": (1.0, 0.0),
         "large": (0.20, 0.35), "large-clean": (0.0, 0.0)}  # fmt: skip
"""Shares of wrong and of imprecise spans. `audit`: as TimeLens found them in Charades-STA."""
SEEDS = {"scraped": 1, "large": 2, "large-clean": 2}
HOMES = {"clean": "audit", "heavy": "audit", "large-clean": "large"}
"""Where the clips of a world are that holds the same ones as another."""
PRIMARIES = ("red", "green", "blue")


def build(out: Path) -> None:
    """Render and write what is missing."""
    for name, (wrong, imprecise) in NOISE.items():
        folder = out / "worlds" / name
        noise = tiny_world.LabelNoise(wrong_share=wrong, imprecise_share=imprecise)
        sizes = {"train": NUM_LARGE if name.startswith("large") else NUM_POOL, "validation": 96, "test": 400}
        settings = tiny_world.BuildSettings(seed=SEEDS.get(name, 0), noise=noise, num_queries=sizes)
        if tiny_world.read_settings(folder) != settings.describe():
            tiny_world.build(folder, settings)
    for name in ("clean", "audit", "heavy", "large", "large-clean"):
        _write(out, name, lambda world=name: _rows(out, world, "train"))
    _write(out, "two-sources", lambda: _two_sources(out))
    _write(out, "two-colours", lambda: [_by_colour(row) for row in _rows(out, "audit", "train")])


def manifest(out: Path, pool: str, split: str = "train") -> Path:
    """Where it is."""
    return out / "pools" / pool / f"{split}.jsonl"


def _rows(out: Path, world: str, split: str) -> list[Example]:
    """Of a world, with video paths that start at the folder of all worlds; the clips of a seed are rendered alike."""
    home = HOMES.get(world, world)
    rows = read_manifest(out / "worlds" / world / f"{split}.jsonl")
    return [replace(row, video=f"{home}/videos/{row.video}") for row in rows]


def _write(out: Path, pool: str, train: Callable[[], list[Example]]) -> None:
    for split in ("train", "validation", "test"):
        path = manifest(out, pool, split)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(path, train() if split == "train" else _rows(out, "audit", split))


def _two_sources(out: Path) -> list[Example]:
    """Half of it annotated as usual, half of it with spans that are all wrong."""
    half = NUM_POOL // 2
    curated = [replace(row, source="curated") for row in _rows(out, "audit", "train")[:half]]
    scraped = [replace(row, id=f"scraped-{row.id}", source="scraped") for row in _rows(out, "scraped", "train")[:half]]
    return curated + scraped


def _by_colour(row: Example) -> Example:
    colour = row.query.split()[1]
    return replace(row, source="primaries" if colour in PRIMARIES else "others")
