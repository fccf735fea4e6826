"""Numbers, intervals and durations as text."""

from collections.abc import Sequence

NONE = "-"  # stands for a number that is not known


def number(value: float | None, form: str) -> str:
    """Formats a number, or returns `NONE`."""
    return NONE if value is None else format(value, form)


def interval(bounds: Sequence[float], form: str = ".1f") -> str:
    """Formats an interval, as in "88.0 to 91.7"."""
    return " to ".join(format(value, form) for value in bounds)


def duration(seconds: float | None) -> str:
    """Formats a duration in one or two units, as in "40 s", "12 min", "2 h 5 min" or "2.5 days"."""
    if seconds is None:
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{seconds / 86400:.1f} days"
