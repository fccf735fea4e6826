"""Finds published weights by name, URL or path, and converts them to a model file with a card.

Names: ``imagenet`` for the ImageNet weights of a network (keras.applications for B0-B7, timm for
Lite0-4); ``timm/tf_efficientnet_*`` on https://huggingface.co, including those of Noisy Student and
AdvProp; ``hf:OWNER/NAME`` for any other repository there. Downloads are stored in the caches of
Keras and huggingface_hub, conversions in ``$XDG_CACHE_HOME/noisy-student``
(``~/.cache/noisy-student``).
"""

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import keras
from keras.src.applications import efficientnet as keras_efficientnet

from efficientnet import archive, convert, hub


def find(name: str, network: str) -> Path:
    """Returns a model file with a card: the given one, or one converted to the user's cache.

    Args:
        name: ``imagenet``, ``timm/...``, ``hf:...``, a URL, or the path of a ``.keras`` file, of
            weights (``.h5``, ``.safetensors``, ``.pth``), or of a TensorFlow 1 checkpoint.
        network: a name in `CONFIGS`, of the network that the weights are for.

    Raises:
        ValueError: the file does not exist, cannot be downloaded, or is for another network; the
            message says what to download.
    """
    if name == "imagenet":
        size = network.removeprefix("efficientnet-")
        if size in keras_efficientnet.WEIGHTS_HASHES:
            return _converted(_keras_file(size), network)
        if not size.startswith("lite"):
            raise ValueError(
                f"no ImageNet weights for {network}, only for B0-B7 and Lite0-4; "
                "https://huggingface.co/timm has more, as timm/tf_efficientnet_*."
            )
        name = f"timm/tf_efficientnet_{size}.in1k"
    if name.startswith(("timm/", hub.PREFIX)):
        found = hub.find(name.removeprefix(hub.PREFIX), network)
        return _converted(found.path, network, found.normalization)
    if name.startswith(("http://", "https://")):
        label = hashlib.sha256(name.encode()).hexdigest()[:12]
        file = f"{label}-{Path(urlsplit(name).path).name}"
        return _converted(_download(file, name, cache_subdir="noisy_student"), network)
    return _converted(Path(name), network)


def _keras_file(size: str) -> Path:
    file = f"efficientnet{size}.h5"
    url, digest = keras_efficientnet.BASE_WEIGHTS_PATH, keras_efficientnet.WEIGHTS_HASHES[size][0]
    return _download(file, url + file, cache_subdir="models", file_hash=digest)


def _download(file: str, url: str, **where: str) -> Path:
    """Returns a file in Keras' cache, downloading it if necessary."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    home.mkdir(parents=True, exist_ok=True)  # Keras takes /tmp where it is missing
    try:
        return Path(keras.utils.get_file(file, url, cache_dir=str(home), **where))
    except Exception as error:  # the class that Keras raises
        if isinstance(error.__context__, HTTPError):
            error.__context__.close()
        raise ValueError(
            f"{url} cannot be downloaded ({hub.first_line(error)}). Download it elsewhere and save "
            f"it as {home / where['cache_subdir'] / file}, or give the path of the file."
        ) from error


def _converted(path: Path, network: str, normalization: str | None = None) -> Path:
    """Returns a ``.keras`` file unchanged; converts other weights once, for all runs."""
    if path.suffix == ".keras":
        archive.read_card(path)  # refuses files without one
        return path
    checkpoint = path.is_dir() or path.with_name(f"{path.name}.index").exists()
    if not (checkpoint or path.is_file()):
        raise ValueError(
            "no such file; other valid values are imagenet, names such as "
            "timm/tf_efficientnet_b0.ns_jft_in1k, and URLs."
        )
    source = convert.Source(str(path), convert.format_of(path))
    label = f"{network}-{source.describe()['sha256'][:16]}-{normalization or source.format}.keras"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "noisy-student"
    if not (folder / label).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # of this process alone
            converted = Path(scratch) / label
            convert.convert(network, source, converted, normalization=normalization)
            os.replace(converted, folder / label)
    return folder / label
