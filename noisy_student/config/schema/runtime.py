"""Options for devices, logs and checkpoints."""

from dataclasses import dataclass

from noisy_student.config.option import option


@dataclass(frozen=True)
class DeviceConfig:
    """Devices and number formats."""

    strategy: str = option(
        "auto",
        "tf.distribute strategy. auto: mirrored if there are several GPUs, else one; one: a single "
        "device; multi_worker: the processes listed in TF_CONFIG.",
        choices=("auto", "one", "mirrored", "multi_worker", "tpu"),
    )
    precision: str = option(
        "auto",
        "Number format of activations. auto: mixed_bfloat16 on TPUs and on GPUs that support it.",
        choices=("auto", "float32", "mixed_bfloat16"),
    )
    jit_compile: str = option(
        "auto",
        "Compile steps with XLA. auto: on a single GPU, if the steps save more time than the "
        "compilation takes (docs/SCALING.md).",
        choices=("auto", "on", "off"),
    )
    compile_cache: str | None = option(
        None,
        "Cache directory for programs that XLA compiled for a GPU. off: no cache. Unset: "
        "noisy-student/xla in $XDG_CACHE_HOME or ~/.cache.",
        changes_result=False,
    )
    gpu_memory: int | str = option(
        "grow",
        "GPU memory to allocate. grow: as needed, so that processes can share a GPU; all: all "
        "memory at startup; a number: at most this many GiB.",
        choices=("grow", "all"),
        changes_result=False,
        low=1,
        high=1024,
    )
    intra_op_threads: int = option(
        0,
        "CPU threads per operation. 0: one per core; 1 is faster for very small models.",
        changes_result=False,
        low=0,
        high=1024,
    )
    tpu: str | None = option(
        None,
        "Name or address of the TPU for --strategy=tpu. local: the TPU of this host.",
        remote=True,
    )


@dataclass(frozen=True)
class LogConfig:
    """Logs, checkpoints and memory; no effect on the trained weights."""

    log_every: int = option(50, "Steps between log lines.", low=1, changes_result=False)
    validate_every: int = option(500, "Steps between validations.", low=1)
    checkpoint_every: int = option(500, "Steps between checkpoints.", low=1)
    eval_batch_size: int = option(
        250, "Batch size for validation, labeling and evaluation.", low=1, high=1_000_000
    )
    steps_per_execution: int = option(
        1, "Training steps per device call, as in Keras.", low=1, high=1_000_000
    )
    augment_on: str = option(
        "host",
        "Where to augment images. host: on the CPU cores; device: within the training step, for a "
        "host that is too slow; random crops of large images stay on the host. Both give the same "
        "images.",
        choices=("host", "device"),
        changes_result=False,
    )
    profile_steps: tuple[int, int] | None = option(
        None, "FIRST,END: range of steps to profile in every training (for TensorBoard).", low=0
    )
    cache_decoded_mib: int = option(
        2048,
        "Memory in MiB for keeping images decoded instead of decoding files and records again in "
        "every epoch. Applies to labeled, selected and validation images, each set as a whole, if "
        "no random crop needs the originals (--small_image, or clean images). 0: off.",
        low=0,
        high=2**24,
    )
