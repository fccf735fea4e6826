"""Networks of any origin, and the contract that all stages rely on: RGB 0..255 -> logits."""

from noisy_student.networks.architectures import ModelFile, ModelFunction, Network, get, register
from noisy_student.networks.counting import cost
from noisy_student.networks.noise import seed_scope

__all__ = ["ModelFile", "ModelFunction", "Network", "cost", "get", "register", "seed_scope"]
