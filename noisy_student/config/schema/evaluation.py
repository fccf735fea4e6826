"""Options of the evaluation."""

from dataclasses import dataclass

from noisy_student import robustness
from noisy_student.config.option import option
from noisy_student.config.schema.model import MAX_SIDE

STORED_BENCHMARKS = (
    *("imagenet_a", "imagenet_r", "imagenet_v2"),
    *("imagenet_c", "imagenet2012_corrupted", "imagenet_p", "cifar10_c", "cifar10_p"),
)
_CLASS_FOLDERS = "one folder per class, named by WordNet id, or tfds:NAME"


@dataclass(frozen=True)
class AttackConfig:
    """Adversarial attacks: sizes in pixel units of 0 to 255."""

    fgsm_epsilons: tuple[float, ...] = option(
        (1.0, 2.0, 4.0, 8.0, 16.0),
        "Step sizes of FGSM (paper, arXiv v4, figure 4).",
        name="epsilons",
        low=0,
        high=255,
    )
    fgsm_examples: int = option(0, "Test images attacked by FGSM, all classes. 0: all.", low=0)
    pgd_epsilons: tuple[float, ...] = option(
        (4.0, 16.0), "Largest changes of a pixel by PGD.", low=0, high=255
    )
    pgd_examples: int = option(0, "Test images attacked by PGD, all classes. 0: all.", low=0)
    steps: int = option(
        10, "Steps of PGD (arXiv v4, section 3.4).", name="attack_steps", low=1, high=100_000
    )
    step_size: float | None = option(
        None,
        "Step size of PGD. Unset: 2.5 * epsilon / steps (not of the paper, which gives none).",
        name="attack_step_size",
        low=0.001,
        high=255,
    )
    random_start: bool = option(
        True,
        "Start PGD at a random point within epsilon (not of the paper, which does not say).",
        name="attack_random_start",
    )
    restarts: int = option(
        1, "PGD attacks that an image must withstand.", name="attack_restarts", low=1, high=1000
    )
    square_epsilons: tuple[float, ...] = option(
        (4.0, 16.0), "Largest changes of a pixel by the Square attack.", low=0, high=255
    )
    square_examples: int = option(
        1000, "Test images attacked by the Square attack, all classes. 0: all.", low=0
    )
    square_queries: int = option(
        500, "Forward passes per image of the Square attack.", low=1, high=100_000
    )


@dataclass(frozen=True)
class RobustnessConfig:
    """Corruptions and perturbations, generated here or downloaded."""

    corruptions: tuple[str, ...] = option(
        ("all",),
        "Generated corruptions; all: the 15 of the benchmark, without the last four named here.",
        choices=(
            *("all", *robustness.CORRUPTIONS),
            *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
        ),
    )
    severities: tuple[int, ...] = option(
        (1, 2, 3, 4, 5), "Severities of the generated corruptions.", choices=(1, 2, 3, 4, 5)
    )
    perturbations: tuple[str, ...] = option(
        ("all",),
        "Generated perturbation sequences; all: the 10 of the benchmark (at 32 pixels with spatter "
        "in place of snow).",
        choices=("all", *robustness.PERTURBATIONS, "spatter"),
    )
    examples: int = option(
        0,
        "Test images to corrupt and perturb, of all classes, the same for every seed. 0: all.",
        name="robustness_examples",
        low=0,
    )
    corruption_cache: str | None = option(
        None,
        "Directory that keeps generated images for the next model, uncompressed (at 224 pixels "
        "11 MB an image for corruptions, 48 MB for perturbations). Unset: generated each time.",
        changes_result=False,
    )
    imagenet_a_dir: str | None = option(None, f"ImageNet-A: {_CLASS_FOLDERS}.")
    imagenet_r_dir: str | None = option("tfds:imagenet_r", f"ImageNet-R: {_CLASS_FOLDERS}.")
    imagenet_v2_dir: str | None = option("tfds:imagenet_v2", f"ImageNet-V2: {_CLASS_FOLDERS}.")
    imagenet_c_dir: str | None = option(
        None, "ImageNet-C: [group/]corruption/severity/class/image."
    )
    imagenet2012_corrupted_dir: str | None = option(
        "tfds:imagenet2012_corrupted", "ImageNet-C as tensorflow-datasets remade it: tfds:NAME."
    )
    imagenet_p_dir: str | None = option(None, "ImageNet-P: [group/]perturbation/class/video.mp4.")
    cifar10_c_dir: str | None = option(
        None, "CIFAR-10-C: one .npy file per corruption, and labels.npy."
    )
    cifar10_p_dir: str | None = option(None, "CIFAR-10-P: one .npy file per perturbation.")
    data_dir: str | None = None

    @property
    def folders(self) -> dict[str, str | None]:
        """Folder, or tfds:NAME, of each stored benchmark."""
        return {name: getattr(self, f"{name}_dir") for name in STORED_BENCHMARKS}


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Evaluation: benchmarks and resolution."""

    benchmarks: tuple[str, ...] = option(
        ("clean", "fgsm"),
        "Benchmarks to run: clean, corruptions, perturbations, fgsm, pgd, square, or stored ones: "
        f"{', '.join(STORED_BENCHMARKS)}.",
    )
    attack: AttackConfig
    robustness: RobustnessConfig
    batch_size: int
    image_size: int | None = option(
        None,
        "Test resolution. Unset: that of the model.",
        name="test_image_size",
        low=1,
        high=MAX_SIDE,
    )
    pixels: str | None = option(
        None,
        "Test images after resizing: uint8 (truncated, as in training) or float32 (not truncated, "
        "as in the published code). Generated corruptions and perturbations are always uint8. "
        "Unset: those of the model, uint8 for models trained here.",
        name="test_pixels",
        choices=("uint8", "float32"),
    )
    seed: int
