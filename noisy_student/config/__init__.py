"""Options of a run."""

from noisy_student.config.command import FLAGS, fixres, from_flags, required, run, student
from noisy_student.config.settings import (
    AttackConfig,
    Config,
    DataConfig,
    DeviceConfig,
    EvaluationConfig,
    LabelConfig,
    LogConfig,
    ModelConfig,
    NoiseConfig,
    OptimizerConfig,
    RobustnessConfig,
    SelectionConfig,
    TrainConfig,
)

__all__ = [
    "FLAGS",
    "AttackConfig",
    "Config",
    "DataConfig",
    "DeviceConfig",
    "EvaluationConfig",
    "LabelConfig",
    "LogConfig",
    "ModelConfig",
    "NoiseConfig",
    "OptimizerConfig",
    "RobustnessConfig",
    "SelectionConfig",
    "TrainConfig",
    "fixres",
    "from_flags",
    "required",
    "run",
    "student",
]
