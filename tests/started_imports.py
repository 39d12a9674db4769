"""What the process imports from which `started` forks."""

import transformers.models.qwen3_vl.modeling_qwen3_vl
import transformers.models.qwen3_vl.processing_qwen3_vl  # noqa: F401

import video_opd.cli.application
import video_opd.compare.comparison_runs
import video_opd.eval.evaluate_into_file
import video_opd.eval.score_into_file
import video_opd.report
import video_opd.train.run  # noqa: F401
