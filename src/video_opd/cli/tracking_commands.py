"""`track`."""

from __future__ import annotations

import sys
from json import dumps
from typing import Annotated

from cyclopts import Parameter

from video_opd.cli.argument_types import Plugins, load_plugins
from video_opd.cli.path_roles import GoesOn
from video_opd.cli.record_flags import add_record_flags
from video_opd.config.tracker_settings import TrackerSettings
from video_opd.errors import ConfigurationError
from video_opd.terminal import show


@add_record_flags
def track(
    runs: tuple[GoesOn, ...],
    /,
    *,
    settings: TrackerSettings,
    replace: Annotated[bool, Parameter(help="send everything again, in the place of what the tracker has")] = False,
    plugin: Plugins = (),
    json: Annotated[bool, Parameter(help="a list on stdout, with one JSON object for each run")] = False,
) -> int:
    """Send the numbers of runs to a tracker. A run that is there already is not sent twice.

    Args:
        runs: folders of runs; the folder of a comparison gives all its runs

    Example:
        video-opd track runs/tiny --to tensorboard
        video-opd track runs/compare --to wandb --project grounding
    """
    from video_opd.trackers.replay import as_json, complete_settings, find_runs, replay
    from video_opd.trackers.unfit_trackers import refuse_unfit_tracker

    load_plugins(plugin)
    refuse_unfit_tracker(settings, is_beside=False)
    found = find_runs(runs)
    if settings.run_name is not None and len(found) > 1:
        raise ConfigurationError(
            f"--run-name with {len(found)} runs",
            reason="all would have the same name",
            remedy="leave it out: each has the name of its folder",
        )
    sent = []
    for run, group in found:
        done = replay(run, complete_settings(run, settings, group), replaces=replace)
        for reason in done.unreadable:
            show(f"video-opd: warning: {reason}", file=sys.stderr)
        if not json and done.num_sent:
            show(f"{run}: {done.num_sent} rows and evaluations sent to {settings.name}, {done.where}")
        elif not json:
            show(f"{run} is in {settings.name} already, {done.where}. Nothing was sent; --replace sends it again.")
        sent.append(as_json(done))
    if json:
        show(dumps(sent, indent=2))
    return 0
