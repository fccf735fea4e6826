import pytest

from noisy_student import config
from noisy_student.ablate import command
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.spec import Scaled


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe("mnist5k")


def test_a_multiple_of_what_a_recipe_leaves_unset():
    recipe = Recipe("folder", ["--labeled_dir=/nowhere"])
    assert recipe.resolve((Scaled("teacher_width", 0.5),)).flags == ("--teacher_width=0.5",)
    assert recipe.resolve((Scaled("image_size", 0.75),)).flags == ("--image_size=168",)
    assert recipe.resolve((Scaled("teacher_steps", 2),)).flags == ("--train_ratio=2.0",)
    rate = recipe.resolve((Scaled("learning_rate", 0.5),)).flags
    assert rate == ("--learning_rate_per_256=0.008",)
    with pytest.raises(ValueError, match="folder .*--warmup_steps"):
        recipe.resolve((Scaled("warmup_steps", 2),))


def test_a_multiple_of_every_entry_of_a_list(recipe):
    assert recipe.resolve((Scaled("student_width", 2),)).flags == ("--student_width=1,1.5",)


def test_only_values_that_differ_are_changes(recipe):
    """The recipe has --ratio=4 and --dropout_rate=0.3."""
    resolved = recipe.resolve(("--ratio=4", "--dropout_rate=0.30", "--hard_labels"))
    assert resolved.flags == ("--hard_labels",) and resolved.training is None


def test_a_role_gives_the_training(recipe):
    student = recipe.resolve(("--role=student", "--round=2", "--ratio=9"))
    assert student.training.role == "student" and student.training.ratio == 9
    assert student.training.model.width == 0.75
    assert recipe.resolve(("--role=teacher",)).training.model.width == 0.25


def test_flags_given_beside_the_recipe_belong_to_it():
    recipe = Recipe("mnist5k", ["--teacher_steps=7", "--log_every=3"])
    assert recipe.given == ("--teacher_steps=7",)  # the other does not affect results
    assert recipe.settings.teacher.steps == 7
    assert recipe.request()["flags"]["teacher_steps"] == 7
    assert not {"workdir", "log_every", "seed"} & recipe.request()["flags"].keys()
    assert recipe.resolve((Scaled("teacher_steps", 2),)).flags == ("--teacher_steps=14",)


def test_the_request_stays_the_same():
    """So that later versions of the code recognize existing results."""
    assert Recipe("mnist5k", ["--max_steps=2"]).request() == {
        "stage": "study",
        "flags": {
            **{
                "num_labeled": 100,
                "num_validation": 500,
                "teacher_width": 0.25,
                "teacher_depth": 0.3,
            },
            **{"student_width": ["0.5", "0.75"], "student_depth": ["0.3"], "small_image": True},
            **{"strides": ["2", "1", "2", "2", "1", "1", "1", "1"], "batch_norm_momentum": 0.9},
            **{"magnitude": 5.0, "flip": False, "dropout_rate": 0.3, "teacher_batch_size": 48},
            **{"batch_size": 16, "ratio": ["4"], "teacher_steps": 1500, "student_steps": ["1000"]},
            **{
                "optimizer": "adamw",
                "schedule": "cosine",
                "learning_rate": 0.003,
                "warmup_steps": 50,
            },
            **{"adam_beta2": 0.99, "weight_decay": 0.0, "ema_decay": 0.98, "temperature": 0.5},
            **{"images_per_class": "300", "pgd_examples": 200, "robustness_examples": 100},
            **{"benchmarks": ["clean", "corruptions", "perturbations", "fgsm", "pgd"]},
            **{"validate_every": 250, "max_steps": 2},
        },
    }


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(ValueError, match="--recipe=mnist: .* cifar10, .*mnist5k"):
        Recipe("mnist")


def test_a_start_is_that_of_every_stage_given_or_in_the_file(tmp_path):
    path = tmp_path / "own.flags"
    path.write_text("--flagfile=recipes/mnist5k.flags\n--init_model=b0.keras\n")
    beside = Recipe("mnist5k", command._given(config.parse(["--init_model=b0.keras"])))
    for recipe in (Recipe(str(path)), beside):
        assert recipe.settings.rounds.init_model == "b0.keras"
        assert recipe.request()["flags"]["init_model"] == "b0.keras"
    path.write_text("--flagfile=recipes/mnist5k.flags\n--init_model=teacher\n")
    for arguments in ([str(path)], ["mnist5k", ["--init_model=teacher"]]):
        with pytest.raises(ValueError, match="--init_model=teacher: each arm"):
            Recipe(*arguments)
