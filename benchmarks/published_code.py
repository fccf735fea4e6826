"""Outputs of the published code compared with ours: operations, crops, selection, sequences at 299.

    python -m benchmarks.published_code --compare=FILE.npz

Prints the tables of docs/FIDELITY.md. `benchmarks.published_outputs` makes the file, in an
environment of its own; tests/golden/published_code.npz is such a file, on computed images.
"""

import numpy as np

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


if __name__ == "__main__":
    given = harness.parser(
        __doc__, compare=(None, "File of benchmarks.published_outputs to compare with.")
    ).parse_args()
    with np.load(given.compare) as file:
        found = dict(file)
    _compare_operations(found)
    _compare_the_rest(found)
