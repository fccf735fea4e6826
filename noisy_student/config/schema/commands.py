"""Options of single commands, each with those it shares with others."""

from dataclasses import dataclass

from noisy_student.config.option import option
from noisy_student.config.schema.data import MAX_ROUNDS, MAX_SEED


@dataclass(frozen=True)
class CommandConfig:
    """Any command."""

    debug: bool = option(False, "Show the traceback of an error.", changes_result=False)
    verify: str = option(
        "full",
        "Check of the files that finished stages hand on. full: size and checksum, each file once "
        "in a process; size: size alone.",
        choices=("full", "size"),
        changes_result=False,
    )


@dataclass(frozen=True)
class DryRunConfig(CommandConfig):
    """A command with a dry run."""

    dry_run: bool = option(
        False, "Show what the command would do, but write no file.", changes_result=False
    )


@dataclass(frozen=True)
class WorkdirConfig(DryRunConfig):
    """A command on the work directory of a run."""

    workdir: str = option("runs/mnist5k", "Directory of the whole run.", changes_result=False)


@dataclass(frozen=True)
class OutputConfig(DryRunConfig):
    """A command that writes a directory."""

    output_dir: str | None = option(None, "Directory to write.")


@dataclass(frozen=True)
class StageConfig(OutputConfig):
    """A command of one stage."""

    splits_file: str | None = option(
        None, "JSON file that keeps the splits. Unset: the splits are drawn again from --seed."
    )


@dataclass(frozen=True)
class SavedModelConfig(CommandConfig):
    """A command on a saved model."""

    model: str | None = option(
        None,
        "Saved or converted model (.keras), or weights by name, such as "
        "timm/tf_efficientnet_b0.ns_jft_in1k.",
    )


@dataclass(frozen=True)
class TrainCommandConfig(StageConfig):
    """The command noisy_student.train."""

    role: str = option(
        "teacher",
        "Model to train; control: a supervised baseline.",
        choices=("teacher", "student", "control", "fixres"),
    )
    round: int = option(1, "Round of the student.", low=1, high=MAX_ROUNDS)
    selected_dir: str | None = option(None, "Output of noisy_student.selection for the student.")
    control_images: int | None = option(
        None, "Training images that a baseline sees.", low=1, high=10**12
    )


@dataclass(frozen=True)
class LabelCommandConfig(SavedModelConfig, StageConfig):
    """The command noisy_student.pseudo_label."""

    shard_index: int | None = option(
        None, "The only shard of predictions to write, from 0. Unset: all.", low=0
    )
    reassign_dir: str | None = option(
        None, "Selected set whose images --model labels again, instead of labeling all images."
    )


@dataclass(frozen=True)
class SelectCommandConfig(StageConfig):
    """The command noisy_student.selection."""

    predictions_dir: str | None = option(None, "Output of noisy_student.pseudo_label.")
    adopt_records: tuple[str, ...] = option(
        (),
        "Student records of the published code, as globs or folders, to check and use as they are "
        "in place of --predictions_dir.",
    )
    decision_file: str | None = option(
        None,
        "decision.json of a larger set that the predictions are a part of, such as written by "
        "noisy_student.selection.beam.",
    )


@dataclass(frozen=True)
class EvaluateCommandConfig(SavedModelConfig, StageConfig):
    """The command noisy_student.evaluate."""

    baseline_model: str | None = option(None, "Model to compare robustness with, as --model.")


@dataclass(frozen=True)
class PlanCommandConfig(CommandConfig):
    """The command noisy_student.plan."""

    device: str = option(
        "local", "Device of the training. local: this machine, measured; help: the list of devices."
    )
    num_devices: int = option(1, "Number of devices.", low=1, high=1_000_000)
    utilization: float | None = option(
        None, "Fraction of the peak rate that is reached. Unset: an assumption.", low=0.001, high=1
    )
    num_classes: int = option(
        0,
        "Number of classes; with --num_labeled, no data is read. 0: those of the data.",
        low=0,
        high=1_000_000,
    )
    num_unlabeled: int = option(
        0, "Number of unlabeled images, where no data is read. 0: labeling is not counted.", low=0
    )
    num_selected: int = option(
        0,
        "Number of distinct images that teachers label again. 0: the most that --images_per_class "
        "selects.",
        low=0,
    )


@dataclass(frozen=True)
class ReportCommandConfig(WorkdirConfig, OutputConfig):
    """The command noisy_student.report."""

    compare: tuple[str, ...] = option((), "Work directories to set side by side in --output_dir.")


@dataclass(frozen=True)
class StudyCommandConfig(WorkdirConfig):
    """The command noisy_student.ablate."""

    study: tuple[str, ...] = option((), "Studies to run, or all.", changes_result=False)
    list: bool = option(False, "Show the studies and exit.", changes_result=False)
    collect_only: bool = option(
        False, "Run nothing; write tables of what is finished.", changes_result=False
    )
    seeds: tuple[int, ...] = option(
        (0, 1, 2), "Seeds of each arm's runs.", changes_result=False, low=0, high=MAX_SEED
    )
    recipe: str = option(
        "mnist5k", "Recipe: a name in recipes/ or the path of a .flags file.", changes_result=False
    )
    jobs: int | None = option(
        None,
        "Stages to run at once, spread over the GPUs. Unset: one per GPU, without GPUs one per CPU "
        "core.",
        changes_result=False,
        low=1,
        high=1024,
    )
    results_dir: str | None = option(
        None, "Folder that also receives the CSV files, as RECIPE/STUDY.csv.", changes_result=False
    )
    publish: str | None = option(
        None,
        "Folder of RECIPE/STUDY.csv whose pages and charts, and the tables of --pages, to write.",
        changes_result=False,
    )
    pages: tuple[str, ...] = option(
        ("README.md", "docs/RESULTS.md"),
        "Markdown files with marked tables, for --publish.",
        changes_result=False,
    )


@dataclass(frozen=True)
class PredictCommandConfig(SavedModelConfig):
    """The command noisy_student.predict."""

    top_k: int = option(5, "Classes shown for each image.", low=1, high=1_000_000)
    output: str = option(
        "text",
        "Form of the answer on standard output. csv: a row for each class of each image.",
        choices=("text", "csv", "json"),
    )


@dataclass(frozen=True)
class ExportCommandConfig(SavedModelConfig):
    """The command noisy_student.export."""

    format: str = option(
        "saved_model",
        "Format to write; keras: a model of Keras' own layers, which loads without this project.",
        choices=("saved_model", "tflite", "onnx", "keras"),
    )
    output: str | None = option(None, "File or folder to write. Unset: beside the model.")
    probabilities: bool = option(
        True, "Output probabilities. Off: logits, as the .keras file itself does."
    )
    quantization: str = option(
        "none",
        "Number format (--format=tflite only). none: float32; float16: of the weights; int8: of "
        "weights and activations, by the images that are given.",
        choices=("none", "float16", "int8"),
    )


@dataclass(frozen=True)
class CardCommandConfig(SavedModelConfig):
    """The command noisy_student.card."""

    output: str | None = option(
        None, "File to write, or the model itself to change it in place. Unset: NAME-card.keras."
    )
