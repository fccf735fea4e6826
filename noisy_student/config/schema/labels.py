"""Options of pseudo labels and their selection."""

from dataclasses import dataclass

from noisy_student.config.option import option
from noisy_student.config.schema.model import NoiseConfig


@dataclass(frozen=True)
class LabelConfig:
    """Pseudo labels: what a teacher stores.

    With ``noise`` the teacher is noised, which the method is not: images by this, drawn from
    ``noise_seed``, and the network by its own dropout and stochastic depth.
    """

    store_top_k: int | None = option(
        None, "Largest probabilities to store; the rest is spread evenly. Unset: all.", low=1
    )
    probabilities_dtype: str = option(
        "float16", "Number format of stored probabilities.", choices=("float16", "float32")
    )
    calibrate: bool = option(
        False, "Divide the teacher's logits by the temperature that fits the validation images."
    )
    noise: NoiseConfig | None = None
    noise_seed: int | None = None


@dataclass(frozen=True)
class NoisedTeacherConfig:
    """Noised teacher (an ablation of the paper)."""

    noised_labels: bool = option(
        False, "Noise the teacher: label augmented images with dropout and stochastic depth on."
    )


@dataclass(frozen=True)
class SelectionConfig:
    """Selection: filter and balance of pseudo labels."""

    min_confidence: float = option(
        0.3, "Smallest confidence of a pseudo label that is kept.", low=0, high=1
    )
    images_per_class: int | str = option(
        "auto",
        "Target number of images per class. auto: that of the largest class; none: no balancing, "
        "every image that reaches --min_confidence once.",
        choices=("auto", "none"),
        low=1,
    )
    hard_labels: bool = False
    num_shards: int = option(
        1, "Files of predictions and of selected records.", low=1, high=100_000
    )
    seed: int = 0
    max_copies: int | None = option(
        None, "Largest number of copies of an image that fills up its class. Unset: any.", low=1
    )
    max_confidence: float = option(
        1.0, "Largest confidence of a pseudo label that is kept. 1: any.", low=0, high=1
    )
    published_names: bool = option(
        False,
        "Name the records as the published code does, train-0-00000-of-00001, so that it reads "
        "them.",
    )
    index_only: bool = option(
        False, "Write an index of images to join in training, not records with copies of them."
    )

    def __post_init__(self) -> None:
        """Raises ValueError for options that exclude each other."""
        if self.index_only and self.published_names:
            raise ValueError("--index_only excludes --published_names, the names of records.")
        if self.min_confidence > self.max_confidence:
            raise ValueError(
                f"--min_confidence={self.min_confidence} is above --max_confidence="
                f"{self.max_confidence}: no pseudo label would be kept."
            )
