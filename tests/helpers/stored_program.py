"""Takes a compiled training step with XLA's cache on disk: a process for test_stored_programs.py.

python -m tests.helpers.stored_program SEED FUNCTIONS
"""

import json
import sys
import time

import tensorflow as tf

from efficientnet import cpu_ops
from noisy_student.runtime.devices import make_devices
from noisy_student.train import step
from tests.helpers.small_learner import batches, learner


def main() -> None:
    """Prints loss and seconds of a step, after some functions have been traced."""
    seed, functions = map(int, sys.argv[1:])
    cpu_ops.enabled = lambda: False  # one program, as on a GPU
    for number in range(functions):
        tf.function(lambda x, number=number: x + number)(tf.ones([2]))
    run = step.compile_steps(
        learner(make_devices(precision="float32", jit_compile="on"), seed=seed)
    )
    start = time.perf_counter()
    loss = run(batches(1), 1).numpy()[0, 0]
    print(json.dumps({"loss": float(loss), "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
