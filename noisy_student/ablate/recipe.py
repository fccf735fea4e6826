"""A recipe's flags with the changes of a study, resolved in memory."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import efficientnet
from noisy_student import config
from noisy_student.ablate.spec import ByDataset, Flags, Scaled
from noisy_student.cli import recipes_dir
from noisy_student.config import derived, option, schema

FOLDER = recipes_dir()

OPTIONS = option.named(schema.RUN)
# Flags of the study command, which no stage gets.
OWN = tuple(option.named([schema.StudyCommandConfig]))
# Flags that do not affect results, and the seed, which a study sets itself.
_NEUTRAL = ("seed", *(name for name in OPTIONS if not OPTIONS[name].changes_result))
# Flags with a value in effect even where a recipe leaves them unset.
_IMAGE_SIZES = ("image_size", "test_image_size", "fixres_image_size")
_WIDTHS = ("teacher_width", "student_width")


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Changed flags, resolved.

    Attributes:
        flags: those whose value differs from the recipe's, as on the command line, sorted.
        training: the training of a ``--role`` among them, or None.
    """

    flags: tuple[str, ...]
    training: config.TrainConfig | None


class Recipe:
    """A flag file, and flags given in addition.

    Attributes:
        name: name of the file.
        arguments: first arguments of every command of a study.
        given: additional flags that affect results.
        settings: configuration of the unchanged recipe.
        student: its first student.
    """

    def __init__(self, name: str, given: Sequence[str] = ()):
        """Reads a recipe by its name in ``recipes/`` or its path; `given` are further flags.

        Raises:
            ValueError: the recipe does not exist, or a flag is invalid.
        """
        path = Path(name) if name.endswith(".flags") else FOLDER / f"{name}.flags"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.flags")))
            raise ValueError(
                f"--recipe={name}: must be one of {known}, or the path of a .flags file"
            )
        self.name = path.stem
        # One thread per operation, so that results do not depend on the number of parallel jobs.
        self.arguments = (f"--flagfile={path}", *given, "--intra_op_threads=1")
        neutral = re.compile(rf"--(no)?({'|'.join(_NEUTRAL)})(=|$)")
        self.given = tuple(flag for flag in given if not neutral.match(flag))
        self.settings = self.parse()
        if self.settings.rounds.init_model == "teacher":
            raise ValueError(
                f"recipe {self.name}: --init_model=teacher: each arm of a study sets which "
                "students start from their teachers; give a file, or leave it out"
            )
        self.student = self.settings.student(1)
        self._values = self.settings.to_json()

    def request(self) -> dict[str, Any]:
        """Returns what identifies the recipe's results: its flags that differ from the defaults."""
        changing = {
            name: value
            for name, value in self._values.items()
            if name not in _NEUTRAL and self.settings.options[name] != OPTIONS[name].default
        }
        return {"stage": "study", "flags": changing}

    def resolve(self, changed: Flags) -> Resolved:
        """Resolves changed flags.

        Raises:
            ValueError: a flag or its value is not valid for the recipe.
        """
        settings = self.parse([self._to_text(flag) for flag in changed])
        options, before = settings.options, self.settings.options
        changes = [
            option.to_flag(options[name])
            for name, option in OPTIONS.items()
            if options[name] != before[name]
        ]
        training = None
        if "role" in settings.given:
            images = options["control_images"] or 1
            training = settings.training(options["role"], options["round"], images)
        return Resolved(tuple(sorted(changes)), training)

    def _to_text(self, flag: str | Scaled | ByDataset) -> str:
        """Returns a changed flag as on the command line."""
        if isinstance(flag, str):
            return flag
        if isinstance(flag, ByDataset):
            values, dataset = dict(flag.values), self.settings.data.dataset
            if dataset not in values:
                raise ValueError(
                    f"--{flag.flag} of this study is defined for --dataset={', '.join(values)}, "
                    f"not for {dataset}"
                )
            return f"--{flag.flag}={values[dataset]}"
        name = flag.flag
        if self._values[name] in (None, []):
            name = OPTIONS[name].substitute or name
        value = self._value(name)
        numbers = [flag.factor * float(v) for v in (value if isinstance(value, list) else [value])]
        if OPTIONS[name].kind is int:
            numbers = list(map(round, numbers))
        return f"--{name}={','.join(f'{number:.10g}' for number in numbers)}"

    def _value(self, name: str) -> Any:
        """Returns the effective value of a flag, even if the recipe leaves it unset."""
        value, teacher = self._values[name], self.settings.teacher.model
        if value not in (None, []):
            return value
        if name in _IMAGE_SIZES:
            return derived.preprocess_spec(teacher).image_size
        if name in _WIDTHS:
            model = teacher if name == "teacher_width" else self.student.model
            if model.width or model.name in efficientnet.CONFIGS:
                return model.width or efficientnet.CONFIGS[model.name].width
        raise ValueError(f"recipe {self.name} does not set --{name}, which the study scales")

    def parse(self, changed: Sequence[str] = ()) -> config.Config:
        """Returns the recipe's configuration with the flags in ``changed`` at their values."""
        try:
            return config.parse([*self.arguments, *changed])
        except ValueError as error:
            raise ValueError(f"recipe {self.name}: {error}") from None
