"""Benchmarks, each a command that compares with a peer in one run."""

import noisy_student  # noqa: F401  # before TensorFlow, whose messages on import it hides
