"""Every flag of every command: those of the method, and here of evaluation, runs and devices.

A recipe is an absl flag file (``--flagfile=recipes/mnist5k.flags``); flags after it override it.
`noisy_student.config` reads them.
"""

from typing import Any

from absl import flags

from noisy_student import robustness
from noisy_student.config import method_flags

FLAGS = flags.FLAGS

STORED_BENCHMARKS = (
    *("imagenet_a", "imagenet_r", "imagenet_v2"),
    *("imagenet_c", "imagenet_p", "cifar10_c", "cifar10_p"),
)
BENCHMARKS = ("clean", "corruptions", "perturbations", "fgsm", "pgd", *STORED_BENCHMARKS)


def _define_evaluation_flags() -> None:
    flags.DEFINE_list("benchmarks", ["clean", "fgsm"], f"Of {', '.join(BENCHMARKS)}.")
    flags.DEFINE_list(
        "epsilons", ["1", "2", "4", "8", "16"], "FGSM step sizes in pixel units (paper, fig. 3)."
    )
    flags.DEFINE_list("pgd_epsilons", ["4", "16"], "PGD: largest changes of a pixel.")
    flags.DEFINE_integer("fgsm_examples", 0, "Test images attacked, of all classes; 0: all.", 0)
    flags.DEFINE_integer("pgd_examples", 0, "Test images attacked, of all classes; 0: all.", 0)
    flags.DEFINE_integer("attack_steps", 10, "Of PGD (paper, section 3.6).", lower_bound=1)
    flags.DEFINE_float(
        "attack_step_size", None, "Of PGD, in pixel units; unset: 2.5 * epsilon / steps."
    )
    flags.DEFINE_bool("attack_random_start", True, "PGD starts anywhere within epsilon.")
    flags.DEFINE_integer(
        "attack_restarts", 1, "PGD attacks an image must withstand.", lower_bound=1
    )
    flags.DEFINE_list(
        "corruptions",
        ["all"],
        f"Of the benchmark corruptions: all 15 ({', '.join(robustness.CORRUPTIONS)}), or some of "
        "them and of speckle_noise, gaussian_blur, spatter, saturate.",
    )
    flags.DEFINE_list(
        "severities", ["1", "2", "3", "4", "5"], "Of the benchmark corruptions, from 1 to 5."
    )
    flags.DEFINE_list(
        "perturbations",
        ["all"],
        f"Of the benchmark perturbations: all 10 ({', '.join(robustness.PERTURBATIONS)}; at 32 "
        "pixels spatter in place of snow), or some of them.",
    )
    flags.DEFINE_integer(
        "robustness_examples",
        0,
        "Test images corrupted and perturbed, of all classes, the same for every seed; 0: all.",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "corruption_cache",
        None,
        "Directory that keeps the images made for corruptions and perturbations for the next model,"
        " uncompressed (at 224 pixels 11 and 48 MB an image for all); unset: made anew.",
    )
    classes = "one folder per class, named by WordNet id, or tfds:NAME"
    layouts = (
        *3 * (classes,),
        "[group/]corruption/severity/class/image, or tfds:imagenet2012_corrupted",
        "[group/]perturbation/class/video.mp4",
        "one .npy per corruption, and labels.npy",
        "one .npy per perturbation",
    )
    for name, what in zip(STORED_BENCHMARKS, layouts, strict=True):
        default = f"tfds:{name}" if name in ("imagenet_r", "imagenet_v2") else None
        flags.DEFINE_string(f"{name}_dir", default, f"Where {name} lies: {what}.")
    flags.DEFINE_string(
        "baseline_model", None, "A saved model that robustness is also expressed relative to."
    )
    flags.DEFINE_integer(
        "test_image_size",
        None,
        "Evaluate at this resolution, not the model's own (FixRes).",
        lower_bound=1,
    )


def _define_run_flags() -> None:
    flags.DEFINE_string("workdir", "runs/mnist5k", "Directory of the whole run.")
    flags.DEFINE_string("output_dir", None, "Directory of one stage.")
    flags.DEFINE_list(
        "compare", [], "Of noisy_student.report: work directories to set side by side."
    )
    flags.DEFINE_string(
        "splits_file",
        None,
        "Where one stage keeps the splits (iterate: splits.json in --workdir); unset: drawn anew "
        "from --seed, always the same.",
    )
    flags.DEFINE_string("model", None, "A saved model (.keras).")
    flags.DEFINE_string("predictions_dir", None, "Output of noisy_student.pseudo_label.")
    flags.DEFINE_string(
        "decision_file",
        None,
        "Of noisy_student.selection: decision.json of a larger set, such as of selection_beam, "
        "that the predictions are a part of.",
    )
    flags.DEFINE_string("selected_dir", None, "Output of noisy_student.selection.")
    flags.DEFINE_integer("rounds", 2, "Students in a row.", lower_bound=0)
    flags.DEFINE_integer("round", 1, "Of noisy_student.train: which student.", lower_bound=1)
    flags.DEFINE_list(
        "controls",
        [],
        "Supervised controls to train beside the students: student (as many images "
        "as the last student saw), chain (as many as teacher and students saw).",
    )
    flags.DEFINE_integer("control_images", None, "Of --role=control: training images seen.", 1)
    flags.DEFINE_bool(
        "stop_when_worse", False, "Stop after a round that does not improve validation accuracy."
    )
    flags.DEFINE_integer("eval_batch_size", 250, "Of every forward-only pass.", 1)
    flags.DEFINE_integer(
        "cache_decoded_mib",
        2048,
        "Memory of a training for images of files and records that are decoded once, not in every "
        "pass: labeled, selected and validation images, each all or none, where no random crop "
        "needs the originals (--small_image, or clean images). Changes no batch. 0: off.",
        lower_bound=0,
    )
    flags.DEFINE_integer("max_steps", None, "Cut every training short, the schedule unchanged.", 1)
    flags.DEFINE_bool(
        "dry_run", False, "Print configuration, splits, shapes and expected time; touch nothing."
    )
    flags.DEFINE_bool("debug", False, "Show where in the code an error arose.")


def _define_log_flags() -> None:
    flags.DEFINE_integer("log_every", 50, "Steps between log lines.", 1)
    flags.DEFINE_integer("validate_every", 500, "Steps between validations.", 1)
    flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", 1)
    flags.DEFINE_list(
        "profile_steps", None, "FIRST,END: profiles these steps of every training (TensorBoard)."
    )


def _define_device_flags() -> None:
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one", "mirrored", "multi_worker", "tpu"],
        "tf.distribute strategy; auto: mirrored where there are several GPUs; multi_worker: the "
        "processes of TF_CONFIG.",
    )
    flags.DEFINE_string("tpu", None, "Of --strategy=tpu: name or address; local on its own host.")
    flags.DEFINE_enum(
        "precision",
        "auto",
        ["auto", "float32", "mixed_bfloat16"],
        "Of activations; auto: mixed_bfloat16 on TPUs and on GPUs that compute in it.",
    )
    flags.DEFINE_integer(
        "steps_per_execution", 1, "Training steps per call of the devices.", lower_bound=1
    )
    flags.DEFINE_integer(
        "intra_op_threads",
        0,
        "CPU threads of a single operation. 0: all cores; 1 suits very small models.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "jit_compile", "auto", ["auto", "on", "off"], "XLA; auto: on where a GPU is used."
    )


def _define_plan_flags() -> None:
    flags.DEFINE_string("device", "tpu-v3-core", "Of noisy_student.plan: a name in its table.")
    flags.DEFINE_integer("num_devices", 1, "Of noisy_student.plan.", lower_bound=1)
    flags.DEFINE_float(
        "utilization", None, "Of noisy_student.plan: part of the peak rate; unset: the table's."
    )
    flags.DEFINE_integer(
        "num_classes",
        0,
        "Of noisy_student.plan: with --num_labeled, so that no data is read. 0: the data's.",
        lower_bound=0,
    )


STUDY = (
    "study",
    "seeds",
    "recipe",
    "jobs",
    "list",
    "results_dir",
    "publish",
    "pages",
    "collect_only",
)


def _define_study_flags() -> None:
    flags.DEFINE_list("study", [], "Of noisy_student.ablate: names of studies, or all.")
    flags.DEFINE_bool("list", False, "Of noisy_student.ablate: show the studies, do nothing.")
    flags.DEFINE_bool(
        "collect_only",
        False,
        "Of noisy_student.ablate: run nothing; tables of what is done so far.",
    )
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Of noisy_student.ablate: runs of every arm.")
    flags.DEFINE_string(
        "recipe", "mnist5k", "Of noisy_student.ablate: a name in recipes/, or a .flags file."
    )
    flags.DEFINE_integer(
        "jobs", None, "Of noisy_student.ablate: stages side by side; unset: CPU cores.", 1
    )
    flags.DEFINE_string(
        "results_dir", None, "Of noisy_student.ablate: copies the CSV files to RECIPE/ in it."
    )
    flags.DEFINE_string(
        "publish",
        None,
        "Of noisy_student.ablate: a folder of RECIPE/STUDY.csv, whose pages and charts, and the "
        "tables of --pages, are generated.",
    )
    flags.DEFINE_list(
        "pages",
        ["README.md", "docs/RESULTS.md"],
        "Of noisy_student.ablate --publish: Markdown files with marked tables.",
    )


_define_evaluation_flags()
_define_run_flags()
_define_log_flags()
_define_device_flags()
_define_plan_flags()
_define_study_flags()


def values() -> dict[str, Any]:
    """Every flag of this project and its value, for the record."""
    modules = FLAGS.flags_by_module_dict()
    ours = (*modules[method_flags.__name__], *modules[__name__])
    return {flag.name: flag.value for flag in ours}
