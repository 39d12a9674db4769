"""A knob is declared once: its key, its flag, its help and its bounds come from the record's field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

from video_opd.config import RoundsSettings, TinyWorldSettings
from video_opd.config.recipe_file import list_recipe_keys
from video_opd.curriculum import CandidateRule, RaceRule, SelectionRule
from video_opd.data.label_noise import LabelNoise
from video_opd.errors import ConfigurationError
from video_opd.settings import Flagged, Positive, Settings, Share, list_fields, make_checked


class Record(Settings):
    """A record."""

    size: Annotated[Positive, Flagged("how-many")]
    """How many
    there are."""
    least_share: Share | None = None
    """The least."""
    out: Path = Path("runs")
    """Where."""


class Other(Record):
    """With another default."""

    least_share: Share = 0.5


def test_a_field_says_all_that_a_command_needs():
    size, share, out = list_fields(Record)
    assert (size.name, size.flag, size.plain_type, size.is_required) == ("size", "how-many", int, True)
    assert (size.help, size.default_text) == ("How many there are.", "required")
    assert (share.flag, share.plain_type, share.default, share.is_required) == ("least-share", float, None, False)
    assert share.default_text == "not set by default"
    assert (out.plain_type, out.default_text) == (Path, 'default: "runs"')
    assert [knob.name for knob in list_fields(Record, "out", "size")] == ["out", "size"]
    assert list_fields(RoundsSettings, "top_k")[0].choices == ("sampled", "beam")


def test_another_default_keeps_the_meaning():
    (share,) = list_fields(Other, "least_share")
    assert (share.help, share.default) == ("The least.", 0.5)


@pytest.mark.parametrize("rule", [SelectionRule, RaceRule])
def test_a_rule_of_the_curriculum_is_the_recipes_own_table(rule):
    assert issubclass(RoundsSettings, rule)
    keys = list_recipe_keys()
    for knob in list_fields(rule):
        assert keys[f"curriculum.{knob.name}"].startswith(f"{knob.help} ({knob.default_text}) [rounds")


def test_the_noise_of_the_tiny_world_is_the_recipes_own_table():
    assert issubclass(TinyWorldSettings, LabelNoise)
    keys = list_recipe_keys()
    for knob in list_fields(TinyWorldSettings):
        assert keys[f"data.tiny_world.{knob.name}"] == f"{knob.help} ({knob.default_text})"
    assert [knob.flag for knob in list_fields(LabelNoise)] == ["wrong-share", "imprecise-share", "jitter"]


def test_a_value_that_does_not_fit_is_refused_in_a_sentence():
    assert make_checked(Record, size=3).size == 3
    with pytest.raises(ConfigurationError, match=r"^size = 0: input should be greater than or equal to 1\."):
        make_checked(Record, size=0)
    with pytest.raises(ConfigurationError, match=r"^no size: field required\."):
        make_checked(Record)
    with pytest.raises(ConfigurationError, match=r"frontier_threshold = 0\.9 is above"):
        make_checked(CandidateRule, frontier_threshold=0.9)
