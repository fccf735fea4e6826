"""The rule of `--jit_compile=auto`: where does compilation with XLA pay?

It follows from the number of steps and their size alone, not from a clock or from what is cached:
compiled programs round differently, and a training must continue as it began. The constants were
measured on one NVIDIA H200 with EfficientNet-B0 (docs/SCALING.md).
"""

import math

COMPILE_SECONDS = 160  # of a teacher of 32x32 images, beginning without a cache
# A training step at 224 pixels with batch 256 at 1596 images/s not compiled, 7698 compiled.
SAVED_SECONDS = 256 / 1596 - 256 / 7698
LARGE_STEP = 256 * 0.386e9  # multiply-adds of its forward pass
# At 32 pixels with batch 128, a compiled step took 128 / 8700 s, most of it outside the GPU's
# arithmetic. Not compiled it was not measured: as 1596 to 7698, which is an assumption.
LEAST_SAVED_SECONDS = 128 / 8700 * (7698 / 1596 - 1)


def break_even(multiply_adds: float = 0.0) -> int:
    """Returns the number of steps from which compilation pays off.

    Prediction saves a third of a training step and compiles a third of its program, so the same
    number holds for batches to predict. This is an assumption. `multiply_adds` are those of one
    step's forward pass; 0: unknown, counts as small.
    """
    saved = max(LEAST_SAVED_SECONDS, SAVED_SECONDS * multiply_adds / LARGE_STEP)
    return math.ceil(COMPILE_SECONDS / saved)


def choose(steps: int, multiply_adds: float = 0.0) -> tuple[bool, str]:
    """Returns whether to compile, and the reason as text; see `break_even`."""
    least = break_even(multiply_adds)
    pays = steps >= least
    action, relation = ("compiled", "pays off") if pays else ("not compiled", "would pay off")
    return pays, (
        f"{action} with XLA: {steps:,} steps; compilation {relation} from {least:,} steps of this "
        "size (--jit_compile=auto)"
    )
