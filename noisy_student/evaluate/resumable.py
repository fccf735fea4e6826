"""The parts of a benchmark, such as a corruption at one severity: each has a file of its own.

A part whose file is there is not measured again, so that an interrupted evaluation goes on where it
was, and ends with the same bytes as one that was not interrupted.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from noisy_student.artifacts.files import read_json, write_json

Progress = Callable[[int], object]  # takes the number of images done since the last call
_Part = TypeVar("_Part")


def measure_all(
    parts: Mapping[str, _Part],
    measure: Callable[[_Part, Progress], dict[str, Any]],
    folder: Path,
    request: Mapping[str, Any],
    *,
    what: str,
    num_images: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
    """Measures the parts whose files are not there, or answer another request.

    The number of a part's images belongs to the request: one that was measured while its folder was
    still being filled is measured again.

    A bar shows images done and the time left over all parts.

    Args:
        parts: name of the file -> what `measure` needs to know.
        measure: what a file says, JSON-like.
        folder: receives ``<name>.json``.
        request: what the result depends on besides the part, JSON-like.
        what: title of the bar.
        num_images: of every part, counted before any is measured.

    Returns:
        Name -> content of its file, in the order of the parts.
    """
    paths = {name: folder / f"{name}.json" for name in parts}
    requests = {name: {**request, "num_images": num_images[name]} for name in parts}
    todo = [name for name, path in paths.items() if not _answers(path, requests[name])]
    with bar(what, sum(num_images[name] for name in todo)) as shown:
        for name in todo:
            shown.set_postfix_str(name)
            content = {"request": requests[name], **measure(parts[name], shown.update)}
            write_json(paths[name], content)
    return {name: read_json(path) for name, path in paths.items()}


def short_ones(counts: Mapping[str, int]) -> list[str]:
    """Those parts of a benchmark that have fewer images than the largest one, in words.

    Args:
        counts: part -> number of images.
    """
    most = max(counts.values(), default=0)
    return [
        f"{name} ({most - count} of {most} images)"
        for name, count in counts.items()
        if count < most
    ]


def bar(what: str, num_images: int) -> tqdm:
    """A progress bar with the time left, where there is a terminal."""
    return tqdm(total=num_images, desc=what, unit="image", disable=None, dynamic_ncols=True)


def _answers(path: Path, request: Mapping[str, Any]) -> bool:
    return path.exists() and read_json(path)["request"] == request
