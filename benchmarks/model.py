"""EfficientNet-B0 beside its peers: training step, inference and memory, arms taking turns.

    python -m benchmarks.model [--mode=train|predict] [--size=224] [--batch=32] [--rounds=5]
        [--peers=keras,tf_keras,timm] [--python_tf_keras=FILE] [--python_timm=FILE]

Arms: ours, keras.applications on Keras 3, on tf_keras, and timm's tf_efficientnet_b0 on PyTorch.
Each runs in a process of its own that waits for its turn, so that other work on the machine strikes
all alike. Those that need packages which are not installed here are left out, or run by another
interpreter. Printed: images/s (median over rounds), the median ratio of ours to each peer's in the
same round, the peak of resident memory, and the share of the machine's measured peak.
A step is softmax cross entropy, gradients and plain SGD, at float32.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 1000
MULTIPLY_ADDS = 0.386e9  # of B0's forward pass at 224 pixels (EfficientNet paper, table 2: 0.39)


def tensorflow_arm(arm: str, mode: str, size: int, batch: int) -> Callable[[], None]:
    """One step, or one pass, of a Keras model."""
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
    """One step, or one pass, of timm's model, channels last."""
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
    """A process of one arm: for every number of steps read, prints seconds and peak memory."""
    if arm == "timm":
        step = torch_arm(mode, size, batch)
    else:
        step = tensorflow_arm(arm, mode, size, batch)
    for _ in range(2):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        step()  # a process that waits may have lost pages and caches
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        seconds = time.perf_counter() - start
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, flush=True)


class Arm:
    """A process that runs steps when it is told to."""

    def __init__(self, name: str, interpreter: str, options: argparse.Namespace):
        """Starts it and waits until it is ready."""
        self.name = name
        command = [interpreter, __file__, f"--worker={name}", f"--mode={options.mode}"]
        command += [f"--size={options.size}", f"--batch={options.batch}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.ready = self.process.stdout.readline().strip() == "ready"
        self.memory = 0.0

    def seconds(self, steps: int) -> float:
        """Runs some steps."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        seconds, self.memory = map(float, self.process.stdout.readline().split())
        return seconds


def peak_flops() -> float:
    """Operations a second of a large float32 matrix product, the best of five."""
    a = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times)


def main() -> None:
    """Runs the arms in turns and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=("train", "predict"), default="train")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--peers", default="keras,tf_keras,timm")
    parser.add_argument("--python_tf_keras", default=sys.executable)
    parser.add_argument("--python_timm", default=sys.executable)
    parser.add_argument("--worker")
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.mode, options.size, options.batch)
        return
    arms = []
    for name in ("ours", *options.peers.split(",")):
        arm = Arm(name, getattr(options, f"python_{name}", sys.executable), options)
        if arm.ready:
            arms.append(arm)
        else:
            print(f"{name} left out: {arm.process.stderr.read().strip().splitlines()[-1]}")
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
