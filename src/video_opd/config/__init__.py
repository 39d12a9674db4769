"""The settings of a run: the tables of a recipe, frozen; every key has its type, its default and its meaning.

`recipe_file.py` reads them from TOML. Nothing in here imports torch or transformers.
"""

from video_opd.config.compute_settings import ComputeSettings
from video_opd.config.curriculum_settings import (
    CURRICULA,
    CouplingSettings,
    CurriculumSettings,
    RoundsSettings,
    ScoringSettings,
    SelectionFileSettings,
    TVDFSettings,
    WholePoolSettings,
)
from video_opd.config.grounding_defaults import (
    GROUNDING_FILE,
    AnswerSettings,
    GroundingDefaults,
    PromptSettings,
    RolloutSettings,
    SideQuestionSettings,
    VideoSettings,
)
from video_opd.config.model_settings import ITSELF, StudentSettings, TeacherSettings, ViewSettings
from video_opd.config.recipe import DataSettings, Recipe, ScheduleSettings, TinyWorldSettings
from video_opd.config.training_settings import TrainingSettings
from video_opd.config.watch_settings import WatchSettings
from video_opd.settings import Settings

__all__ = [
    "CURRICULA",
    "GROUNDING_FILE",
    "ITSELF",
    "AnswerSettings",
    "ComputeSettings",
    "CouplingSettings",
    "CurriculumSettings",
    "DataSettings",
    "GroundingDefaults",
    "PromptSettings",
    "Recipe",
    "RolloutSettings",
    "RoundsSettings",
    "ScheduleSettings",
    "ScoringSettings",
    "SelectionFileSettings",
    "Settings",
    "SideQuestionSettings",
    "StudentSettings",
    "TVDFSettings",
    "TeacherSettings",
    "TinyWorldSettings",
    "TrainingSettings",
    "VideoSettings",
    "ViewSettings",
    "WatchSettings",
    "WholePoolSettings",
]
