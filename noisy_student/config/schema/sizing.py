"""Options of the sizing of a run."""

from dataclasses import dataclass

from noisy_student.config.option import option


@dataclass(frozen=True)
class SizingConfig:
    """Sizing: what a run chooses for itself (iterate only)."""

    auto: bool = option(
        False,
        "Choose image size, networks, steps, batches, optimizer and labels by the images, this "
        "machine and --minutes, where flags do not give them. Choices are printed and kept in "
        "--workdir; --dry_run shows them.",
        changes_result=False,
    )
    minutes: float = option(
        30.0, "Time of the whole run that --auto aims at.", changes_result=False, low=1, high=1e6
    )
