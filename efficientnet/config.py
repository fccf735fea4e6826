"""The EfficientNet family as a frozen table, and the compound scaling rules.

Sources: Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks"
(ICML 2019) for B0-B7; the EfficientNet code in tensorflow/tpu for B8, L2 and the Lite family; Xie
et al., "Self-training with Noisy Student improves ImageNet classification" (arXiv 1911.04252) for
the two resolutions of L2 (v4, table 8) and for L0 and L1, which only v1 describes, in its text.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

SQUEEZE_RATIO = 0.25  # bottleneck filters per input filter of a block (public code)
FILTER_DIVISOR = 8


@dataclasses.dataclass(frozen=True)
class Stage:
    """A sequence of MBConv blocks of B0; only its first block has `stride`."""

    kernel_size: int
    stride: int
    expansion: int
    filters: int
    repeats: int


@dataclasses.dataclass(frozen=True)
class Config:
    """One member of the family."""

    name: str  # key in `CONFIGS`
    width: float  # multiplies the number of filters
    depth: float  # multiplies the number of blocks
    resolution: int  # side of test images in pixels
    dropout_rate: float  # dropout rate before the classifier
    # Side of training images in pixels, smaller than `resolution` where the published model was
    # fine-tuned at a larger resolution.
    train_resolution: int
    lite: bool = False  # no squeeze-and-excitation; stem and head are not scaled


@dataclasses.dataclass(frozen=True)
class Block:
    """One scaled MBConv block; without squeeze-and-excitation `squeeze_filters` is 0."""

    kernel_size: int
    stride: int
    expansion: int
    input_filters: int
    output_filters: int
    squeeze_filters: int
    drop_rate: float


@dataclasses.dataclass(frozen=True)
class Architecture:
    """All sizes of one network after scaling."""

    stem_filters: int
    stem_stride: int
    blocks: tuple[Block, ...]
    head_filters: int


STEM_FILTERS = 32
STEM_STRIDE = 2
HEAD_FILTERS = 1280
STAGES = (  # EfficientNet paper, table 1
    Stage(kernel_size=3, stride=1, expansion=1, filters=16, repeats=1),
    Stage(kernel_size=3, stride=2, expansion=6, filters=24, repeats=2),
    Stage(kernel_size=5, stride=2, expansion=6, filters=40, repeats=2),
    Stage(kernel_size=3, stride=2, expansion=6, filters=80, repeats=3),
    Stage(kernel_size=5, stride=1, expansion=6, filters=112, repeats=3),
    Stage(kernel_size=5, stride=2, expansion=6, filters=192, repeats=4),
    Stage(kernel_size=3, stride=1, expansion=6, filters=320, repeats=1),
)
SMALL_IMAGE_STRIDES = (1, 1, 1, 2, 1, 2, 1)  # stages 2 and 3 keep their resolution (public code)


def _table() -> Mapping[str, Config]:
    rows: list[tuple[str, float, float, int, float, int]] = [
        # width, depth, test resolution, dropout rate, training resolution
        ("b0", 1.0, 1.0, 224, 0.2, 224),
        ("b1", 1.0, 1.1, 240, 0.2, 240),
        ("b2", 1.1, 1.2, 260, 0.3, 260),
        ("b3", 1.2, 1.4, 300, 0.3, 300),
        ("b4", 1.4, 1.8, 380, 0.4, 380),
        ("b5", 1.6, 2.2, 456, 0.4, 456),
        ("b6", 1.8, 2.6, 528, 0.5, 528),
        ("b7", 2.0, 3.1, 600, 0.5, 600),
        ("b8", 2.2, 3.6, 672, 0.5, 672),
        ("l0", 2.8, 3.7, 600, 0.5, 380),
        ("l1", 3.9, 3.7, 600, 0.5, 380),
        ("l2", 4.3, 5.3, 800, 0.5, 475),
        ("lite0", 1.0, 1.0, 224, 0.2, 224),
        ("lite1", 1.0, 1.1, 240, 0.2, 240),
        ("lite2", 1.1, 1.2, 260, 0.3, 260),
        ("lite3", 1.2, 1.4, 280, 0.3, 280),
        ("lite4", 1.4, 1.8, 300, 0.3, 300),
    ]
    configs = [Config(f"efficientnet-{row[0]}", *row[1:], "lite" in row[0]) for row in rows]
    return MappingProxyType({config.name: config for config in configs})


CONFIGS: Mapping[str, Config] = _table()


def get_config(name: str) -> Config:
    """Returns the entry of `CONFIGS` called `name`, such as "efficientnet-b0".

    Raises:
        ValueError: the name is unknown; the message lists the valid names.
    """
    if name not in CONFIGS:
        raise ValueError(f"Unknown model name {name!r}; valid names: {', '.join(CONFIGS)}.")
    return CONFIGS[name]


def round_filters(filters: int, width: float) -> int:
    """Scales `filters` to a multiple of 8 of at least 90% of `filters * width`."""
    scaled = filters * width
    rounded = max(
        FILTER_DIVISOR, int(scaled + FILTER_DIVISOR / 2) // FILTER_DIVISOR * FILTER_DIVISOR
    )
    return rounded if rounded >= 0.9 * scaled else rounded + FILTER_DIVISOR


def round_repeats(repeats: int, depth: float) -> int:
    """Scales the number of blocks of a stage, rounded up."""
    return math.ceil(repeats * depth)


def scale(
    config: Config,
    *,
    width: float | None = None,
    depth: float | None = None,
    strides: Sequence[int] | None = None,
    small_image: bool = False,
    stochastic_depth_rate: float = 0.2,
) -> Architecture:
    """Applies the compound scaling rules to the stages of B0.

    Args:
        config: the family member to scale to.
        width: overrides `config.width`; > 0.
        depth: overrides `config.depth`; > 0.
        strides: strides of the 7 stages, or 8 with the stem's first; each 1 or 2.
        small_image: selects the strides for 32 x 32 images if `strides` is None.
        stochastic_depth_rate: block i of N, from 0, is dropped at this rate times i / N. The
            survival probability falls linearly to 0.8 (Xie et al., arXiv v4, section 3.1).

    Raises:
        ValueError: an argument is out of range.
    """
    width = _positive("width", config.width if width is None else width)
    depth = _positive("depth", config.depth if depth is None else depth)
    stem_stride, stage_strides = _strides(strides, small_image)
    stem_filters, head_filters, repeats = _scaled_sizes(config, width, depth)
    blocks: list[Block] = []
    input_filters = stem_filters
    for stage, stride, repeat in zip(STAGES, stage_strides, repeats, strict=True):
        for position in range(repeat):
            squeeze = 0 if config.lite else max(1, int(input_filters * SQUEEZE_RATIO))
            block = Block(
                kernel_size=stage.kernel_size,
                stride=stride if position == 0 else 1,
                expansion=stage.expansion,
                input_filters=input_filters,
                output_filters=round_filters(stage.filters, width),
                squeeze_filters=squeeze,
                drop_rate=stochastic_depth_rate * len(blocks) / sum(repeats),
            )
            blocks.append(block)
            input_filters = block.output_filters
    return Architecture(stem_filters, stem_stride, tuple(blocks), head_filters)


def _scaled_sizes(config: Config, width: float, depth: float) -> tuple[int, int, list[int]]:
    """Returns the filters of stem and head, and the number of blocks per stage."""
    repeats = [round_repeats(stage.repeats, depth) for stage in STAGES]
    if config.lite:  # Lite models scale neither the stem, nor the head, nor the outer stages' depth
        return STEM_FILTERS, HEAD_FILTERS, [STAGES[0].repeats, *repeats[1:-1], STAGES[-1].repeats]
    return round_filters(STEM_FILTERS, width), round_filters(HEAD_FILTERS, width), repeats


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be a number above 0, got {value!r}.")
    return value


def _strides(strides: Sequence[int] | None, small_image: bool) -> tuple[int, tuple[int, ...]]:
    """Returns the stride of the stem and the strides of the 7 stages."""
    if strides is None:
        default = tuple(stage.stride for stage in STAGES)
        return STEM_STRIDE, SMALL_IMAGE_STRIDES if small_image else default
    strides = tuple(strides)
    if len(strides) not in (7, 8) or any(stride not in (1, 2) for stride in strides):
        raise ValueError(
            "strides must be 7 numbers (the stages') or 8 (with the stem's first), each 1 or 2, "
            f"got {strides}."
        )
    return (strides[0] if len(strides) == 8 else STEM_STRIDE), strides[-7:]
