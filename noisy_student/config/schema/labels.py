"""Options for pseudo labels and their selection."""

from dataclasses import dataclass

from noisy_student.config.option import option
from noisy_student.config.schema.model import NoiseConfig


@dataclass(frozen=True)
class LabelConfig:
    """Pseudo labels: how a teacher labels and what it stores.

    With ``noise`` the teacher is noised, unlike in the method: its images by ``noise``, drawn from
    ``noise_seed``, and its network by its own dropout and stochastic depth.
    """

    store_top_k: int | None = option(
        None,
        "Number of top probabilities to store per image; the remaining mass is spread evenly over "
        "the other classes. Unset: all.",
        low=1,
    )
    probabilities_dtype: str = option(
        "float16", "Number format of stored probabilities.", choices=("float16", "float32")
    )
    calibrate: bool = option(
        False, "Divide the teacher's logits by a temperature fitted on the validation images."
    )
    noise: NoiseConfig | None = None
    noise_seed: int | None = None


@dataclass(frozen=True)
class NoisedTeacherConfig:
    """Noised teacher (ablation)."""

    noised_labels: bool = option(
        False,
        "Add noise to the teacher: label augmented images with dropout and stochastic depth on, as "
        "in the paper's ablation.",
    )


@dataclass(frozen=True)
class SelectionConfig:
    """Selection: filtering and balancing of pseudo labels."""

    min_confidence: float = option(
        0.3, "Minimum confidence of a pseudo label to be kept.", low=0, high=1
    )
    images_per_class: int | str = option(
        "auto",
        "Target number of images per class. auto: the number in the largest class; none: no "
        "balancing, each image that reaches --min_confidence is used once.",
        choices=("auto", "none"),
        low=1,
    )
    hard_labels: bool = False
    num_shards: int = option(
        1, "Number of files for the predictions, and for the selected records.", low=1, high=100_000
    )
    seed: int = 0
    max_copies: int | None = option(
        None, "Maximum number of copies of an image in a small class. Unset: no limit.", low=1
    )
    max_confidence: float = option(
        1.0, "Maximum confidence of a pseudo label to be kept. 1: no limit.", low=0, high=1
    )
    published_names: bool = option(
        False,
        "Name the records train-0-00000-of-00001, as the published code does, so that it can read "
        "them.",
    )
    index_only: bool = option(
        False, "Write only an index, joined with the images in training, instead of image records."
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
