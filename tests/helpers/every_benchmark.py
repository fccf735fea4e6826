"""Small data for every benchmark, and the results of all of them as an earlier version wrote them.

``python -m tests.helpers.every_benchmark`` rewrites the golden file. Do that only for a deliberate
change of the format: finished work of users is recognized by these requests.
"""

import json
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from noisy_student.artifacts import files
from tests.helpers import tiny_evaluation as tiny

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation_results.json"
# Model -> its benchmarks. The CIFAR-10 sets go by class names, those of ImageNet by WordNet ids.
BENCHMARKS = {
    "wnids": (
        *("clean", "corruptions", "perturbations", "fgsm", "pgd"),
        *("imagenet_a", "imagenet_r", "imagenet_v2", "imagenet_c", "imagenet_p"),
    ),
    "cifar10": ("cifar10_c", "cifar10_p"),
}


def write_data(root: Path) -> None:
    """Writes a few images or videos of each published benchmark, in folders named like it."""
    for number, name in enumerate(("imagenet_a", "imagenet_r", "imagenet_v2")):
        for i, image in enumerate(tiny.pictures(6, 2 * tiny.SIDE, seed=number)):
            tiny.write_image(root / name / tiny.WNIDS[2 * (i % 3)] / f"{i}.png", image)
    for number, setting in enumerate(("fog/1", "fog/3", "snow/5")):
        for i, image in enumerate(tiny.pictures(4, 40, seed=10 + number)):
            tiny.write_image(root / "imagenet_c" / setting / tiny.WNIDS[i % 2] / f"{i}.png", image)
    films = tiny.pictures(4, tiny.SIDE, seed=20).reshape(2, 2, tiny.SIDE, tiny.SIDE, 3)
    films = films.repeat(2, axis=1)
    for i, frames in enumerate(films):
        _write_video(root / "imagenet_p" / "tilt" / tiny.WNIDS[i] / "0.mp4", frames)
    for name in ("cifar10_c", "cifar10_p"):
        (root / name).mkdir()
    np.save(root / "cifar10_c" / "labels.npy", np.tile(np.arange(4), 5))
    np.save(root / "cifar10_c" / "fog.npy", tiny.pictures(20, seed=30))
    np.save(root / "cifar10_p" / "shot_noise.npy", films)


def evaluate(folder: Path, output_dir: Path) -> dict[str, dict[str, Any]]:
    """Runs every benchmark on the data in `folder`; model -> benchmark -> result."""
    results, paths = {}, tiny.save_models(folder / "models")
    for model, benchmarks in BENCHMARKS.items():
        settings = tiny.settings(
            *benchmarks,
            corruptions=("fog", "shot_noise"),
            severities=(4,),
            perturbations=("tilt",),
            examples=5,
            seed=3,
            **{f"{name}_dir": folder / name for name in benchmarks if "_" in name},
        )
        examples = tiny.examples(6) if "clean" in benchmarks else None
        results[model] = tiny.run(paths[model], examples, output_dir / model, settings)
    return results


def read_results(folder: Path, output_dir: Path) -> dict[str, Any]:
    """Returns path -> content of each JSON file, without what differs between machines and runs."""
    names = {str(folder): "FOLDER", **{digest: name for name, digest in _hashes(folder).items()}}
    found = {}
    for path in sorted(output_dir.rglob("*.json")):
        content = json.loads(_replace(path.read_text(), names))
        for name in ("checksum", "files"):  # of bytes that differ between machines
            content.pop(name, None)
        if "seconds" in content:
            content["seconds"] = 0
        found[str(path.relative_to(output_dir))] = content
    return found


def write_golden_results(folder: Path, output_dir: Path) -> dict[str, Any]:
    """Writes the golden results as if they were of the models and data in `folder`."""
    tiny.save_models(folder / "models")
    golden = json.loads(_replace(GOLDEN.read_text(), {"FOLDER": str(folder), **_hashes(folder)}))
    for path, content in golden.items():
        files.write_json(output_dir / path, content)
    return golden


def _hashes(folder: Path) -> dict[str, str]:
    """Returns placeholder -> hash of each model's file."""
    return {
        f"WEIGHTS_{model}": files.file_hash(folder / "models" / f"{model}.keras")
        for model in BENCHMARKS
    }


def _replace(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _write_video(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write_data(Path(scratch))
        evaluate(Path(scratch), Path(scratch) / "out")
        files.write_json(GOLDEN, read_results(Path(scratch), Path(scratch) / "out"))
