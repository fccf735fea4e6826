r"""Runs the published code and writes its outputs, which `benchmarks.published_code` compares with.

Needs an environment with the packages of that time, a checkout of google-research/noisystudent
(TensorFlow 1, here in graph mode) and one of hendrycks/robustness (its commented-out loops for 299
pixels):

    python3.11 -m venv published
    published/bin/pip install tensorflow==2.12.0 numpy==1.23.5 pillow==9.5.0 typeguard==2.13.3
    published/bin/pip install --no-deps tensorflow-addons==0.20.0 torchvision==0.2.1
    PYTHONPATH=. published/bin/python -m benchmarks.published_outputs --make=FILE.npz \
        --noisystudent=CHECKOUT --robustness=CHECKOUT [--images=FOLDER]

Without photographs in FOLDER it writes the small file that the tests compare with,
tests/golden/published_code.npz, on computed images.
"""

import argparse
import contextlib
import importlib
import inspect
import io
import re
import sys
import tempfile
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import harness
from benchmarks.published_code import (
    CLASS_SIZES,
    CROPS,
    DRAWS,
    EVALUATED,
    LONGEST,
    SELECTION,
    SEQUENCE_IMAGE,
    SHOWN_FRAMES,
    SHOWN_STRIDE,
    SIZES,
    SMALL,
    SMALL_REACH,
    Arrays,
    calls,
    computed_image,
)


def _modules(checkout: str) -> tuple[Any, Any, Any, Any]:
    """Imports randaugment, preprocessing and filter_unlabel under the names of TensorFlow 1."""
    tf = importlib.import_module("tensorflow")
    addons = importlib.import_module("tensorflow_addons")
    absl = importlib.import_module("absl.flags")

    class TensorFlow1(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            return getattr(tf.compat.v1, name)

    facade, contrib = TensorFlow1("tensorflow"), types.ModuleType("tensorflow.contrib")
    facade.Print = lambda tensor, *_, **__: tensor
    contrib.image = addons.image  # the successor of tf.contrib.image
    contrib.training = types.SimpleNamespace(HParams=types.SimpleNamespace)
    inspect.getargspec = inspect.getfullargspec  # type: ignore[attr-defined]
    stand_ins = {"tensorflow": facade, "tensorflow.contrib": contrib}
    stand_ins["utils"] = types.ModuleType("utils")
    tf.compat.v1.disable_eager_execution()
    real = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    sys.path.insert(0, checkout)
    names = ("randaugment", "preprocessing", "filter_unlabel")
    loaded = [importlib.import_module(name) for name in names]
    sys.modules.update({name: module for name, module in real.items() if module})
    absl.DEFINE_bool("small_image_model", False, "")
    absl.FLAGS(["published_code"])
    return (facade, *loaded)


def _evaluate(tf: Any, build: Callable[[], Any]) -> Any:
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(build())


def _operation(
    tf: Any, randaugment: Any, image: np.ndarray, call: tuple[str, int, int], reach: int | None
) -> np.ndarray:
    """Runs one operation, with the sign and Cutout's center of `call` in place of random ones."""
    name, magnitude, sign = call

    def drawn(shape: Any = (), minval: Any = 0, maxval: Any = None, dtype: Any = None) -> Any:
        return maxval * 2 // 5 if dtype == tf.int32 else tf.constant(0.9 if sign > 0 else 0.1)

    tf.random_uniform = drawn
    reaches = {"cutout_const": reach or 40, "translate_const": reach or 100}
    hparams = types.SimpleNamespace(**reaches)

    def build() -> Any:
        function, _, arguments = randaugment._parse_policy_info(
            name, 0.5, float(magnitude), 3 * [128], hparams
        )
        return function(tf.constant(image), *arguments)

    result = _evaluate(tf, build)
    del tf.random_uniform
    return result


def _crops(tf: Any, preprocessing: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yields rectangles of the random crop, and images and sides of the center crop."""
    for number, (height, width) in enumerate(CROPS):
        places = np.stack([*np.mgrid[:height, :width], np.zeros([height, width], int)], -1)
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(number)
            box = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
            crop = preprocessing._distorted_bounding_box_crop(
                tf.constant(places, tf.int32),
                box,
                min_object_covered=0.1,
                aspect_ratio_range=(3.0 / 4, 4.0 / 3.0),
                area_range=(0.08, 1.0),
                max_attempts=10,
            )
            cut = (session.run(crop) for _ in range(DRAWS))
            rows = [(*one[0, 0, :2], *one.shape[:2]) for one in cut]
        yield f"crops {height}x{width}", np.array(rows, np.int16)
    for height, width, size in EVALUATED:
        image = computed_image(height, width)
        yield (
            f"evaluated {height}x{width}",
            _evaluate(tf, lambda: preprocessing._preprocess_for_eval(image, False, size)),  # noqa: B023
        )
    yield "crop sides", np.stack([_center_crop_sides(tf, preprocessing, size) for size in SIZES])


def _center_crop_sides(tf: Any, preprocessing: Any, size: int) -> np.ndarray:
    """Returns how far the sides of center crops are from the rounded-down fraction, int8."""
    found: list[Any] = []
    real = tf.slice
    with tf.Graph().as_default(), tf.Session() as session:
        image = tf.placeholder(tf.uint8, [None, None, 3])
        tf.slice = lambda image, begin, size: found.append(size) or real(image, begin, size)
        preprocessing.center_crop(image, size)
        del tf.slice
        shape = [op for op in image.op.graph.get_operations() if op.type == "Shape"][0]
        sides = [
            session.run(found[0], {shape.outputs[0]: [side, side, 3]})[0]
            for side in range(1, LONGEST + 1)
        ]
    exact = size * np.arange(1, LONGEST + 1) // (size + 32)
    return (np.array(sides) - exact).astype(np.int8)


def _selected(module: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yields labels, confidences and numbers of copies of the published selection."""
    rng = np.random.RandomState(0)
    labels = np.repeat(np.arange(len(CLASS_SIZES)), CLASS_SIZES)
    confidences = np.round(rng.beta(2, 1, len(labels)), 4).astype(np.float32)
    classes = [f"class{number}" for number in range(len(CLASS_SIZES))]
    images: dict[int, list[dict[str, Any]]] = {}
    for row, (label, confidence) in enumerate(zip(labels, confidences, strict=True)):
        image = {"worker_id": 0, "idx": row, "prob": float(confidence), "probabilities": []}
        images.setdefault(label, []).append(image)
    thresholds = [number / 100 for number in range(101)]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        flags = module.FLAGS
        flags.prelim_stats_dir = flags.output_dir = folder
        flags.task, flags.num_shards = 0, 1
        flags.num_image = SELECTION["images_per_class"]
        flags.min_threshold = SELECTION["min_confidence"]
        selected = module.get_threshold(images, classes, thresholds)
        np.random.seed(0)
        kept, _, _ = module.get_keep_image_idx(images, selected, classes)
    copies = np.zeros(len(labels), np.int16)
    for row, (_, _, count, _) in kept[0].items():
        copies[row] = count
    yield "selection labels", labels.astype(np.int8)
    yield "selection confidences", confidences
    yield "selection copies", copies


def _sequences(checkout: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yields frames of the published loops for 299 pixels, and their shares of black."""
    import PIL

    PIL.PILLOW_VERSION = "6.0"  # what torchvision of 2018 asks for
    torch = types.ModuleType("torch")
    torch.FloatTensor = torch.Tensor = type("Tensor", (), {})
    sys.modules["torch"] = torch
    package = importlib.util.find_spec("torchvision")
    path = Path(package.submodule_search_locations[0]) / "transforms/functional.py"
    functional = types.ModuleType("functional")
    source = re.sub(r"^from \. import.*$", "", path.read_text(), flags=re.MULTILINE)
    exec(compile(source.replace("collections.Iterable", "tuple"), path, "exec"), vars(functional))
    text = (Path(checkout) / "ImageNet-P/create_p/make_imagenet_p_inception.py").read_text()
    for name in ("scale", "zoom_blur"):
        frames = _run_loop(text, name.replace("_", " ").title(), functional)
        yield f"{name} black", (frames.max(-1) == 0).mean((1, 2)).astype(np.float32)
        shown = frames[list(SHOWN_FRAMES), ::SHOWN_STRIDE, ::SHOWN_STRIDE]
        yield f"{name} frames", shown


def _run_loop(text: str, title: str, functional: types.ModuleType) -> np.ndarray:
    """Runs the commented-out loop of one sequence up to where it writes a video."""
    commented = text.split(f"/////////////// {title} Code")[1].split("save_dir")[0]
    lines = [re.sub(r"^        # ?", "", line) for line in commented.splitlines()[1:]]
    helpers = text[text.index("def resize(") : text.index("for index, folder")]
    transforms = types.SimpleNamespace(
        CenterCrop=lambda side: lambda image: functional.center_crop(image, side),
        ToTensor=lambda: lambda image: np.asarray(image, np.float32) / np.float32(255),
        ToPILImage=lambda: lambda image: Image.fromarray((image * 255).astype(np.uint8)),
    )
    names: dict[str, Any] = {"trn": transforms, "trn_F": functional, "np": np, "PILImage": Image}
    exec("import os, numbers\nfrom tempfile import gettempdir", names)
    names["img"] = Image.fromarray(computed_image(*SEQUENCE_IMAGE))
    exec(helpers + textwrap.dedent("\n".join(lines)), names)
    folder = Path(names["tmp"])
    frames = [np.asarray(Image.open(folder / f"img{number}.png")) for number in range(31)]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return np.stack(frames)


def photographs(folder: str, side: int, count: int = 20) -> list[np.ndarray]:
    """Returns evenly chosen photographs of a folder, their centers resized to `side`."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() != "")
    chosen = paths[:: max(1, len(paths) // count)][:count]
    images = []
    for path in chosen:
        with Image.open(path) as image:
            square = min(image.size)
            left, top = (image.width - square) // 2, (image.height - square) // 2
            cut = image.convert("RGB").crop((left, top, left + square, top + square))
            images.append(np.asarray(cut.resize((side, side), Image.BICUBIC)))
    return images


def make(options: argparse.Namespace) -> None:
    """Runs the published code and writes its outputs."""
    tf, randaugment, preprocessing, filter_unlabel = _modules(options.noisystudent)
    outputs: Arrays = {}
    if options.images:
        for number, image in enumerate(photographs(options.images, 224)):
            outputs[f"photograph {number}"] = image
            outputs[f"operations {number}"] = np.stack(
                [_operation(tf, randaugment, image, call, None) for call in calls()]
            )
        larger = photographs(options.images, 475)
        contrast = ("Contrast", 27, 1)
        cut = [_operation(tf, randaugment, image, contrast, None) for image in larger]
        outputs["contrast 475 black"] = np.mean(np.stack(cut).max(-1) == 0, (1, 2))
    else:
        image = computed_image(*SMALL)
        cut = [_operation(tf, randaugment, image, call, SMALL_REACH) for call in calls()]
        outputs["operations"] = np.stack(cut)
    outputs.update(_crops(tf, preprocessing))
    outputs.update(_selected(filter_unlabel))
    outputs.update(_sequences(options.robustness))
    np.savez_compressed(options.make, **outputs)


if __name__ == "__main__":
    make(
        harness.parser(
            __doc__,
            make=(None, "File to write the published code's outputs to."),
            noisystudent=(None, "Checkout of google-research/noisystudent."),
            robustness=(None, "Checkout of hendrycks/robustness."),
            images=(None, "Folder of photographs; without it, computed images."),
        ).parse_args()
    )
