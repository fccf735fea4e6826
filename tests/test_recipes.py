"""The recipes, read as the commands read them, against published settings written out by hand."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from efficientnet import config as efficientnets
from noisy_student import config, plan
from noisy_student.ablate import publish, statistics
from noisy_student.ablate.claims import STUDIES
from noisy_student.config import derived
from noisy_student.metrics.formatting import duration
from noisy_student.train import build
from noisy_student.train.build import make_schedule

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
RESULTS = RECIPES.parent / "docs" / "results"
NAMES = sorted(path.stem for path in RECIPES.glob("*.flags"))
BY_SIZE = tuple(f"imagenet_b{size}" for size in range(8))
L2_ROUNDS = tuple(f"imagenet_l2_round{number}" for number in (1, 2, 3))
MEASURED = ("mnist5k", "cifar10_small", "cifar10_randaugment", "cifar10_pretrained")
PUBLISHED = ("svhn", "svhn_offline", *BY_SIZE, *L2_ROUNDS)
LABELED = 1_281_167  # training images of ImageNet
SOURCE = re.compile(  # of an accuracy: measured here, the paper, another project's README
    r"\([^()]*(docs/(RESULTS|results/[\w/]+)\.md|arXiv v\d, (section|table|figure) \d|"
    r"README, [\w/-]+|from memory)"
)


def read(recipe: str, *overrides: str) -> tuple[config.Config, dict[str, Any]]:
    """The settings of a recipe, and the values of all flags."""
    settings = config.parse([f"--flagfile={RECIPES / recipe}.flags", *overrides])
    return settings, settings.options


def head(recipe: str) -> str:
    """Returns the comment at the top."""
    lines = (RECIPES / f"{recipe}.flags").read_text().splitlines()
    count = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line[2:] for line in lines[:count])


def fields(recipe: str) -> dict[str, str]:
    """Returns the fields of the head by name, such as Data."""
    return dict(re.findall(r"^([A-Z][a-z]+): +(.+)$", head(recipe).split("\n\n")[1], re.MULTILINE))


@pytest.mark.parametrize("recipe", NAMES)
def test_every_recipe_is_read_and_says_what_it_is(recipe):
    _, values = read(recipe)
    assert values["workdir"] == f"runs/{recipe}"
    title, _, command, *prose = head(recipe).split("\n\n")
    assert len(title) <= 75 and "\n" not in title
    assert list(fields(recipe)) == ["Data", "Model", "Hardware", "Time", "Expected", "Measured"]
    assert fields(recipe)["Measured"].startswith("yes, " if recipe in MEASURED else "no, ")
    name = "" if recipe == "mnist5k" else f" {recipe}"
    assert command.startswith(f"Run: bash run.sh{name}") and "aper" in "".join(prose)
    lines = (RECIPES / f"{recipe}.flags").read_text().splitlines()
    names = [line[2:].split("=")[0] for line in lines if line.startswith("--")]
    assert len(set(names)) == len(names), "a flag is given twice"


def test_the_page_names_every_recipe_with_another_optimizer():
    """And its momentum and average; all others have the published ones."""
    page = (RECIPES.parent / "docs" / "FIDELITY.md").read_text().splitlines()
    (row,) = [line for line in page if line.startswith("| Recipes with AdamW |")]
    stated = {
        name: (float(momentum), float(average))
        for momentum, average, names in re.findall(r"([\d.]+) and ([\d.]+) \((`[^)]+)\)", row)
        for name in re.findall(r"`(\w+)`", names)
    }
    for recipe in NAMES:
        training = read(recipe)[0].student(1)
        rates = training.model.batch_norm_momentum, training.ema_decay
        optimizer = training.optimizer.name, training.optimizer.schedule
        expected = ("adamw", "cosine") if recipe in stated else ("rmsprop", "staircase")
        assert (*optimizer, *rates) == (*expected, *stated.get(recipe, (0.99, 0.9999))), recipe


@pytest.mark.parametrize("recipe", NAMES)
def test_small_recipes_have_the_published_cutout_or_say_that_they_do_not(recipe):
    student = read(recipe)[0].student(1)
    if student.model.small_image and student.noise.kind == "randaugment":
        text = " ".join(head(recipe).split())
        assert student.noise.cutout != ("without the published cutout" in text)


@pytest.mark.parametrize("recipe", NAMES)
def test_every_accuracy_has_its_source_in_its_line(recipe):
    for line in head(recipe).splitlines():
        if line.startswith(("Time:", "Hardware:")) or not re.search(r"\b\d\d\.\d\b", line):
            continue
        assert SOURCE.search(line), line
        for page in re.findall(r"docs/results/[\w/]+\.md", line):
            assert (RECIPES.parent / page).exists(), page


def test_what_recipes_expect_is_what_was_measured():
    found = {path.parent.name for path in RESULTS.glob("*/*.csv")}
    assert found == set(MEASURED)
    for recipe in ("mnist5k", "cifar10_small", "cifar10_pretrained"):
        measured = publish.read_table(RESULTS / recipe / "compute.csv", STUDIES)
        expected = []
        for arm, sd_of in (("teacher", "sd "), ("student 1", ""), ("student 2", "")):
            mean, sd = statistics.mean_sd(measured.values(arm, "clean.top1"))
            expected.append(f"{arm} {mean:.1f} ({sd_of}{sd:.1f})")
        source = f"(docs/results/{recipe}/compute.md)"
        assert f"{', '.join(expected)} {source}" == fields(recipe)["Expected"]


# The published settings. Labeled batch 2048; 218 949 steps are 350 passes over 1 281 167 images.

TABLE = {  # unlabeled ratio, train_ratio, magnitude or None, dropout, side in training, steps
    "imagenet_b0": (1, 2, None, 0.2, 224, 437_899),
    "imagenet_b1": (3, 2, None, 0.2, 240, 437_899),
    "imagenet_b2": (3, 2, 6, 0.3, 260, 437_899),
    "imagenet_b3": (3, 2, 12, 0.3, 300, 437_899),
    "imagenet_b4": (3, 2, 15, 0.4, 380, 437_899),
    "imagenet_b5": (3, 1, 18, 0.4, 456, 218_949),
    "imagenet_b6": (3, 1, 24, 0.5, 528, 218_949),
    "imagenet_b7": (3, 1, 27, 0.5, 600, 218_949),
    "imagenet_l2_round1": (14, 1, 27, 0.5, 475, 218_949),
    "imagenet_l2_round2": (14, 1, 27, 0.5, 475, 218_949),
    "imagenet_l2_round3": (28, 1, 27, 0.5, 475, 218_949),
}


@pytest.mark.parametrize("recipe", TABLE)
def test_imagenet_settings_of_each_size(recipe):
    ratio, train_ratio, magnitude, dropout, side, steps = TABLE[recipe]
    settings, _ = read(recipe)
    (student,) = settings.students
    name = f"efficientnet-{recipe.split('_')[1]}"
    assert student.model.name == name
    assert student.model.dropout_rate == dropout == efficientnets.CONFIGS[name].dropout_rate
    assert derived.preprocess_spec(student.model).image_size == side
    assert (student.batch_size, student.unlabeled_batch_size) == (2048, ratio * 2048)
    assert student.ratio == ratio  # also the weight of the unlabeled loss
    assert student.optimizer.train_ratio == train_ratio
    assert student.num_steps(LABELED) == steps
    noise = student.noise
    if magnitude is None:
        assert noise.kind == "crop"
    else:
        assert (noise.kind, noise.num_layers, noise.magnitude) == ("randaugment", 2, magnitude)
    assert (noise.flip, noise.cutout, noise.magnitude_noise) == (True, False, 0)
    assert noise.contrast == "published"
    if settings.rounds.teacher_model is None:
        same = dataclasses.replace(
            student, role="teacher", round=0, ratio=0.0, seed=settings.teacher.seed
        )
        assert settings.teacher == same


# README of EfficientNet in tensorflow/tpu: supervised, and taught by L2 with JFT. Supervised with
# crop and flip for B0 and B1, RandAugment for B5 and B7, AutoAugment for the others.
SUPERVISED = (76.7, 78.7, 80.1, 81.6, 82.9, 83.7, 84.0, 84.7)
TAUGHT_BY_L2 = (78.8, 81.5, 82.4, 84.1, 85.3, 86.1, 86.4, 86.9)


@pytest.mark.parametrize("size", range(8))
def test_a_teacher_of_the_same_size_gains_less_than_l2(size):
    recipe, supervised = BY_SIZE[size], SUPERVISED[size]
    expected = f"about {supervised + 0.8:.1f} = {supervised} supervised"
    assert fields(recipe)["Expected"].startswith(expected)
    assert supervised + 0.8 < TAUGHT_BY_L2[size]
    taught = head(recipe).split("\n\n")[-1].replace("\n", " ")
    model = f"{read(L2_ROUNDS[-1])[1]['workdir']}/round1/fixres/model.keras"
    assert taught.startswith(f"Taught by L2, --teacher_model={model}, ")
    assert re.findall(r"\d\d\.\d", taught) == [str(TAUGHT_BY_L2[size])]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_l2_expects_the_published_iterations(number):
    expected = f"{(87.6, 88.1, 88.4)[number - 1]} with JFT (arXiv v4, table 7)"
    assert fields(L2_ROUNDS[number - 1])["Expected"] == expected


@pytest.mark.parametrize("recipe", TABLE)
def test_imagenet_rates(recipe):
    """0.128 after 5 epochs of 625.57 steps; x0.97 every 2.4 epochs, 4.8 where train_ratio is 2."""
    (student,) = read(recipe)[0].students
    schedule = make_schedule(student, LABELED)
    assert schedule.kind == "staircase"
    assert schedule.base == pytest.approx(0.128)
    assert schedule.warmup_steps == 3127
    assert schedule.decay_rate == 0.97
    assert schedule.decay_steps == pytest.approx(1501.37 * TABLE[recipe][1], abs=0.02)


@pytest.mark.parametrize("recipe", TABLE)
def test_what_imagenet_recipes_share(recipe):
    """As written here, and in all but a few flags as in the recipe of B0."""
    settings, values = read(recipe)
    (student,) = settings.students
    o = student.optimizer
    assert (o.name, o.weight_decay, o.epochs, o.warmup_epochs) == ("rmsprop", 1e-5, 350, 5)
    assert (student.label_smoothing, student.ema_decay) == (0.1, 0.9999)
    assert student.accumulate_steps == 1
    assert (student.hard_labels, student.temperature) == (False, 1.0)
    assert student.model.stochastic_depth_rate == 0.2
    assert student.model.batch_norm_momentum == 0.99
    assert student.model.batch_norm_replicas == "published"
    assert student.model.normalization == "imagenet"
    assert settings.selection.images_per_class == 130_000
    assert settings.selection.min_confidence == 0.3
    assert settings.data.dataset == "tfds:imagenet2012"
    assert (settings.data.num_labeled, settings.data.num_validation) == (LABELED, 0)
    own = {"workdir", "teacher_name", "ratio", "train_ratio", "magnitude", "augment"}
    own |= {"dropout_rate", "teacher_model", "student_name", "image_size"}
    own |= {"fixres_image_size", "frozen_blocks", "flagfile"}
    own |= {"selection_model", "selection_dir", "num_selected"}
    reference = read("imagenet_b0")[1]
    assert {name for name in values if values[name] != reference[name]} <= own


@pytest.mark.parametrize("recipe", (*PUBLISHED, "mnist5k", "cifar10_small", "cifar10_randaugment"))
def test_batch_norm_has_the_momentum_of_the_recipe(recipe):
    """Short trainings have a smaller one; these are long enough, or fine-tune."""
    settings = read(recipe)[0]
    for training in settings.trainings():
        labeled = settings.data.num_labeled or LABELED
        assert build.batch_norm_momentum(training, labeled) == training.model.batch_norm_momentum


@pytest.mark.parametrize("number", [1, 2, 3])
def test_l2_is_taught_by_the_round_before_and_fine_tuned(number):
    settings, values = read(L2_ROUNDS[number - 1])
    (student,), (tuned,) = settings.students, settings.tuned
    before, stage = ("imagenet_b7", "student") if number == 1 else (L2_ROUNDS[number - 2], "fixres")
    assert values["teacher_model"] == f"{read(before)[1]['workdir']}/round1/{stage}/model.keras"
    selects = f"{read('imagenet_b0')[1]['workdir']}/round0/teacher/model.keras"
    assert values["selection_model"] == selects and not read("imagenet_b0")[1]["teacher_model"]
    assert values["selection_dir"] == read(L2_ROUNDS[0])[1]["selection_dir"]  # selected once
    assert (values["num_unlabeled"], values["num_selected"]) == (300_000_000, 81_000_000)
    assert student.model.image_size == 475
    assert (tuned.role, tuned.model.image_size, tuned.fixres_epochs) == ("fixres", 800, 1.5)
    assert settings.evaluation.image_size is None  # each model at its own: 475, and 800 when tuned
    assert (tuned.noise.kind, tuned.unlabeled_batch_size) == ("none", 0)
    assert tuned.num_steps(LABELED) == 938  # 1.5 * 1 281 167 / 2048
    stages = [efficientnets.round_repeats(stage.repeats, 5.3) for stage in efficientnets.STAGES]
    assert tuned.frozen_blocks == sum(stages[:5]) == 60
    assert sum(stages) == 88


def test_svhn_has_the_online_teacher_of_the_published_experiment():
    """All 531 131 extra images, without filter and balance; from stored labels, with both."""
    settings, values = read("svhn")
    assert settings.students[0].teacher_mode == "online"
    assert settings.selection.min_confidence == 0
    assert settings.selection.images_per_class == "none"
    assert fields("svhn")["Expected"].startswith("teacher 97.9, student 98.6 +- 0.1 (README, ")
    offline, stored = read("svhn_offline")
    assert offline.students[0].teacher_mode == "stored"
    assert offline.selection.min_confidence == 0.3
    assert offline.selection.images_per_class == 53_113
    assert fields("svhn_offline")["Expected"].startswith("unknown, ")
    own = {"workdir", "teacher_mode", "min_confidence", "images_per_class", "index_only"}
    assert {name for name in values if values[name] != stored[name]} == own


@pytest.mark.parametrize("recipe", ["svhn", "svhn_offline"])
def test_svhn_settings(recipe):
    settings, values = read(recipe)
    (student,) = settings.students
    assert settings.data.dataset == "tfds:svhn_cropped"  # its split "extra" is unlabeled
    assert settings.data.unlabeled_split is None
    assert (settings.data.num_labeled, settings.data.num_validation) == (69_257, 4000)  # of 73 257
    assert student.model.name == "efficientnet-b0" and student.model.small_image
    assert student.model.normalization == "svhn"
    assert (student.model.dropout_rate, student.model.stochastic_depth_rate) == (0.2, 0.2)
    assert student.noise == config.NoiseConfig("randaugment", 2, 5.0, flip=False, cutout=True)
    assert (student.batch_size, student.unlabeled_batch_size) == (128, 640)
    assert (student.hard_labels, student.temperature) == (False, 1.0)
    assert student.num_steps(69_257) == settings.teacher.num_steps(69_257) == 109_474
    assert (student.optimizer.name, student.optimizer.weight_decay) == ("rmsprop", 1e-4)
    assert (student.label_smoothing, student.ema_decay) == (0.1, 0.9999)
    assert values["num_unlabeled"] == 531_131
    assert settings.device.precision == "float32"
    assert student.optimizer.final_learning_rate == pytest.approx(0.0001)
    schedule = make_schedule(student, 69_257)
    assert schedule.base == pytest.approx(0.008)
    assert schedule.warmup_steps == 2705  # 5 * 69 257 / 128
    assert schedule.decay_steps * 128 / 69_257 == pytest.approx(1.37, abs=0.005)  # epochs


def test_a_tenth_of_imagenet():
    settings, _ = read("imagenet_10percent")
    assert settings.data.num_labeled == round(0.1 * LABELED)
    assert [student.model.name[-2:] for student in settings.students] == ["b0", "b1"]
    assert settings.selection.min_confidence == 0.3


# What they would cost.


@pytest.mark.parametrize("recipe", [*PUBLISHED, "imagenet_10percent"])
def test_the_plan_needs_no_data_and_is_what_the_recipe_says(recipe):
    settings, values = read(recipe)
    count, name = fields(recipe)["Hardware"].split()
    time, _, command = fields(recipe)["Time"].partition(" by ")
    assert command.startswith("python -m noisy_student.plan")
    device = plan.DEVICES[name]
    counts = (values[f"num_{name}"] for name in ("labeled", "unlabeled", "classes"))
    planned = plan.plan_run(settings, *counts, device, int(count))
    assert len(planned.labelings) == len(settings.students) + (recipe in L2_ROUNDS)
    assert time == duration(planned.seconds)
    trainings, plans = zip(*planned.trainings, strict=True)
    fits = all(made.memory <= device.memory for made in plans)
    assert fits == ("does not fit" not in head(recipe))
    assert all(training.role != "teacher" for training in trainings) == (recipe in L2_ROUNDS)
    assert ("fixres" in [training.role for training in trainings]) == (recipe in L2_ROUNDS)
