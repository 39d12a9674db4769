"""What a run is: the tables of a recipe, frozen, every key with its type, its default and what it means.

`file.py` reads them from TOML. Nothing in here imports torch or transformers.
"""

from video_opd.recipe.methods import (
    METHODS,
    AblationName,
    AnnotationSettings,
    GRPOSettings,
    MethodSettings,
    MixtureSettings,
    OffPolicyForwardSettings,
    OffPolicyReverseSettings,
    OnPolicyDistillationSettings,
    RewardSettings,
    SupervisedSettings,
)
from video_opd.recipe.tables import (
    GROUNDING_FILE,
    AnswerSettings,
    ComputeSettings,
    DataSettings,
    GroundingDefaults,
    PromptSettings,
    Recipe,
    ScheduleSettings,
    SideQuestionSettings,
    StudentSettings,
    TeacherSettings,
    TinyWorldSettings,
    TrainingSettings,
    VideoSettings,
)
from video_opd.recipe.types import Settings

__all__ = [
    "GROUNDING_FILE",
    "METHODS",
    "AblationName",
    "AnnotationSettings",
    "AnswerSettings",
    "ComputeSettings",
    "DataSettings",
    "GRPOSettings",
    "GroundingDefaults",
    "MethodSettings",
    "MixtureSettings",
    "OffPolicyForwardSettings",
    "OffPolicyReverseSettings",
    "OnPolicyDistillationSettings",
    "PromptSettings",
    "Recipe",
    "RewardSettings",
    "ScheduleSettings",
    "Settings",
    "SideQuestionSettings",
    "StudentSettings",
    "SupervisedSettings",
    "TeacherSettings",
    "TinyWorldSettings",
    "TrainingSettings",
    "VideoSettings",
]
