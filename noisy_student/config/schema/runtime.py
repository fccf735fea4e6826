"""Options of devices, logs and checkpoints."""

from dataclasses import dataclass

from noisy_student.config.option import option


@dataclass(frozen=True)
class DeviceConfig:
    """Devices and number formats."""

    strategy: str = option(
        "auto",
        "tf.distribute strategy. auto: mirrored over several GPUs, else one; multi_worker: the "
        "processes of TF_CONFIG.",
        choices=("auto", "one", "mirrored", "multi_worker", "tpu"),
    )
    precision: str = option(
        "auto",
        "Number format of activations. auto: mixed_bfloat16 on TPUs and on GPUs that support it.",
        choices=("auto", "float32", "mixed_bfloat16"),
    )
    jit_compile: str = option(
        "auto",
        "Compile steps with XLA. auto: on a single GPU, where there are enough steps for it to pay "
        "(docs/SCALING.md).",
        choices=("auto", "on", "off"),
    )
    compile_cache: str | None = option(
        None,
        "Directory that keeps what XLA compiled for a GPU, for the next run; off: none. Unset: "
        "noisy-student/xla in $XDG_CACHE_HOME or ~/.cache.",
        changes_result=False,
    )
    gpu_memory: int | str = option(
        "grow",
        "GPU memory to take. grow: as needed, so that processes can share a GPU; all: all of it at "
        "once; a number: at most as many GiB.",
        choices=("grow", "all"),
        changes_result=False,
        low=1,
        high=1024,
    )
    intra_op_threads: int = option(
        0,
        "CPU threads of a single operation. 0: all cores; 1 suits very small models.",
        changes_result=False,
        low=0,
        high=1024,
    )
    tpu: str | None = option(
        None, "Name or address of the TPU for --strategy=tpu; local on its own host.", remote=True
    )


@dataclass(frozen=True)
class LogConfig:
    """Logs, checkpoints and memory: no influence on the weights of a training."""

    log_every: int = option(50, "Steps between log lines.", low=1, changes_result=False)
    validate_every: int = option(500, "Steps between validations.", low=1)
    checkpoint_every: int = option(500, "Steps between checkpoints.", low=1)
    eval_batch_size: int = option(
        250, "Images per batch of every forward-only pass.", low=1, high=1_000_000
    )
    steps_per_execution: int = option(
        1, "Training steps per call of the devices.", low=1, high=1_000_000
    )
    augment_on: str = option(
        "host",
        "Where images are noised, but for random crops of large ones: by the host's cores, or on "
        "the device within the step, if the host is too slow. Both give the same images.",
        choices=("host", "device"),
        changes_result=False,
    )
    profile_steps: tuple[int, int] | None = option(
        None, "FIRST,END: profile these steps of every training (TensorBoard).", low=0
    )
    cache_decoded_mib: int = option(
        2048,
        "Memory (MiB) for images of files and records that are decoded once, not in every epoch: "
        "labeled, selected and validation images, each all or none, where no random crop needs the "
        "originals (--small_image, or clean images). 0: off.",
        low=0,
        high=2**24,
    )
