"""TensorBoard: event files in a folder, written by TensorBoard's own writer, without torch."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from video_opd.errors import ConfigurationError
from video_opd.trackers import StartedRun, TrackedRun


class TensorBoardTracker:
    """One folder a run. The id is the folder, from the run folder."""

    package: ClassVar[str] = "tensorboard"

    def start(self, run: TrackedRun) -> StartedRun:
        """Open a new event file. What older files hold from `next_step` on is no longer shown."""
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if run.store and (run.name in ("", ".", "..") or set(run.name) & {"/", "\\", "\0"}):
            raise ConfigurationError(
                f"the run name {run.name!r}",
                reason="TensorBoard's files go to a folder of that name, and it is not the name of a folder",
                remedy="give a name without slashes with --run-name, or as tracker.run_name in the recipe",
            )
        home, number = (run.store / run.name).absolute() if run.store else run.folder / "tensorboard", 1
        folder = run.folder / run.id if run.id else home
        while not run.id and folder.exists():  # of another run, or of this one before it began again
            number += 1
            folder = home.with_name(f"{home.name}-{number}")
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(folder))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(0 if run.replaces else run.next_step, session_log=start)
        if not run.id or run.replaces:
            text = "    " + json.dumps(run.config, indent=2).replace("\n", "\n    ")
            shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
            value = tensor_pb2.TensorProto(dtype="DT_STRING", tensor_shape=shape, string_val=[text.encode()])
            plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="text", content=b"")
            metadata = summary_pb2.SummaryMetadata(plugin_data=plugin)
            recipe = self._summary.Value(tag="recipe/text_summary", metadata=metadata, tensor=value)
            self._add(0, summary=self._summary(value=[recipe]))
        where = f"`tensorboard --logdir {shlex.quote(str(folder.absolute()))}`"
        return StartedRun(str(folder) if run.store else folder.name, where)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers to the file."""
        values = [self._summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        self._add(step, summary=self._summary(value=values))
        self._writer.flush()

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(self._event(wall_time=time.time(), step=step, **content))
