"""Devices by their vendors' data sheets, and how much of their rates a training reaches."""

from dataclasses import dataclass

from efficientnet.cost import Cost

TERA, GIBI = 1e12, 2**30


@dataclass(frozen=True)
class Device:
    """A device, by its vendor's data sheet."""

    peak: float  # peak rate in bfloat16 operations per second; a multiply-add counts as two
    memory: float  # memory in bytes
    # Fraction of the peak rate that training an EfficientNet is assumed to reach; depthwise
    # convolutions leave matrix units idle. Published: B0 in 23 hours on 8 TPU v2 cores is 0.07,
    # assuming 350 epochs (Wongpanich et al. 2020).
    utilization: float = 0.1

    def seconds(self, cost: Cost, images: float, batches: float, passes: float) -> float:
        """Returns the time of a network, as `Speed.seconds` does; batches do not matter."""
        del batches
        return 2.0 * passes * cost.multiply_adds * images / (self.peak * self.utilization)

    def start(self, cost: Cost) -> float:
        """Returns the time until a training takes its first step, which is not counted: 0."""
        del cost
        return 0.0

    def describe(self) -> str:
        """Returns the speed as text."""
        peak = f"{self.peak / TERA:g} TFLOP/s"
        return f"at {self.utilization:.0%} of {peak} per device (assumed)"


# Training B0 at 224 pixels on an H200 took 6 * 0.386e9 operations for each of 7698 images/s
# (docs/SCALING.md), while memory could move 4800 GB/s. That other GPUs reach as many operations per
# byte, and other networks too, is an assumption.
_OPERATIONS_PER_BYTE = 7698 * 6 * 0.386e9 / 4800e9


def _gpu(tera: float, gib: float, gigabytes: float) -> Device:
    """Returns a GPU whose training is bound by memory.

    Args:
        tera: Dense bfloat16 operations with sums in float32 (V100: float16), 10^12 per second.
        gib: Memory in GiB.
        gigabytes: Bandwidth of the memory in GB per second.
    """
    utilization = _OPERATIONS_PER_BYTE * gigabytes / (tera * 1000)
    return Device(tera * TERA, gib * GIBI, utilization)


# Peak rates, memory and bandwidth by the vendors' data sheets; of the GPUs without a size the SXM
# versions, the A100 with 80 GB; RTX 4090: Ada GPU architecture whitepaper, appendix A.
DEVICES = {
    "tpu-v2-core": Device(22.5 * TERA, 8 * GIBI),
    "tpu-v3-core": Device(61.5 * TERA, 16 * GIBI),
    "tpu-v4-chip": Device(275 * TERA, 32 * GIBI),
    "v100-16gb": _gpu(125, 16, 900),
    "a100-40gb": _gpu(312, 40, 1555),
    "a100-80gb": _gpu(312, 80, 2039),
    "h100-80gb": _gpu(989, 80, 3350),
    "a100": _gpu(312, 80, 2039),
    "h100": _gpu(989, 80, 3350),
    "h200": _gpu(989, 141, 4800),
    "l4": _gpu(121, 24, 300),
    "rtx4090": _gpu(165.2, 24, 1008),
}
LOCAL = "local"


def describe() -> str:
    """Returns the list of devices."""
    lines = [f"{LOCAL:<14}this machine, measured in a few seconds"]
    for name, device in DEVICES.items():
        memory = f"{device.memory / GIBI:g} GiB"
        lines.append(f"{name:<14}{device.peak / TERA:g} TFLOP/s peak, {memory}")
    return "\n".join(lines)
