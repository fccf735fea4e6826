"""Options for automatic sizing of a run."""

from dataclasses import dataclass

from noisy_student.config.option import option


@dataclass(frozen=True)
class SizingConfig:
    """Automatic sizing of a run (iterate only)."""

    auto: bool = option(
        False,
        "Choose image size, networks, steps, batch sizes, optimizer and selection from the data, "
        "the speed of this machine and --minutes, except where flags are given. The choices are "
        "printed and stored in --workdir; --dry_run shows them.",
        changes_result=False,
    )
    minutes: float = option(
        30.0,
        "Target duration of the whole run in minutes, for --auto.",
        changes_result=False,
        low=1,
        high=1e6,
    )
