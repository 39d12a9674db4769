"""Whether a tracker can be used, before any model is loaded and any package of a tracker is imported."""

from __future__ import annotations

from importlib.util import find_spec

from video_opd.config.tracker_settings import TrackerSettings
from video_opd.errors import ConfigurationError
from video_opd.plugins import find_plugin_file
from video_opd.trackers import NO_TRACKER, TRACKERS


def is_tracked(settings: TrackerSettings | None) -> bool:
    """Whether a recipe asks for a tracker."""
    return settings is not None and settings.name != NO_TRACKER


def refuse_unfit_tracker(settings: TrackerSettings, *, is_beside: bool) -> None:
    """Check that a tracker exists and is installed.

    Args:
        settings: the tracker.
        is_beside: a process beside the training will load it.

    Raises:
        ConfigurationError: it cannot be used.
    """
    name = settings.name
    if name == NO_TRACKER:
        raise ConfigurationError(
            f"tracker {name!r}", reason="it shows nothing", remedy=f"choose one of {', '.join(TRACKERS)}"
        )
    if name not in TRACKERS:
        raise ConfigurationError(
            f"tracker {name!r}",
            reason="no tracker has that name",
            remedy=f"{TRACKERS.remedy(name)}; one of your own needs --plugin FILE",
        )
    tracker = TRACKERS[name]
    package = getattr(tracker, "package", "")
    if package and not _is_installed(package):
        is_ours = tracker.__module__.startswith("video_opd.")
        what = f"'video-opd[{name}]'" if is_ours else package
        raise ConfigurationError(
            f"tracker {name!r}",
            reason=f"the package {package} is not installed",
            remedy=f"run `pip install {what}`, or choose another tracker",
        )
    if is_beside and find_own_file(name) is None and not tracker.__module__.startswith("video_opd."):
        raise ConfigurationError(
            f"tracker {name!r}",
            reason="it was registered in this program, and a process beside the training loads it from a plugin file",
            remedy="put it into a file of its own, and give that with --plugin or `video_opd.load_plugin`",
        )


def _is_installed(package: str) -> bool:
    """Whether a package is there, also `a.b`, for which Python imports `a`."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def find_own_file(name: str) -> str | None:
    """The plugin file of a user's own tracker; None for one of ours."""
    file = find_plugin_file(TRACKERS[name])
    return None if file is None else str(file.absolute())
