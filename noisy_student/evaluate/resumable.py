"""Benchmarks in parts, such as a corruption at one severity, with a result file for each part.

A part whose file exists is not measured again. An interrupted evaluation therefore continues where
it stopped, and ends with the same bytes as an uninterrupted one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging
from tqdm import tqdm

from noisy_student.artifacts import integrity, stage
from noisy_student.artifacts.files import read_json, write_json
from noisy_student.artifacts.json_files import Part
from noisy_student.runtime import notebook

Progress = Callable[[int], object]  # called with the number of images done since the last call

# Keys of a request that select which parts to measure. The result of a part is the same for all.
_PART_SELECTION = ("names", "severities", "epsilons", "parts")


def measure_parts(
    num_images: Mapping[str, int],
    measure: Callable[[str, Progress], dict[str, Any]],
    folder: Path,
    request: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Measures the parts whose files are missing or belong to another request.

    The number of images belongs to the request of a part: a part that was measured while its images
    were still being downloaded is measured again.

    Args:
        num_images: part -> number of its images, counted before any part is measured.
        measure: returns the content of a part's file, JSON-like.
        folder: receives ``<part>.json``.
        request: what the benchmark's result depends on, JSON-like.

    Returns:
        Part -> content of its file, in the order of `num_images`.
    """
    shared = {key: value for key, value in request.items() if key not in _PART_SELECTION}
    paths = {part: folder / f"{part}.json" for part in num_images}
    requests = {part: {**shared, "num_images": count} for part, count in num_images.items()}
    missing = [part for part, path in paths.items() if not is_finished(path, requests[part])]
    with progress_bar(folder.name, sum(num_images[part] for part in missing)) as bar:
        for part in missing:
            bar.set_postfix_str(part)
            content = {"request": requests[part], **measure(part, bar.update)}
            content |= integrity.predictions(folder, f"{part}.npz")
            write_json(paths[part], content)
    return {part: read_json(path) for part, path in paths.items()}


def incomplete_parts(counts: Mapping[str, int]) -> list[str]:
    """Lists the parts with fewer images than the largest, as in "fog 2 (40 of 50 images)"."""
    most = max(counts.values(), default=0)
    return [
        f"{name} ({most - count} of {most} images)"
        for name, count in counts.items()
        if count < most
    ]


def is_finished(path: Path, request: Mapping[str, Any], kind: Any = None) -> bool:
    """Returns True if `path` is a result file of the same request, and undamaged.

    `kind` is the type of its content; None: that of a part.
    """
    if not path.exists():
        return False
    try:
        content = read_json(path, kind or Part)
        integrity.check_files(path.parent, content.get("files", {}))
    except ValueError as error:
        logging.warning("running the benchmark again: %s", error)
        return False
    stored = content["request"]
    return stored == {k: v for k, v in request.items() if k in stored or k not in stage.LATER}


def progress_bar(title: str, num_images: int) -> tqdm:
    """Returns a progress bar with the time left, shown on a terminal or in a notebook."""
    hides = notebook.hides_bars()
    return tqdm(total=num_images, desc=title, unit="image", disable=hides, dynamic_ncols=True)


def describe_coverage(result: Mapping[str, Any]) -> str:
    """Returns the number of images of a result, and of missing parts if there are any."""
    missing = f"{len(result['missing'])} parts missing, " if result.get("missing") else ""
    return f"{missing}{result['num_examples']} images"
