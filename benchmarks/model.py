"""EfficientNet-B0 beside its peers: training step, inference and memory.

    python -m benchmarks.model [--mode=train|predict] [--size=224] [--batch=32] [--rounds=5]
        [--peers=keras,tf_keras,timm] [--python_tf_keras=FILE] [--python_timm=FILE]

Arms: this repository, keras.applications on Keras 3 and on tf_keras, and timm's tf_efficientnet_b0
on PyTorch. Each runs in a process of its own that waits for its turn. Arms whose packages are not
installed are left out; --python_NAME runs an arm with another interpreter. Prints images per
second, the ratio of ours to each peer's, peak resident memory, and the fraction of the machine's
measured peak. A step is softmax cross entropy, gradients and plain SGD in float32.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks import harness

CLASSES = 1000
MULTIPLY_ADDS = 0.386e9  # B0's forward pass at 224 pixels (EfficientNet paper, table 2: 0.39)


def tensorflow_arm(arm: str, mode: str, size: int, batch: int) -> Callable[[], None]:
    """Returns one training step or forward pass of a Keras model."""
    import tensorflow as tf

    if arm == "ours":
        import efficientnet

        model = efficientnet.build_model("efficientnet-b0", CLASSES)
    else:
        keras = __import__(arm)
        model = keras.applications.EfficientNetB0(
            weights=None, classes=CLASSES, classifier_activation=None, input_shape=(size, size, 3)
        )
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (batch, size, size, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, CLASSES, batch), tf.int32)

    @tf.function
    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            )
        variables = model.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(1e-3 * gradient)
        return loss

    @tf.function
    def predict() -> tf.Tensor:
        return tf.reduce_sum(model(images, training=False))

    step = train if mode == "train" else predict
    return lambda: step().numpy()


def torch_arm(mode: str, size: int, batch: int) -> Callable[[], None]:
    """Returns one training step or forward pass of timm's model, channels last."""
    import timm
    import torch

    model = timm.create_model("tf_efficientnet_b0", num_classes=CLASSES)
    model = model.to(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(batch, 3, size, size)).astype(np.float32))
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(rng.integers(0, CLASSES, batch))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    model.train(mode == "train")

    def train() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def predict() -> None:
        with torch.no_grad():
            model(images)

    return train if mode == "train" else predict


def work(arm: str, mode: str, size: int, batch: int) -> None:
    """Runs the process of one arm: reads step counts, prints seconds and peak memory in GiB."""
    if arm == "timm":
        step = torch_arm(mode, size, batch)
    else:
        step = tensorflow_arm(arm, mode, size, batch)
    for _ in range(2):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        step()  # a waiting process may have lost pages and caches
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, flush=True)


class Arm:
    """A child process that runs steps on request."""

    def __init__(self, name: str, interpreter: str, options: argparse.Namespace) -> None:
        self.name = name
        command = [interpreter, "-m", "benchmarks.model", f"--worker={name}"]
        command += [
            f"--{option}={getattr(options, option)}" for option in ("mode", "size", "batch")
        ]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=harness.environment()
        )
        self.ready = self._read_line() == "ready"
        self.memory = 0.0

    def seconds(self, steps: int) -> float:
        """Runs some steps and returns the seconds they took."""
        print(steps, file=self.process.stdin, flush=True)
        seconds, self.memory = map(float, self._read_line().split())
        return seconds

    def error(self) -> str:
        """Returns the last line of the process's standard error."""
        return self.process.communicate()[1].strip().splitlines()[-1]

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def peak_flops() -> float:
    """Returns operations per second of a large float32 matrix product, the best of five."""
    a = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times)


def main() -> None:
    """Runs the arms in turns and prints the table."""
    options = harness.parser(
        __doc__,
        mode=("train", "What to measure: train or predict."),
        size=(224, "Side of the images in pixels."),
        batch=(32, "Images per batch."),
        rounds=(5, "Turns of each arm."),
        steps=(4, "Steps per turn."),
        peers=(["keras", "tf_keras", "timm"], "Arms besides ours."),
        python_tf_keras=(sys.executable, "Interpreter with tf_keras."),
        python_timm=(sys.executable, "Interpreter with timm and PyTorch."),
        worker=(None, "Internal: arm that a child process runs."),
    ).parse_args()
    if options.worker:
        work(options.worker, options.mode, options.size, options.batch)
        return
    arms = []
    for name in ("ours", *options.peers):
        arm = Arm(name, getattr(options, f"python_{name}", sys.executable), options)
        if arm.ready:
            arms.append(arm)
        else:
            print(f"{name} is left out: {arm.error()}")
    rounds = [[arm.seconds(options.steps) for arm in arms] for _ in range(options.rounds)]
    images = options.steps * options.batch
    print(f"{options.mode}, {options.size} pixels, batch {options.batch}:")
    for number, arm in enumerate(arms):
        rate = images / statistics.median(row[number] for row in rounds)
        ratio = statistics.median(row[number] / row[0] for row in rounds)
        print(
            f"  {arm.name:9} {rate:8.1f} images/s   ours / {arm.name} {ratio:5.2f}   "
            f"peak memory {arm.memory:.2f} GiB"
        )
    passes = 3 if options.mode == "train" else 1
    operations = 2 * MULTIPLY_ADDS * (options.size / 224) ** 2 * passes
    rate = images / statistics.median(row[0] for row in rounds)
    peak = peak_flops()
    print(
        f"  peak {peak / 1e9:.0f} GFLOP/s (matrix product), ours reaches "
        f"{100 * rate * operations / peak:.0f}% of it"
    )


if __name__ == "__main__":
    main()
