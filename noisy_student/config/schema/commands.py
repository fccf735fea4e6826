"""Options of individual commands, and the base classes that commands share."""

from dataclasses import dataclass

from noisy_student.config.option import option
from noisy_student.config.schema.data import MAX_ROUNDS, MAX_SEED


@dataclass(frozen=True)
class CommandConfig:
    """All commands."""

    debug: bool = option(
        False, "Show the full traceback when a command fails.", changes_result=False
    )
    verify: str = option(
        "full",
        "How to check the output files of finished stages before using them. full: size and "
        "checksum, once per file and process; size: size only.",
        choices=("full", "size"),
        changes_result=False,
    )


@dataclass(frozen=True)
class DryRunConfig(CommandConfig):
    """Commands with a dry run."""

    dry_run: bool = option(
        False, "Show what the command would do without writing any file.", changes_result=False
    )


@dataclass(frozen=True)
class WorkdirConfig(DryRunConfig):
    """Commands that use the work directory of a run."""

    workdir: str = option(
        "runs/mnist5k", "Directory that holds the whole run.", changes_result=False
    )


@dataclass(frozen=True)
class OutputConfig(DryRunConfig):
    """Commands that write to a directory."""

    output_dir: str | None = option(None, "Directory to write to.")


@dataclass(frozen=True)
class StageConfig(OutputConfig):
    """Commands that run a single stage."""

    splits_file: str | None = option(
        None, "JSON file with the stored splits. Unset: draw the splits again from --seed."
    )


@dataclass(frozen=True)
class SavedModelConfig(CommandConfig):
    """Commands that load a saved model."""

    model: str | None = option(
        None,
        "Saved or converted model (.keras), or the name of published weights, such as "
        "timm/tf_efficientnet_b0.ns_jft_in1k.",
    )


@dataclass(frozen=True)
class TrainCommandConfig(StageConfig):
    """The command noisy_student.train."""

    role: str = option(
        "teacher",
        "Model to train. control: a supervised baseline.",
        choices=("teacher", "student", "control", "fixres"),
    )
    round: int = option(1, "Round of the student.", low=1, high=MAX_ROUNDS)
    selected_dir: str | None = option(
        None, "Output directory of noisy_student.selection that the student trains on."
    )
    control_images: int | None = option(
        None,
        "Total number of images that a baseline trains on, repeats included.",
        low=1,
        high=10**12,
    )


@dataclass(frozen=True)
class LabelCommandConfig(SavedModelConfig, StageConfig):
    """The command noisy_student.pseudo_label."""

    shard_index: int | None = option(
        None, "Index of the single shard to write, starting at 0. Unset: all shards.", low=0
    )
    reassign_dir: str | None = option(
        None, "Selected set to relabel with --model, instead of labeling all unlabeled images."
    )


@dataclass(frozen=True)
class SelectCommandConfig(StageConfig):
    """The command noisy_student.selection."""

    predictions_dir: str | None = option(None, "Output directory of noisy_student.pseudo_label.")
    adopt_records: tuple[str, ...] = option(
        (),
        "Student records written by the published code (globs or folders). They are checked and "
        "used unchanged; replaces --predictions_dir.",
    )
    decision_file: str | None = option(
        None,
        "decision.json of the larger set that --predictions_dir is a part of, for example from "
        "noisy_student.selection.beam.",
    )


@dataclass(frozen=True)
class EvaluateCommandConfig(SavedModelConfig, StageConfig):
    """The command noisy_student.evaluate."""

    baseline_model: str | None = option(
        None, "Second model, given like --model, to compare robustness with."
    )


@dataclass(frozen=True)
class PlanCommandConfig(CommandConfig):
    """The command noisy_student.plan."""

    device: str = option(
        "local",
        "Device to plan for. local: this machine (speed is measured); help: list all devices.",
    )
    num_devices: int = option(1, "Number of devices.", low=1, high=1_000_000)
    utilization: float | None = option(
        None,
        "Fraction of the device's peak FLOP/s that training reaches. Unset: an assumed value.",
        low=0.001,
        high=1,
    )
    num_classes: int = option(
        0,
        "Number of classes. Together with --num_labeled, no data is read. 0: taken from the data.",
        low=0,
        high=1_000_000,
    )
    num_unlabeled: int = option(
        0, "Number of unlabeled images, if no data is read. 0: leave out labeling.", low=0
    )
    num_selected: int = option(
        0,
        "Number of distinct images that teachers relabel. 0: the largest number that "
        "--images_per_class can select.",
        low=0,
    )


@dataclass(frozen=True)
class ReportCommandConfig(WorkdirConfig, OutputConfig):
    """The command noisy_student.report."""

    compare: tuple[str, ...] = option(
        (), "Work directories to compare side by side in --output_dir."
    )


@dataclass(frozen=True)
class StudyCommandConfig(WorkdirConfig):
    """The command noisy_student.ablate."""

    study: tuple[str, ...] = option(
        (), "Names of the studies to run, or all.", changes_result=False
    )
    list: bool = option(False, "List the studies and exit.", changes_result=False)
    collect_only: bool = option(
        False, "Run nothing; write the tables of the jobs finished so far.", changes_result=False
    )
    seeds: tuple[int, ...] = option(
        (0, 1, 2), "Seeds to run each arm with.", changes_result=False, low=0, high=MAX_SEED
    )
    recipe: str = option(
        "mnist5k", "Recipe: a name in recipes/ or the path of a .flags file.", changes_result=False
    )
    jobs: int | None = option(
        None,
        "Number of stages to run in parallel, spread over the GPUs. Unset: one per GPU; without "
        "GPUs, one per CPU core.",
        changes_result=False,
        low=1,
        high=1024,
    )
    results_dir: str | None = option(
        None, "Folder to copy the CSV files to, as RECIPE/STUDY.csv.", changes_result=False
    )
    publish: str | None = option(
        None,
        "Folder with RECIPE/STUDY.csv files; generates their pages and charts there, and the "
        "tables in --pages.",
        changes_result=False,
    )
    pages: tuple[str, ...] = option(
        ("README.md", "docs/RESULTS.md"),
        "Markdown files whose marked tables --publish regenerates.",
        changes_result=False,
    )


@dataclass(frozen=True)
class PredictCommandConfig(SavedModelConfig):
    """The command noisy_student.predict."""

    top_k: int = option(5, "Number of classes to show per image.", low=1, high=1_000_000)
    output: str = option(
        "text",
        "Output format on standard output. csv: one row per image and class.",
        choices=("text", "csv", "json"),
    )


@dataclass(frozen=True)
class ExportCommandConfig(SavedModelConfig):
    """The command noisy_student.export."""

    format: str = option(
        "saved_model",
        "Format to write. keras: a model of standard Keras layers, which loads without this "
        "project.",
        choices=("saved_model", "tflite", "onnx", "keras"),
    )
    output: str | None = option(None, "File or folder to write. Unset: next to the model.")
    probabilities: bool = option(
        True, "Output probabilities. Off: output logits, like the .keras file itself."
    )
    quantization: str = option(
        "none",
        "Number format (--format=tflite only). none: float32; float16: float16 weights; int8: int8 "
        "weights and activations, calibrated on the given images.",
        choices=("none", "float16", "int8"),
    )


@dataclass(frozen=True)
class CardCommandConfig(SavedModelConfig):
    """The command noisy_student.card."""

    output: str | None = option(
        None, "File to write; the path of --model changes it in place. Unset: NAME-card.keras."
    )
