r"""Fashion-MNIST as folders of images, and the accuracy of a CNN of ten lines on them.

Draws 20 labeled images per class, 3000 unlabeled ones, 100 test images per class (`test`) and 400
further ones per class to compare settings on (`dev`); `test_all` is the whole test set. Debian's
package dataset-fashion-mnist has the four source files.

    python -m benchmarks.fashion_folders --output=photos --seed=0
    bash run.sh folder --labeled_dir=photos/labeled --unlabeled_dir=photos/unlabeled \
        --test_dir=photos/test --workdir=runs/photos --controls=student
    noisy-student evaluate --model=runs/photos/round2/student/model.keras --benchmarks=clean \
        --dataset=folder --test_dir=photos/test_all --output_dir=runs/photos/test_all
"""

import gzip
import pathlib

import keras
import numpy as np
from PIL import Image

from benchmarks import harness

CLASSES = "tshirt trouser pullover dress coat sandal shirt sneaker bag boot".split()
_SIDE = 28
_LABELED, _DEV, _TEST, _UNLABELED = 20, 400, 100, 3000  # the first three per class


def _read(folder: pathlib.Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads images uint8 [N, 28, 28] and labels uint8 [N] from IDX files."""
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"{name}-{kind}.gz").read_bytes()), np.uint8)
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    return images[16:].reshape(-1, _SIDE, _SIDE), labels[8:]


def write_folders(source: pathlib.Path, output: pathlib.Path, seed: int) -> None:
    """Writes the folders as PNG files; the same images for the same seed."""
    (images, labels), (test, test_labels) = _read(source, "train"), _read(source, "t10k")
    rng, rest = np.random.default_rng(seed), []
    order = rng.permutation(len(images))
    for label, name in enumerate(CLASSES):
        chosen = order[labels[order] == label]
        _save(images, chosen[:_LABELED], output / "labeled" / name)
        _save(images, chosen[_LABELED : _LABELED + _DEV], output / "dev" / name)
        rest.append(chosen[_LABELED + _DEV :])
        shuffled = rng.permutation(len(test))
        _save(test, shuffled[test_labels[shuffled] == label][:_TEST], output / "test" / name)
        _save(test, np.flatnonzero(test_labels == label), output / "test_all" / name)
    _save(images, rng.permutation(np.concatenate(rest))[:_UNLABELED], output / "unlabeled", 5)


def _save(images: np.ndarray, indices: np.ndarray, folder: pathlib.Path, digits: int = 3) -> None:
    """Writes chosen images; their names, on which noise depends, are numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, index in enumerate(indices):
        Image.fromarray(images[index]).save(folder / f"{number:0{digits}d}.png")


def cnn_accuracy(folder: pathlib.Path, seed: int, epochs: int = 60) -> float:
    """Trains the CNN on `labeled`; returns its top-1 accuracy on `test`, 0..1."""
    keras.utils.set_random_seed(seed)
    train, test = (
        keras.utils.image_dataset_from_directory(
            folder / name,
            color_mode="grayscale",
            image_size=(_SIDE, _SIDE),
            shuffle=name == "labeled",
            verbose=False,
        )
        for name in ("labeled", "test")
    )
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(train, epochs=epochs, verbose=0)
    return model.evaluate(test, verbose=0)[1]


def main() -> None:
    """Writes the folders and prints the accuracy of the CNN."""
    options = harness.parser(
        __doc__,
        source=("/usr/share/datasets/fashion-mnist", "Folder with the four IDX files, gzipped."),
        output=(str, "Receives the folders."),
        seed=(0, "Chooses the images."),
    ).parse_args()
    output = pathlib.Path(options.output)
    write_folders(pathlib.Path(options.source), output, options.seed)
    accuracy = cnn_accuracy(output, options.seed)
    print(f"CNN of ten lines: {100 * accuracy:.1f}% of {_TEST * len(CLASSES)} test images")


if __name__ == "__main__":
    main()
