"""What the process imports from which `started` forks. Its objects stay; the collector does not walk over them."""

import gc


def load() -> None:
    """Import what commands need."""
    import transformers.models.qwen3_vl.modeling_qwen3_vl
    import transformers.models.qwen3_vl.processing_qwen3_vl  # noqa: F401

    import video_opd.cli.application
    import video_opd.compare.comparison_runs
    import video_opd.eval.evaluate_into_file
    import video_opd.eval.score_into_file
    import video_opd.report
    import video_opd.train.run  # noqa: F401


gc.disable()
load()
gc.freeze()
gc.enable()
