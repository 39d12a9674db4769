"""A flag that a record of settings defines has the record's name, default, choices, bounds and help."""

from __future__ import annotations

from typing import Annotated

import pytest
from cyclopts import App

from video_opd.cli.application import DEFAULTS, list_arguments, list_commands
from video_opd.cli.record_flags import add_record_flags
from video_opd.curriculum.racing import RaceRule
from video_opd.curriculum.selection_rule import SelectionRule
from video_opd.data.label_noise import LabelNoise
from video_opd.settings import Flagged, Settings, Share, list_fields

RECORDS = {"select": SelectionRule, "score": RaceRule, "tiny-world build": LabelNoise}


@pytest.mark.parametrize("command", RECORDS)
def test_every_field_is_a_flag(command):
    flags = {argument.name: argument for argument in list_arguments(dict(list_commands())[command])}
    for knob in list_fields(RECORDS[command]):
        argument = flags[f"--{knob.flag}"]
        assert argument.parameter.help == knob.help != ""
        assert argument.required == knob.is_required
        if not knob.is_required:
            assert argument.field_info.default == knob.default
        assert (argument.get_choices() or ()) == knob.choices


class Throwaway(Settings):
    """A record with one field more than any other."""

    sparkle: Annotated[Share, Flagged("shine")] = 0.5
    """How much of it shines."""


def test_a_new_field_is_a_flag_at_once_and_the_command_gets_the_record(capsys):
    got = []

    def polish(*, by: Throwaway = Throwaway()) -> int:  # noqa: B008 - a frozen record
        got.append(by)
        return 0

    polish.__annotations__ = {"by": Throwaway, "return": int}
    app = App(name="polish", default_parameter=DEFAULTS, help_format="plaintext")
    app.default(add_record_flags(polish))
    for words, expected in ((["--shine", "0.25"], 0.25), ([], 0.5)):
        function, bound, *_ = app.parse_known_args(words)
        bound.apply_defaults()
        assert function(*bound.args, **bound.kwargs) == 0
        assert got.pop() == Throwaway(sparkle=expected)
    app.help_print([])
    assert "How much of it shines." in capsys.readouterr().out
