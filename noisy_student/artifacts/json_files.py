"""The JSON files that stages hand each other, one type per file, field by field.

Percentages are 0..100, every other accuracy and confidence is 0..1. `splits.json` belongs to
`data.sources.splits`, `decision.json` to `artifacts.decision`, a model's `card.json` to
`artifacts.model_file`.
"""

from typing import Any, NotRequired, TypedDict

from noisy_student.metrics.benchmarks import ATTACKS, CORRUPTED, PERTURBED, TEST_SETS
from noisy_student.metrics.by_class import ClassCounts


class RunConfig(TypedDict):
    """`<workdir>/config.json`: the settings and the environment of a run."""

    command: str  # the command line
    flags: dict[str, Any]  # flag -> value, as the flag defines it
    versions: dict[str, str]  # package -> version
    seed: int
    dataset: str
    class_names: list[str]  # in the order of the logits
    split_sizes: dict[str, int]  # labeled, validation, unlabeled and test: number of images
    split_info: dict[str, Any]  # `data.sources.Splits.info`
    device: str  # for people: "1 GPU, 1 replica"


class Sizing(TypedDict):
    """`<workdir>/auto.json`: what ``--auto`` chose when the run began; a rerun takes the same."""

    minutes: float  # the time it aimed at
    choices: dict[str, Any]  # flag -> value, as in `RunConfig.flags`
    reasons: dict[str, str]  # flag -> reason
    seconds: NotRequired[float]  # how long the run was expected to take


class Done(TypedDict):
    """`done.json`, written last: marks its stage as finished."""

    request: dict[str, Any]  # what the result depends on; equal to `stage.json`
    seconds: float
    versions: dict[str, str]
    finished: str  # UTC, ISO 8601
    files: NotRequired[dict[str, Any]]  # handed on: name -> `integrity.Digest`
    # train
    model_hash: NotRequired[str]
    # pseudo_label
    predictions: NotRequired[dict[str, str]]  # Parquet shard -> hash
    calibration: NotRequired[dict[str, Any]]  # `metrics.calibration.describe`
    num_records: NotRequired[int]
    num_skipped: NotRequired[int]
    skipped: NotRequired[list[str]]  # files or records that are not images
    # selection
    records_hash: NotRequired[str]  # of the records or of the index


class Timed(TypedDict):
    """Any result file, for who reads its duration alone."""

    seconds: NotRequired[float]
    compile_seconds: NotRequired[float]  # of a training


class LogRow(TypedDict):
    """A line of `metrics.jsonl`: means over the steps since the line before."""

    step: int
    learning_rate: float
    loss: float
    images_per_second: NotRequired[float]  # without the first step, which is compiled
    compile_seconds: NotRequired[float]  # until the first step of a run was compiled and taken
    seconds: float  # since the training began, over all its runs
    validation_top1: NotRequired[float]  # percent
    labeled_loss: NotRequired[float]
    labeled_accuracy: NotRequired[float]
    labeled_confidence: NotRequired[float]
    unlabeled_loss: NotRequired[float]
    unlabeled_accuracy: NotRequired[float]  # agreement with the pseudo labels
    unlabeled_confidence: NotRequired[float]


class TrainSummary(TypedDict):
    """`train.json`: what was trained and how well it does."""

    role: str  # teacher, student, fixres or control
    round: int
    model_name: str
    parameters: int  # trainable
    image_size: int
    num_steps: int
    images_seen: int  # labeled and unlabeled
    seconds: float  # of all runs of the training
    validation_top1: float | None  # percent, after the last step
    best_validation_top1: float | None  # percent
    history: list[LogRow]
    # a training here
    width: NotRequired[float | None]
    depth: NotRequired[float | None]
    labeled_batch_size: NotRequired[int]
    unlabeled_batch_size: NotRequired[int]
    final_loss: NotRequired[float]
    compile_seconds: NotRequired[float]  # of `seconds`, spent on compiling the step, in all runs
    decoded_once: NotRequired[dict[str, Any]]  # `data.pipeline.decoded.DecodedCache.report`
    # a given teacher
    given_model: NotRequired[str]  # path


class Calibration(TypedDict):
    """`calibration.json`: what `metrics.calibration.describe` found."""

    temperature: float


class PredictionsCard(TypedDict):
    """Metadata of each shard `predictions-*.parquet`."""

    class_names: list[str]  # C names
    examples: str  # fingerprint of the labeled images
    model: str  # hash of the teacher's file
    preprocess: NotRequired[dict[str, Any]]  # fields of `data.preprocess.PreprocessSpec`
    store_top_k: NotRequired[int | None]  # stored probabilities per image; None: all C
    probabilities_dtype: NotRequired[str]  # float16 (default) or float32
    temperature: NotRequired[float]  # that divided the logits
    noise: NotRequired[dict[str, Any]]  # of a noised teacher: `config.NoiseConfig` and the seed


class PerClass(TypedDict):
    """Columns of a selection, one entry per class."""

    names: list[str]
    before: list[int]  # predictions
    above_threshold: list[int]  # predictions that reach min_confidence
    distinct: list[int]  # images kept
    after: list[int]  # records written: each copy counts
    accuracy: list[float | None]  # of the kept images whose true label is known


class Histogram(TypedDict):
    """Numbers of predictions per bin of confidence."""

    edges: list[float]  # one more than bins
    all: list[int]
    kept: list[int]


class Reassigned(TypedDict):
    """Number of labels of a selected set that a new teacher changed."""

    images: int
    changed: int  # images with another label than before


class SelectionReport(TypedDict):
    """`selection.json`: counts, confidences, and accuracy where true labels are known."""

    num_records: int  # predictions
    num_kept: int  # distinct images
    num_written: int  # records, copies included
    num_duplicates: int  # num_written - num_kept
    min_confidence: float
    images_per_class: int | None  # None: classes were not balanced
    per_class: PerClass
    confidence_histogram: Histogram
    accuracy_all: float | None  # of all predictions with a known true label
    accuracy_kept: float | None  # of the kept images
    accuracy_written: float | None  # of the records
    empty_classes: list[str]  # without any prediction that reaches min_confidence
    # Confidence beside accuracy of all predictions with a known true label:
    # `metrics.calibration.Reliability.rows`.
    reliability: list[dict[str, float]]
    noised_labels: NotRequired[bool]  # the teacher was noised, unlike the paper's
    images_per_class_rule: NotRequired[str]  # where images_per_class comes from
    max_copies: NotRequired[int | None]
    index_only: NotRequired[bool]
    reassigned: NotRequired[Reassigned]  # only of sets that a new teacher labeled again


class SampleImage(TypedDict):
    """One image of a sample sheet."""

    id: str
    confidence: float
    copies: int  # in the student's set
    true: str | None  # name of the true class; None: unknown
    png_base64: str


# The images of one class and kind ("surest kept", "least sure kept" or "surest dropped"). In this
# form because `class` is a keyword.
SampleSheet = TypedDict("SampleSheet", {"class": str, "kind": str, "images": list[SampleImage]})


class Samples(TypedDict):
    """`samples.json`: pictures of a selection."""

    num_classes: int
    sheets: list[SampleSheet]


class Evaluation(TypedDict):
    """The fields that every `evaluation/<model>/<benchmark>.json` has; each benchmark adds its own.

    Most add `by_image` (setting -> `metrics.per_image.Record`) for paired comparisons.
    """

    benchmark: str
    model: str  # what reports call it
    request: dict[str, Any]  # what the result depends on: weights, images, parameters
    seconds: float
    num_examples: int
    files: NotRequired[dict[str, Any]]  # with the predictions: name -> `integrity.Digest`


class Part(TypedDict):
    """`evaluation/<model>/<benchmark>/<part>.json`; each benchmark adds its metrics."""

    request: dict[str, Any]
    files: NotRequired[dict[str, Any]]


class Accuracy(Evaluation):
    """`clean.json`, and those of published test sets."""

    top1: float
    by_class: NotRequired[ClassCounts]  # of `clean.json`


class Corrupted(Evaluation):
    """`corruptions.json` and those of published corruptions."""

    errors: dict[str, dict[str, float]]  # corruption -> severity -> 0..1
    mean_error: float


class Perturbed(Evaluation):
    """`perturbations.json` and those of published perturbations."""

    flip_probability: dict[str, float]  # 0..1
    mean_flip_probability: float


class Attacked(Evaluation):
    """`fgsm.json`, `pgd.json` and `square.json`."""

    epsilons: list[float]
    top1: list[float]  # one per epsilon


def evaluation_type(benchmark: str) -> type[Evaluation]:
    """Returns the type of a benchmark's file; `Evaluation` for one that others registered."""
    kinds: dict[tuple[str, ...], type[Evaluation]] = {
        ("clean", *TEST_SETS): Accuracy,
        CORRUPTED: Corrupted,
        PERTURBED: Perturbed,
        ATTACKS: Attacked,
    }
    return next((kind for names, kind in kinds.items() if benchmark in names), Evaluation)


class ChangedImage(TypedDict):
    """A test image whose prediction changed from the first to the last model."""

    id: str
    kind: str  # "fixed" or "broken"
    true: str
    before: str  # predicted class of the first model
    after: str
    before_confidence: float
    after_confidence: float
    png_base64: str


class Changes(TypedDict):
    """`evaluation/gallery.json`: predictions that changed from the first to the last model."""

    before: str  # name of the first model
    after: str
    count_fixed: int  # test images that became correct
    count_broken: int  # test images that became wrong
    images: list[ChangedImage]  # the most confident of them


class RobustImage(TypedDict):
    """An altered test image that the first model gets wrong and the last one right."""

    benchmark: str
    setting: str  # such as corruption and severity
    id: str
    true: str
    before: str  # predicted class of the first model
    after: str
    png_base64: str


class RobustGallery(TypedDict):
    """`evaluation/robust_gallery.json`: gains of the last model under shift."""

    before: str  # name of the first model
    after: str
    images: list[RobustImage]


class NoisyViews(TypedDict):
    """`evaluation/noise.json`: training images (PNG in base64) and what the student sees."""

    clean: list[str]
    noisy: list[list[str]]  # several views of each image
