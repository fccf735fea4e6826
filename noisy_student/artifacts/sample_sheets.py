"""Sample sheets of a selection: per class the most and least confident images kept, and dropped."""

import io
from pathlib import Path

import numpy as np
import PIL.Image

from data.examples import Examples
from noisy_student.artifacts import pictures
from noisy_student.artifacts.files import write_json
from noisy_student.artifacts.json_files import SampleImage, Samples

_CLASSES = 10  # shown, spread evenly over all classes
_IMAGES = 4  # per class and kind
_SIDE = 96  # pixels of the longer side, at most
_NAMES = ("confidence", "id_hash", "index", "true_label", "copies")
MOST_CONFIDENT, LEAST_CONFIDENT, DROPPED = KINDS = (
    "surest kept",
    "least sure kept",
    "surest dropped",
)  # as `samples.json` names them


class Sheets:
    """Finds the images to show among predictions that come piece by piece in any order."""

    def __init__(self, num_classes: int):
        """Starts without predictions of `num_classes` classes."""
        shown = np.linspace(0, num_classes - 1, min(_CLASSES, num_classes)).astype(int)
        self._found: dict[tuple[int, str], dict[str, np.ndarray]] = {
            (label, kind): {} for label in shown.tolist() for kind in KINDS
        }

    def add(self, columns: dict[str, np.ndarray], copies: np.ndarray) -> None:
        """Looks at predictions.

        Args:
            columns: label, confidence, id_hash, index and true_label, each [N].
            copies: int [N], how often each image is in the student's set.
        """
        columns = columns | {"copies": copies}
        for (label, kind), before in self._found.items():
            of_kind = (copies == 0) if kind == DROPPED else (copies > 0)
            rows = np.flatnonzero((columns["label"] == label) & of_kind)
            best = {name: columns[name][rows] for name in _NAMES}
            if before:
                best = {name: np.concatenate([before[name], best[name]]) for name in _NAMES}
            sign = 1 if kind == LEAST_CONFIDENT else -1
            order = np.lexsort((best["id_hash"], sign * best["confidence"]))[:_IMAGES]
            self._found[label, kind] = {name: best[name][order] for name in _NAMES}

    def write(self, path: Path, examples: Examples) -> None:
        """Writes `samples.json`, pictures inside, without classes and kinds that have no images.

        The column `index` counts `examples`.
        """
        samples: Samples = {"num_classes": len(examples.class_names), "sheets": []}
        for (label, kind), rows in self._found.items():
            images = [_image(examples, *row) for row in zip(*rows.values(), strict=True)]
            if images:
                name = examples.class_names[label]
                samples["sheets"].append({"class": name, "kind": kind, "images": images})
        write_json(path, samples)


def _image(
    examples: Examples, confidence: float, _: int, index: int, truth: int, copies: int
) -> SampleImage:
    picture = PIL.Image.open(io.BytesIO(examples.encoded(int(index)))).convert("RGB")
    picture.thumbnail((_SIDE, _SIDE))
    return {
        "id": str(examples.ids[index]),
        "confidence": round(float(confidence), 4),
        "copies": int(copies),
        "true": examples.class_names[truth] if truth >= 0 else None,
        "png_base64": pictures.png_base64(np.asarray(picture)),
    }
