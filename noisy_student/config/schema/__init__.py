"""Every option, declared once, and the settings passed to the stages.

A field created by `option` is both a flag of that name, listed in ``--help`` under the first line
of its class, and an argument of `noisy_student.config.Config`. All other fields are derived from
options (`noisy_student.config.settings`). Defaults are the paper's (Xie et al., arXiv v4, section
3.1) where it gives a value. Imports nothing that needs TensorFlow, images or networks.
"""

from typing import Any

from noisy_student.config.schema.commands import (
    CardCommandConfig,
    EvaluateCommandConfig,
    ExportCommandConfig,
    LabelCommandConfig,
    PlanCommandConfig,
    PredictCommandConfig,
    ReportCommandConfig,
    SelectCommandConfig,
    StudyCommandConfig,
    TrainCommandConfig,
    WorkdirConfig,
)
from noisy_student.config.schema.data import DataConfig
from noisy_student.config.schema.evaluation import (
    STORED_BENCHMARKS,
    AttackConfig,
    EvaluationConfig,
    RobustnessConfig,
)
from noisy_student.config.schema.labels import LabelConfig, NoisedTeacherConfig, SelectionConfig
from noisy_student.config.schema.model import (
    ForeignModelConfig,
    FramingConfig,
    ModelConfig,
    NoiseConfig,
    UnlabeledNoiseConfig,
)
from noisy_student.config.schema.runtime import DeviceConfig, LogConfig
from noisy_student.config.schema.sizing import SizingConfig
from noisy_student.config.schema.training import (
    FixResConfig,
    OptimizerConfig,
    RatesConfig,
    RoundsConfig,
    TrainConfig,
)

TRAINING: tuple[type[Any], ...] = (
    RoundsConfig,
    ModelConfig,
    NoiseConfig,
    UnlabeledNoiseConfig,
    TrainConfig,
    OptimizerConfig,
    RatesConfig,
    FixResConfig,
)
LABELS: tuple[type[Any], ...] = (LabelConfig, NoisedTeacherConfig)
EVALUATION: tuple[type[Any], ...] = (EvaluationConfig, AttackConfig, RobustnessConfig)
SETTINGS: tuple[type[Any], ...] = (
    DataConfig,
    *TRAINING,
    *LABELS,
    SelectionConfig,
    *EVALUATION,
    DeviceConfig,
    LogConfig,
)
# Options allowed in a recipe: every command accepts them.
RUN: tuple[type[Any], ...] = (
    *SETTINGS,
    SizingConfig,
    WorkdirConfig,
    TrainCommandConfig,
    LabelCommandConfig,
    SelectCommandConfig,
    EvaluateCommandConfig,
    PlanCommandConfig,
)
# Options accepted only by their own command.
TOOLS: tuple[type[Any], ...] = (
    ReportCommandConfig,
    StudyCommandConfig,
    PredictCommandConfig,
    ExportCommandConfig,
    CardCommandConfig,
    ForeignModelConfig,
)
