r"""Outputs of the published code beside ours: operations, crops, selection, sequences at 299.

The published code needs an environment of its own, so this runs in two steps. The first runs a
checkout of google-research/noisystudent (TensorFlow 1, here in graph mode) and one of
hendrycks/robustness (its commented-out loops for 299 pixels), and writes what they return:

    python3.11 -m venv published
    published/bin/pip install tensorflow==2.12.0 numpy==1.23.5 pillow==9.5.0 typeguard==2.13.3
    published/bin/pip install --no-deps tensorflow-addons==0.20.0 torchvision==0.2.1
    PYTHONPATH=. published/bin/python -m benchmarks.published_code --make=FILE.npz \
        --noisystudent=CHECKOUT --robustness=CHECKOUT [--images=FOLDER]

The second compares with this repository and prints the tables of docs/FIDELITY.md:

    python -m benchmarks.published_code --compare=FILE.npz [--images=FOLDER]

Without photographs in FOLDER the first step writes the small file that the tests compare with,
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

Arrays = dict[str, np.ndarray]
MAGNITUDES = (5, 10, 27)
WITHOUT_ARGUMENT = ("AutoContrast", "Equalize", "Invert")
SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
OTHERS = ("Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast", "Brightness", "Sharpness")
SMALL, SMALL_REACH = (20, 24), 4  # of the computed image; pixels of TranslateX and Cutout at M = 10
CROPS = ((60, 80), (80, 60), (20, 200))  # images that are cropped at random
DRAWS = 500
EVALUATED = ((41, 57, 24), (70, 50, 32))  # height, width, size of center crops
SIZES = (224, 240, 260, 300, 380, 456, 475, 528, 600, 672, 800)  # of the networks
LONGEST = 600  # of the shorter sides whose center crops are compared
SELECTION = {"images_per_class": 300, "min_confidence": 0.3}
CLASS_SIZES = (900, 400, 120, 3)
SEQUENCE_IMAGE, SHOWN_FRAMES, SHOWN_STRIDE = (360, 480), (0, 10, 18, 24, 30), 6


def computed_image(height: int, width: int) -> np.ndarray:
    """Returns triangular waves in three directions, uint8 [height, width, 3], without black."""
    rows, columns = np.mgrid[:height, :width]
    waves = [3 * rows + 2 * columns, 5 * columns - 4 * rows, rows + 7 * columns]
    return (20 + np.abs(np.stack(waves, -1) % 400 - 200)).astype(np.uint8)


def calls() -> list[tuple[str, int, int]]:
    """Returns operations, magnitudes and signs to compare."""
    found = [(name, 5, 1) for name in WITHOUT_ARGUMENT]
    for magnitude in MAGNITUDES:
        found += [(name, magnitude, 1) for name in (*OTHERS, "Cutout")]
        found += [(name, magnitude, sign) for name in SIGNED for sign in (1, -1)]
    return found


# First step: the published code.


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


# Second step: this repository.


def ours(image: np.ndarray, call: tuple[str, int, int], reach: int | None, form: str) -> np.ndarray:
    """Returns the result of our operation; `form` is that of Contrast."""
    import tensorflow as tf

    from data.randaugment import level_to_argument, operations

    name, magnitude, sign = call
    argument = level_to_argument(name, magnitude, reach or 100, reach or 40)
    center = [2 * side // 5 for side in image.shape[:2]]
    applied = operations.apply(
        tf.constant(image),
        tf.constant(operations.NAMES.index(name)),
        tf.constant(sign * (argument or 0), tf.float32),
        tf.constant(center),
        form,
    )
    return applied.numpy()


def _compare_operations(outputs: Arrays) -> None:
    if "operations" in outputs:
        pairs = [(computed_image(*SMALL), outputs["operations"])]
    else:
        count = sum(name.startswith("photograph") for name in outputs)
        pairs = [(outputs[f"photograph {n}"], outputs[f"operations {n}"]) for n in range(count)]
    reach = SMALL_REACH if "operations" in outputs else None
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    for image, results in pairs:
        for call, published in zip(calls(), results, strict=True):
            for form in ("true_mean", "published") if call[0] == "Contrast" else ("true_mean",):
                name = call[0] if form == "true_mean" else "Contrast, --contrast=published"
                apart = ours(image, call, reach, form).astype(int) - published
                found.setdefault((name, call[1]), []).append(apart)
    print(f"{len(pairs)} images\n")
    print("| operation | M | pixels that differ | values that differ | largest | mean |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for (name, magnitude), apart in sorted(found.items()):
        table = np.stack(apart)
        pixels, values = 100 * np.mean(table.any(-1)), 100 * np.mean(table != 0)
        magnitude_text = "" if name in WITHOUT_ARGUMENT else f"{magnitude}"
        print(
            f"| {name} | {magnitude_text} | {pixels:.2f}% | {values:.2f}% | "
            f"{np.abs(table).max()} | {table.mean():+.2f}, absolute {np.abs(table).mean():.2f} |"
        )
    if "contrast 475 black" in outputs:
        black = 100 * outputs["contrast 475 black"].mean()
        print(
            f"\nPublished Contrast at 475 pixels and M = 27: {black:.0f}% of the pixels are black"
        )


def _compare_the_rest(outputs: Arrays) -> None:
    from data import perturbations, preprocess
    from noisy_student import selection

    for height, width, size in EVALUATED:
        image = computed_image(height, width)
        floats = preprocess.eval_image(image, preprocess.PreprocessSpec(size, pixels="float32"))
        apart = np.abs(floats.numpy() - outputs[f"evaluated {height}x{width}"]).max()
        print(f"center crop and bicubic of {height}x{width} to {size}: at most {apart:.2g} levels")
    for size, row in zip(SIZES, outputs["crop sides"], strict=True):
        print(f"side of the center crop at {size}: {np.flatnonzero(row) + 1} differ")
    labels, confidences = outputs["selection labels"], outputs["selection confidences"]
    ids = np.arange(len(labels), dtype=np.uint64)
    target, lowest = SELECTION["images_per_class"], SELECTION["min_confidence"]
    copies = selection.select(labels, confidences, ids, len(CLASS_SIZES), int(target), lowest)
    print("\n| class | above threshold | published: distinct, total | ours: distinct, total |")
    print("| --- | ---: | ---: | ---: |")
    for label in range(len(CLASS_SIZES)):
        rows = labels == label
        counts = [
            f"{np.count_nonzero(found[rows])}, {found[rows].sum()}"
            for found in (outputs["selection copies"], copies)
        ]
        print(f"| {label} | {np.sum(confidences[rows] >= lowest)} | {' | '.join(counts)} |")
    for name in ("scale", "zoom_blur"):
        frames = perturbations.sequence(computed_image(*SEQUENCE_IMAGE), name, 0, 299)
        black = (frames.max(-1) == 0).mean((1, 2))
        shown = frames[list(SHOWN_FRAMES), ::SHOWN_STRIDE, ::SHOWN_STRIDE].astype(int)
        apart = np.abs(shown - outputs[f"{name} frames"]).mean((1, 2, 3))
        largest = np.abs(black - outputs[f"{name} black"]).max()
        print(f"{name} at 299: black share differs by at most {largest:.4f}; mean levels {apart}")


def main() -> None:
    """Makes or compares."""
    options = harness.parser(
        __doc__,
        make=(None, "File to write the published code's outputs to (first step)."),
        noisystudent=(None, "Checkout of google-research/noisystudent."),
        robustness=(None, "Checkout of hendrycks/robustness."),
        images=(None, "Folder of photographs; without it, computed images."),
        compare=(None, "File of the first step to compare with (second step)."),
    ).parse_args()
    if options.make:
        make(options)
    else:
        with np.load(options.compare) as outputs:
            found = dict(outputs)
        _compare_operations(found)
        _compare_the_rest(found)


if __name__ == "__main__":
    main()
