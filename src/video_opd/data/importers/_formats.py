"""The formats of annotation files: where each is read, and what an option does for it. Imports no importer, so that
`--help` can list the names.

An importer is a file of this folder and a line in `FORMATS`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from video_opd.errors import ConfigurationError
from video_opd.plugin_table import PluginTable, require_function, require_name

if TYPE_CHECKING:
    from video_opd.data.importers._annotation import Importer

OPTIONS = ("columns", "unit", "fps", "template", "annotators")
"""Parts of `ReadOptions` that some formats heed and others do not."""
_TABLE = ("columns", "unit", "fps")


class Format(NamedTuple):
    """One format of annotation files."""

    read: str | Importer
    """What reads it, as "module.function" of this folder; or the function itself."""
    heeds: tuple[str, ...] = ()
    """Those of `OPTIONS` that change how it is read."""
    is_general: bool = False
    """A file is not said to look like it where a data set's own format reads the file too."""
    is_read_together: bool = False
    """One of its files says nothing without the other."""


FORMATS: PluginTable[Format] = PluginTable(
    "an importer",
    __package__,
    {
        "activitynet": Format("database.read"),
        "activitynet-captions": Format("activitynet_captions.read"),
        "activitynet-cg": Format("cg_splits.read_activitynet"),
        "cg-bench": Format("cg_bench.read"),
        "charades-sta": Format("charades_sta.read"),
        "charades-cg": Format("cg_splits.read_charades"),
        "coin": Format("database.read"),
        "cosmo-cap": Format("cosmo_cap.read"),
        "csv": Format("generic.read_csv", heeds=_TABLE, is_general=True),
        "didemo": Format("didemo.read", heeds=("annotators",)),
        "ego4d-nlq": Format("ego4d_nlq.read"),
        "hirest": Format("hirest.read"),
        "hirest-steps": Format("hirest.read_steps"),
        "howto-interlink": Format("cosmo_cap.read"),
        "internvid-vtime": Format("internvid_vtime.read"),
        "json": Format("generic.read_jsonl", heeds=_TABLE, is_general=True),
        "jsonl": Format("generic.read_jsonl", heeds=_TABLE, is_general=True),
        "moments": Format("moments.read", is_general=True),
        "museg": Format("museg.read"),
        "nextgqa": Format("nextgqa.read", is_read_together=True),
        "queryd": Format("queryd.read", is_read_together=True),
        "qvhighlights": Format("qvhighlights.read"),
        "sft": Format("sft.read", heeds=("template",), is_general=True),
        "tacos": Format("tacos.read"),
        "time-r1": Format("time_r1.read"),
        "timelens-100k": Format("timelens_100k.read"),
        "timelens-bench": Format("timelens_bench.read"),
        "timelens2": Format("timelens2.read"),
        "tvgbench": Format("tvgbench.read"),
        "unitime": Format("unitime.read"),
        "video-opd": Format("video_opd.read", heeds=("template",), is_general=True),
        "vue-tr": Format("vue_tr.read"),
        "youcook2": Format("database.read"),
    },
    definition=lambda format: format.read,
)
"""Name, as `data import` takes it, -> the format."""


def register_importer(
    name: str,
    read: Importer | None = None,
    *,
    heeds: tuple[str, ...] = (),
    is_general: bool = False,
    is_read_together: bool = False,
) -> Any:
    """Offer an importer of one's own to `video-opd data import NAME`.

    Call it with the function, or use it as a decorator: `@register_importer("mine")`. It gives the function back.

    Args:
        name: lower-case letters, digits, dots, dashes and underscores.
        read: takes the files and a `ReadOptions`, yields an `Annotation` for each question in the order of the files;
            refuses the first record that is not of the format: `record.refuse(reason)`.
        heeds: those of `OPTIONS` that it reads in the `ReadOptions`; the command refuses the others.
        is_general: a file is not said to look like this format where a data set's own format reads the file too.
        is_read_together: the files make sense only together.

    Raises:
        ConfigurationError: the name is taken, or is none, or one of `heeds` is no option.
    """
    options: dict[str, Any] = {"heeds": tuple(heeds), "is_general": is_general, "is_read_together": is_read_together}
    if read is None:
        require_name("an importer", name)
        return partial(register_importer, name, **options)
    if unknown := [option for option in heeds if option not in OPTIONS]:
        raise ConfigurationError(
            f"heeds = {unknown[0]!r} of the importer {name!r}",
            reason="no option has that name",
            remedy=f"give some of {', '.join(OPTIONS)}",
        )
    require_function("an importer", name, read)
    FORMATS.register(name, Format(read, **options))
    return read


ANNOTATORS = ("consensus", "majority", "mean", "all")
"""What several annotators of DiDeMo amount to; see `didemo`."""
UNITS = ("seconds", "milliseconds", "frames", "percent", "fraction", "clock")
"""Of the times of `csv` and `jsonl`."""
BEYOND = ("keep", "clip", "drop")
"""What becomes of spans that end after their video."""
QUERIES = ("as-is", "trim", "timelens", "time-r1", "quoted", "ego4d")
"""What is done to the words of a query; see `video_opd.data.query_words`."""
