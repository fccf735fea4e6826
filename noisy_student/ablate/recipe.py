"""A recipe's flags with the changes of a study, resolved in memory."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import absl.flags
from absl.testing import flagsaver

import efficientnet
import noisy_student
from noisy_student import config
from noisy_student.ablate.spec import ByDataset, Flags, Scaled
from noisy_student.config import derived, flags

FOLDER = Path(noisy_student.__file__).parents[1] / "recipes"

# Flags of a study itself, which no stage gets, and others that do not change what is computed.
OWN = (*flags.STUDY, "workdir", "dry_run", "debug")
_NEUTRAL = (*OWN, "seed", "data_dir", "corruption_cache", "log_every", "intra_op_threads")
# Sizes that hold where a recipe leaves them unset.
_IMAGE_SIZES = ("image_size", "test_image_size", "fixres_image_size")
_WIDTHS = ("teacher_width", "student_width")
# What has the same effect where a recipe leaves a flag unset.
_INSTEAD = {
    "teacher_steps": "train_ratio",
    "student_steps": "train_ratio",
    "learning_rate": "learning_rate_per_256",
}


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
    """A flag file and what was given beside it.

    Attributes:
        name: of the file.
        arguments: what every command of a study begins with.
        given: flags beside the file that change what is computed.
        settings: of the recipe as it is.
        student: the first one of the recipe as it is.
    """

    def __init__(self, name: str, given: Sequence[str] = ()):
        """Reads a recipe.

        Args:
            name: of a file in ``recipes/``, or a path.
            given: further flags for every stage, as on a command line.

        Raises:
            ValueError: there is no such recipe, or its flags are not valid.
        """
        path = Path(name) if name.endswith(".flags") else FOLDER / f"{name}.flags"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.flags")))
            raise ValueError(f"--recipe={name}: must be of {known}, or the path of a .flags file.")
        self.name = path.stem
        # One thread per operation: what is computed does not depend on how many jobs run at once.
        self.arguments = (f"--flagfile={path}", *given, "--intra_op_threads=1")
        names = [re.match(r"--(?:no)?(\w+)", flag)[1] for flag in given]
        self.given = tuple(
            flag for flag, name in zip(given, names, strict=True) if name not in _NEUTRAL
        )
        with self._parsed():
            self.settings, self.student = config.from_flags(), config.student(1)
            self._values = flags.values()
            self._chosen = {
                name: value
                for name, value in self._values.items()
                if value != flags.FLAGS[name].default and name not in _NEUTRAL
            }

    def request(self) -> dict[str, Any]:
        """What decides the results of a recipe, for the record: flags that are not the default."""
        return {"stage": "study", "flags": self._chosen}

    def resolve(self, changed: Flags) -> Resolved:
        """Resolves changed flags.

        Raises:
            ValueError: a flag or value that is not valid here.
        """
        with self._parsed([self._written(flag) for flag in changed]):
            settings = config.from_flags()
            values = flags.values()
            differing = [name for name in values if values[name] != self._values[name]]
            written = tuple(sorted(flags.FLAGS[name].serialize() for name in differing))
            return Resolved(written, _training(settings) if flags.FLAGS["role"].present else None)

    def _written(self, flag: str | Scaled | ByDataset) -> str:
        """A changed flag as on a command line."""
        if isinstance(flag, str):
            return flag
        if isinstance(flag, ByDataset):
            values, dataset = dict(flag.values), self.settings.data.dataset
            if dataset not in values:
                raise ValueError(
                    f"--{flag.flag} of this study is known for --dataset={', '.join(values)}, not "
                    f"for {dataset}."
                )
            return f"--{flag.flag}={values[dataset]}"
        name = flag.flag
        if self._values[name] in (None, []):
            name = _INSTEAD.get(name, name)
        value = self._value(name)
        numbers = [flag.factor * float(v) for v in (value if isinstance(value, list) else [value])]
        if name.endswith(("_steps", "_size")):
            numbers = list(map(round, numbers))
        return f"--{name}={','.join(f'{number:.10g}' for number in numbers)}"

    def _value(self, name: str) -> Any:
        """A flag's value, or what holds where the recipe leaves it unset."""
        value, teacher = self._values[name], self.settings.teacher.model
        if value not in (None, []):
            return value
        if name in _IMAGE_SIZES:
            return derived.preprocess_spec(teacher).image_size
        if name in _WIDTHS:
            model = teacher if name == "teacher_width" else self.student.model
            return model.width or efficientnet.CONFIGS[model.name].width
        raise ValueError(f"the recipe {self.name} sets no --{name}, of which a study takes a part.")

    @contextlib.contextmanager
    def _parsed(self, changed: Sequence[str] = ()) -> Iterator[None]:
        """The project's flags at the recipe's values, those in ``changed`` at theirs."""
        with flagsaver.flagsaver():
            try:
                rest = flags.FLAGS(["study", *self.arguments, *changed])
            except absl.flags.Error as error:
                raise ValueError(f"recipe {self.name}: {error}") from None
            if len(rest) > 1:
                raise ValueError(f"recipe {self.name}: {rest[1]} is no flag.")
            yield


def _training(settings: config.Config) -> config.TrainConfig:
    """The training that the parsed flags ask `noisy_student.train` for."""
    role, student = flags.FLAGS.role, config.student(flags.FLAGS.round)
    if role == "teacher":
        return settings.teacher
    if role == "control":
        return settings.control(flags.FLAGS.control_images or 1)
    return config.fixres(student) if role == "fixres" else student
