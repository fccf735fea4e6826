"""Options of a run: declared in `schema`, read from flags or given in Python as `Config`."""

from noisy_student.config.command import run
from noisy_student.config.flags import parse
from noisy_student.config.schema import (
    AttackConfig,
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
    UnlabeledNoiseConfig,
)
from noisy_student.config.settings import Config
