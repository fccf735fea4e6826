"""The flags of data, network, noise, training and pseudo labels: what decides a run's result.

Defaults are the paper's (section 3.1) where it has a value. `flags` has the others.
"""

from absl import flags

MAX_SEED = 2_000_000  # every training has a seed of 1000 times it or a little more, an int32
ROLES = ("teacher", "student", "control", "fixres")


def _define_data_flags() -> None:
    flags.DEFINE_string("dataset", "mnist5k", "mnist5k | folder | records | tfds:NAME")
    flags.DEFINE_string("data_dir", None, "Directory of tensorflow-datasets (tfds:NAME only).")
    flags.DEFINE_string(
        "labeled_dir",
        None,
        "Folder of labeled training images, one sub-folder per class (--dataset=folder), or "
        "TFRecord files as a folder or glob (--dataset=records).",
    )
    flags.DEFINE_string(
        "unlabeled_dir", None, "Folder of unlabeled images, flat or nested (--dataset=folder)."
    )
    flags.DEFINE_string(
        "validation_dir",
        None,
        "Folder of validation images, one sub-folder per class; unset: held out of --labeled_dir.",
    )
    flags.DEFINE_string(
        "test_dir",
        None,
        "Folder of test images, one sub-folder per class; unset: 20% of --labeled_dir.",
    )
    flags.DEFINE_list(
        "unlabeled_records", [], "Unlabeled images in TFRecord files: globs or folders."
    )
    flags.DEFINE_string(
        "unlabeled_dataset",
        None,
        "Another data set (tfds:NAME) whose images serve as the unlabeled ones.",
    )
    for part, unset in (("labeled", "train"), ("test", "test"), ("unlabeled", "train")):
        flags.DEFINE_string(
            f"{part}_split",
            None,
            f"tfds:NAME: {part} split or slice (train[:10%]); unset: {unset}.",
        )
    flags.DEFINE_string(
        "exclude", None, "File of image ids to leave out, as python -m data.leakage writes it."
    )
    flags.DEFINE_integer(
        "num_labeled",
        0,
        "Labeled training images kept, stratified; the rest becomes unlabeled. 0: keep all.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "num_validation",
        -1,
        "Validation images held out of the labeled ones, stratified. -1: 10%, at most 10 000 "
        "(mnist5k: 500). 0: none; accuracy is then not watched.",
        lower_bound=-1,
    )
    flags.DEFINE_integer("seed", 0, "Everything random derives from it.", 0, MAX_SEED)


def _define_thinning_flags() -> None:
    flags.DEFINE_float(
        "unlabeled_fraction",
        1.0,
        "Part of the unlabeled images kept, drawn from --seed by image; smaller parts lie in "
        "larger ones.",
    )
    flags.DEFINE_float(
        "unlabeled_skew",
        1.0,
        "Long tail of the unlabeled images over their true classes: of the last class as many "
        "times fewer are kept than of the first, drawn like --unlabeled_fraction and before it. "
        "1: off.",
    )


def _define_model_flags() -> None:
    flags.DEFINE_string("teacher_name", "efficientnet-b0", "First teacher: efficientnet-b0 ...")
    flags.DEFINE_float("teacher_width", None, "Width multiplier in place of the name's.")
    flags.DEFINE_float("teacher_depth", None, "Depth multiplier in place of the name's.")
    flags.DEFINE_list(
        "student_name", None, "Students by round, the last repeats; unset: the teacher's."
    )
    flags.DEFINE_list(
        "student_width", None, "Student width multipliers by round, the last repeats."
    )
    flags.DEFINE_list(
        "student_depth", None, "Student depth multipliers by round, the last repeats."
    )
    flags.DEFINE_integer("image_size", None, "Side of the model's input; unset: the name's.", 1)
    flags.DEFINE_bool("small_image", False, "The 32x32 protocol: stages 2 and 3 keep stride 1.")
    flags.DEFINE_list("strides", None, "Strides of the 7 stages, or of the stem and the 7 stages.")
    flags.DEFINE_float("batch_norm_momentum", 0.99, "Of the moving statistics.")
    flags.DEFINE_string(
        "batch_norm_replicas",
        "none",
        "Whose images the statistics in training are of: none (each replica's own) | all | a "
        "number: groups of as many replicas | published: of an eighth of the replicas, at least 8; "
        "each its own where there are no more than 8.",
    )
    flags.DEFINE_string(
        "normalization",
        "imagenet",
        "Channel mean and deviation: imagenet | svhn | lite | inception | none.",
    )


def _define_noise_flags() -> None:
    flags.DEFINE_enum(
        "augment",
        "randaugment",
        ["randaugment", "keras_cv", "crop", "none"],
        "Image noise of training: crop is random crop and flip alone (the paper's B0 and B1), none "
        "leaves out these, too.",
    )
    flags.DEFINE_float("magnitude", 27.0, "RandAugment magnitude (10 is full).", 0.0)
    flags.DEFINE_float(
        "magnitude_noise", 0.0, "Deviation of RandAugment's magnitudes (paper: none).", 0.0
    )
    flags.DEFINE_integer("num_layers", 2, "RandAugment operations per image.", 1)
    flags.DEFINE_bool("flip", True, "Random horizontal flip (off for digits).")
    flags.DEFINE_bool(
        "cutout", False, "Small images: cut a square of half the side out of every image."
    )
    flags.DEFINE_float("dropout_rate", None, "Before the classifier; unset: the model's own.")
    flags.DEFINE_float(
        "stochastic_depth_rate", 0.2, "Block i of N, from 0, drops with i / N of it."
    )


def _define_training_flags() -> None:
    flags.DEFINE_enum("role", "teacher", ROLES, "Of noisy_student.train: what is trained.")
    flags.DEFINE_string(
        "teacher_model",
        None,
        "A saved or converted model (.keras) that is the first teacher; none is trained then.",
    )
    flags.DEFINE_string(
        "init_model",
        None,
        "A saved or converted model (.keras) whose weights every training starts from; "
        "iterate also takes the word teacher: each student starts from its own.",
    )
    flags.DEFINE_integer(
        "teacher_batch_size", None, "Of teacher and controls; unset: --batch_size.", 1
    )
    flags.DEFINE_integer("batch_size", 2048, "Labeled batch size.", 1)
    flags.DEFINE_list(
        "ratio", ["3"], "Unlabeled images per labeled one, by round, the last repeats."
    )
    flags.DEFINE_float("epochs", 350.0, "Passes over the labeled images.", 0.0)
    flags.DEFINE_float("train_ratio", 1.0, "Stretches epochs and decay interval, not the warm-up.")
    flags.DEFINE_integer("teacher_steps", None, "Training steps, in place of --epochs.", 1)
    flags.DEFINE_list("student_steps", None, "Training steps by round, in place of --epochs.")
    flags.DEFINE_enum(
        "optimizer", "rmsprop", ["rmsprop", "adamw", "sgd"], "rmsprop is the paper's."
    )
    flags.DEFINE_enum(
        "schedule", "staircase", ["staircase", "cosine", "constant"], "staircase is the paper's."
    )
    flags.DEFINE_float(
        "learning_rate_per_256", 0.016, "Base rate, scaled by the labeled batch / 256."
    )
    flags.DEFINE_float(
        "learning_rate", None, "Base rate as it is, in place of --learning_rate_per_256.", 0.0
    )
    flags.DEFINE_float("final_learning_rate_per_256", None, "staircase: decay so as to end here.")
    flags.DEFINE_float("warmup_epochs", 5.0, "Linear warm-up.", 0.0)
    flags.DEFINE_integer("warmup_steps", None, "In place of --warmup_epochs.", 0)
    flags.DEFINE_float("adam_beta2", 0.999, "adamw only.")
    flags.DEFINE_float(
        "weight_decay", 1e-5, "Times sum(v^2)/2 over all variables but batch norm's."
    )
    flags.DEFINE_float(
        "labeled_weight",
        1.0,
        "Of the labeled images in a student's loss (paper: 1). 0: it learns from pseudo labels "
        "alone; batch norm sees labeled images all the same.",
        lower_bound=0,
    )
    flags.DEFINE_float("label_smoothing", 0.1, "Of true and of hard labels.", 0.0, 1.0)
    flags.DEFINE_float("ema_decay", 0.9999, "Cap of the weight average.", 0.0, 1.0)
    flags.DEFINE_integer(
        "accumulate_steps",
        1,
        "Parts that a batch is trained on one after the other before the weights change, where "
        "memory does not hold it; batch norm then sees a part at a time.",
        lower_bound=1,
    )


def _define_fixres_flags() -> None:
    flags.DEFINE_integer(
        "fixres_image_size",
        None,
        "Fine-tune at this larger size (paper, section 3.1): of --role=fixres.",
        lower_bound=1,
    )
    flags.DEFINE_float("fixres_epochs", 1.5, "Passes over the labeled images of fine-tuning.")
    flags.DEFINE_integer(
        "frozen_blocks",
        0,
        "Fine-tuning leaves the stem and as many blocks as they are. 0: trains all.",
        lower_bound=0,
    )


def _define_label_flags() -> None:
    flags.DEFINE_enum(
        "teacher_mode",
        "stored",
        ["stored", "online"],
        "Where a student's pseudo labels come from: stored in the selected records, or the teacher "
        "runs on a clean copy of each image within the step.",
    )
    flags.DEFINE_bool("hard_labels", False, "Train on argmax labels.")
    flags.DEFINE_float(
        "temperature", 1.0, "Of soft pseudo labels in a student's loss: targets are p^(1/T)."
    )
    flags.DEFINE_bool(
        "noised_labels",
        False,
        "Noise the teacher, too (the paper's ablation, table 6): it labels augmented images, with "
        "dropout and stochastic depth on.",
    )
    flags.DEFINE_bool(
        "calibrate", False, "Divide the teacher's logits by the temperature that fits validation."
    )
    flags.DEFINE_integer(
        "store_top_k", None, "Largest probabilities stored, the rest spread evenly; unset: all.", 1
    )
    flags.DEFINE_enum(
        "probabilities_dtype", "float16", ["float16", "float32"], "Of stored probabilities."
    )
    flags.DEFINE_string(
        "reassign_dir",
        None,
        "Of noisy_student.pseudo_label: a selected set that --model labels again.",
    )
    flags.DEFINE_bool(
        "reassign",
        False,
        "Of iterate: from round 2 on the newest teacher labels the images that round 1 selected "
        "again, in place of selecting anew.",
    )
    flags.DEFINE_float("min_confidence", 0.3, "Drop pseudo labels below it.", 0.0, 1.0)
    flags.DEFINE_string(
        "images_per_class",
        "auto",
        "Target per class, or auto: that of the largest class, or none: no balance, every image "
        "that reaches --min_confidence once.",
    )
    flags.DEFINE_integer(
        "max_copies", None, "Copies of an image that may fill up its class; unset: any number.", 1
    )
    flags.DEFINE_bool(
        "index_only", False, "Select an index of images, joined with them in training; no records."
    )
    flags.DEFINE_integer(
        "num_shards", 1, "Files of predictions and of selected records.", lower_bound=1
    )
    flags.DEFINE_integer(
        "shard_index", None, "The only shard of predictions to write; unset: all.", lower_bound=0
    )


_define_data_flags()
_define_thinning_flags()
_define_model_flags()
_define_noise_flags()
_define_training_flags()
_define_fixres_flags()
_define_label_flags()
