"""The arms of `benchmarks.gpu`: a training step or a prediction of each, timed in this process."""

import argparse
import atexit
import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import harness

if TYPE_CHECKING:
    from noisy_student.train.learner import Learner

CLASSES = 1000
_PHOTOS, _PHOTO_SIDES = 256, (375, 500)
_SYNC_EVERY = 5  # steps between waits for the device
ARMS = {
    "ours": "ours, XLA",
    "ours-nondeterministic": "ours, XLA, op determinism off",
    "ours-plain": "ours, no XLA",
    "keras": "keras.applications, no XLA",
    "keras-xla": "keras.applications, XLA",
    "timm": "timm, eager, channels last",
    "timm-compiled": "timm, torch.compile, channels last",
}
Step = Callable[[], Any]  # returns what must be computed to have taken the step


def ours(arm: str, mode: str, model: str, size: int, batch: int, cache: str) -> tuple[Step, int]:
    """Returns a step of this repository, and its images.

    Args:
        arm: one of `ARMS`.
        mode: "train" on one batch in memory, "fed" by the input pipeline, or "predict".
        model: such as "b0", or a recipe, whose first student is trained.
        size: side of the images of a model.
        batch: images of a step of a model.
        cache: directory of compiled programs, or "off".
    """
    import tensorflow as tf

    from noisy_student import config
    from noisy_student.runtime.devices import make_devices
    from noisy_student.train import build, step, timing

    if arm == "ours-nondeterministic":
        tf.config.experimental.enable_op_determinism = lambda: None
    options: dict[str, Any] = {
        "teacher_name": f"efficientnet-{model}",
        "image_size": size,
        "small_image": size <= 64,
        "teacher_batch_size": batch,
        "teacher_steps": 10_000,
    }
    recipe = harness.ROOT / "recipes" / f"{model}.flags"
    if recipe.exists():
        options = config.parse([f"--flagfile={recipe}"]).given
    given = config.Config(
        **options, jit_compile="off" if arm == "ours-plain" else "on", compile_cache=cache
    )
    settings = given.students[0] if recipe.exists() else given.teacher
    devices = make_devices(**dataclasses.asdict(given.device))
    learner = build.build(settings, devices, CLASSES, num_labeled=100 * settings.batch_size)
    if mode == "predict":
        predict, images = build.predict_step(learner), tf.constant(_images(size, batch))
        return (lambda: predict(images)), batch
    run = step.compile_steps(learner)
    batches = _fed(learner, size) if mode == "fed" else timing.random_batches(learner)
    return (lambda: run(batches, 1)), settings.images_per_step


def keras_applications(arm: str, mode: str, model: str, size: int, batch: int) -> tuple[Step, int]:
    """Returns a step of keras.applications' network, as in `ours`."""
    import keras
    import tensorflow as tf

    from noisy_student.runtime.devices import make_devices

    tf.config.experimental.enable_op_determinism = lambda: None
    make_devices(compile_cache="off")  # precision
    network = getattr(keras.applications, f"EfficientNet{model.upper()}")(
        weights=None, classes=CLASSES, classifier_activation=None, input_shape=(size, size, 3)
    )
    optimizer = keras.optimizers.RMSprop(1e-3, momentum=0.9, epsilon=1e-3)
    optimizer.build(network.trainable_variables)
    images = tf.constant(_images(size, batch))
    labels = tf.range(batch) % CLASSES

    @tf.function(jit_compile=arm == "keras-xla")
    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = tf.cast(network(images, training=True), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    @tf.function(jit_compile=arm == "keras-xla")
    def predict() -> tf.Tensor:
        return tf.reduce_sum(network(images, training=False))

    return (train if mode == "train" else predict), batch


def timm_network(arm: str, mode: str, model: str, size: int, batch: int) -> tuple[Step, int]:
    """Returns a step of timm's network, as in `ours`."""
    import timm
    import timm.optim
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    network = timm.create_model(f"tf_efficientnet_{model}", num_classes=CLASSES)
    network = network.to(device, memory_format=torch.channels_last).train(mode == "train")
    optimizer = timm.optim.RMSpropTF(network.parameters(), lr=1e-3, momentum=0.9, eps=1e-3)
    forward = torch.compile(network) if arm == "timm-compiled" else network
    pixels = torch.from_numpy(_images(size, batch)).permute(0, 3, 1, 2).float().div(255)
    images = pixels.to(device).contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(batch) % CLASSES).to(device)
    autocast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def train() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            logits = forward(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.detach().cpu

    def predict() -> Any:
        with torch.no_grad(), autocast:
            return forward(images).float().sum().cpu

    return (train if mode == "train" else predict), batch


def _images(size: int, batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)


def _fed(learner: "Learner", size: int) -> Any:
    """Returns batches of the input pipeline: images in memory if small, else photographs."""
    import PIL.Image

    from data import sources
    from data.sources import folders
    from noisy_student.train.batches import training_batches

    rng = np.random.default_rng(0)
    if size <= 64:
        count = 4096
        ids = np.array([f"x/{number}" for number in range(count)], object)
        labels = np.arange(count, dtype=np.int32) % CLASSES
        names = tuple(map(str, range(CLASSES)))
        images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        return training_batches(learner, sources.DecodedExamples(ids, labels, names, images=images))
    scratch = tempfile.TemporaryDirectory()
    atexit.register(scratch.cleanup)
    folder = pathlib.Path(scratch.name)
    for number in range(_PHOTOS):
        path = folder / str(number % 8) / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize(_PHOTO_SIDES[::-1], PIL.Image.Resampling.BICUBIC).save(path, quality=90)
    return training_batches(learner, folders.read_labeled(str(folder)))


def work(options: argparse.Namespace) -> dict[str, Any]:
    """Measures one arm in this process."""
    start = time.perf_counter()
    arm, mode, model, size, batch = options.worker.split(",")
    arguments = arm, mode, model, int(size), int(batch)
    if arm.startswith("ours"):
        step, images = ours(*arguments, options.compile_cache)
    else:
        step, images = (timm_network if arm.startswith("timm") else keras_applications)(*arguments)
    built = time.perf_counter()
    wait(step())
    ready = time.perf_counter()
    for _ in range(2):
        wait(step())
    rates = [rate(step, images, options.seconds) for _ in range(options.turns)]
    return {
        "build": built - start,
        "first": ready - built,
        "rate": statistics.median(rates),
        "gib": _peak_gib(arm),
    }


def wait(result: Any) -> None:
    """Waits until a step is computed."""
    result() if callable(result) else result.numpy()


def rate(step: Step, images: int, seconds: float) -> float:
    """Returns images per second of steps during some seconds, at least `_SYNC_EVERY` steps."""
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < seconds:
        for _ in range(_SYNC_EVERY):
            result = step()
        wait(result)
        count += _SYNC_EVERY
    return count * images / (time.perf_counter() - start)


def _peak_gib(arm: str) -> float:
    """Returns the peak of the GPU's memory, or of this process without a GPU."""
    if arm.startswith("timm"):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
    else:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30
    return harness.peak_mib() / 1024
