"""Devices of a process: tf.distribute strategy, precision and determinism."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from noisy_student import _compile_cache
from noisy_student.runtime import compile_choice, gpu

NAMES = ("auto", "one", "mirrored", "multi_worker", "tpu")
_BFLOAT16_CAPABILITY = (8, 0)  # Nvidia GPUs from Ampere on compute in bfloat16


@dataclass(frozen=True)
class Devices:
    """Devices that training and prediction run on."""

    strategy: tf.distribute.Strategy  # distributes variables and batches
    jit_compile: bool  # compile with XLA the functions that run on one replica as a whole
    precision: str = "float32"  # Keras dtype policy
    num_hosts: int = 1  # processes that run the same program
    is_chief: bool = True  # True for the process that writes the files
    may_compile: bool = False  # `jit_compile` is to be decided by the number of steps (`for_steps`)

    @property
    def num_replicas(self) -> int:
        """Number of replicas, which train in sync."""
        return self.strategy.num_replicas_in_sync

    @property
    def on_cpu(self) -> bool:
        """True if there is neither a GPU nor a TPU."""
        return not any(map(tf.config.list_logical_devices, ("TPU", "GPU")))

    @property
    def num_accelerators(self) -> int:
        """Number of GPUs or TPU cores, which compute side by side; 1 on CPUs, which share cores."""
        return 1 if self.on_cpu else self.num_replicas

    def for_steps(self, name: str, steps: int, multiply_adds: float = 0.0) -> "Devices":
        """Decides for `--jit_compile=auto` on a GPU whether to compile, and prints why.

        `steps` may be batches to predict; `multiply_adds` are those of one step's forward pass, 0:
        unknown.
        """
        if not self.may_compile:
            return self
        compiles, reason = compile_choice.choose(steps, multiply_adds)
        print(f"{name}: {reason}", flush=True)
        return dataclasses.replace(self, jit_compile=compiles, may_compile=False)

    def describe(self) -> str:
        """Returns a description such as "2 CPU cores, 1 replica" or "1 GPU, 1 replica"."""
        accelerators = [
            f"{len(found)} {kind}"
            for kind in ("TPU", "GPU")
            if (found := tf.config.list_logical_devices(kind))
        ]
        kind = accelerators[0] if accelerators else f"{_num_cpus()} CPU cores"
        hosts = f", {self.num_hosts} hosts" if self.num_hosts > 1 else ""
        return f"{kind}{hosts}, {self.num_replicas} replica{'s' if self.num_replicas > 1 else ''}"

    def distribute(self, make: Callable[[int, int], tf.data.Dataset]) -> Iterator:
        """Returns an iterator over the batches of the replicas.

        Args:
            make: (number of hosts, index of this host) -> data set of batches for the replicas of
                the host, in turn.
        """

        def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return make(context.num_input_pipelines, context.input_pipeline_id)

        return iter(self.strategy.distribute_datasets_from_function(of_host))

    @property
    def _spreads(self) -> bool:
        # With several hosts, the chief predicts alone; shared variables would need all hosts.
        return self.num_hosts == 1 and self.strategy is not tf.distribute.get_strategy()

    def prediction_scope(self) -> contextlib.AbstractContextManager:
        """Returns the scope in which to load a model that predicts through `spread`."""
        return self.strategy.scope() if self._spreads else contextlib.nullcontext()

    def spread(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Splits the rows of a batch over all replicas.

        Args:
            step: tensors [B, ...] and scalars -> a tensor [B, ...] or a structure of them, each row
                computed from the same row of the arguments. A result may have the first rows only.

        Returns:
            The same function, computed by all replicas: each gets an equal number of rows, padded
            with zeros, and all scalars. With one device or several hosts, `step` itself.
        """
        if not self._spreads:
            return step

        @tf.function(autograph=False)
        def on_replicas(*columns: Any) -> Any:
            shares = self.strategy.run(step, columns)
            return tf.nest.map_structure(
                lambda share: tf.concat(self.strategy.experimental_local_results(share), axis=0),
                shares,
            )

        def split(column: tf.Tensor) -> Any:
            if column.shape.rank == 0:
                return column
            missing = -column.shape[0] % self.num_replicas
            padding = [[0, missing], *[[0, 0]] * (column.shape.rank - 1)]
            parts = tf.split(tf.pad(column, padding), self.num_replicas)
            return self.strategy.experimental_distribute_values_from_function(
                lambda context: parts[context.replica_id_in_sync_group]
            )

        def spread_step(*columns: Any) -> Any:
            tensors = [tf.convert_to_tensor(column) for column in columns]
            found = on_replicas(*map(split, tensors))
            rows = len(tensors[0])
            return tf.nest.map_structure(lambda table: table[:rows], found)

        return spread_step

    def any(self, flag: bool) -> bool:
        """Returns True if ``flag`` is true on any host. Collective: every host must call it."""
        if self.num_hosts == 1:
            return flag
        flags = self.strategy.experimental_distribute_values_from_function(
            lambda _: tf.constant(float(flag))
        )
        return bool(self.strategy.reduce("SUM", flags, axis=None).numpy() > 0)

    def wait(self) -> None:
        """Waits until all hosts have called it."""
        self.any(False)

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Makes the other hosts wait for the chief, so that they find the files it wrote."""
        if not self.is_chief:
            self.wait()
        try:
            yield
        finally:
            if self.is_chief:
                self.wait()

    @contextlib.contextmanager
    def writable(self, directory: Path) -> Iterator[Path]:
        """Yields ``directory`` on the chief, and a temporary directory on other hosts."""
        if self.is_chief:
            yield directory
        else:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)


def make_devices(
    strategy: str = "auto",
    precision: str = "auto",
    jit_compile: str = "auto",
    intra_op_threads: int = 0,
    tpu: str | None = None,
    compile_cache: str | None = None,
    gpu_memory: int | str = "grow",
) -> Devices:
    """Sets up the process. Call it before building models or creating tensors.

    Args:
        strategy: ``one``, ``mirrored`` (all GPUs, else all logical CPU devices), ``multi_worker``
            (the processes listed in the environment variable TF_CONFIG), ``tpu`` or ``auto``
            (mirrored with several GPUs, else one).
        precision: ``float32``, ``mixed_bfloat16`` (float32 variables, logits and losses) or
            ``auto`` (mixed on TPUs and on GPUs that compute in bfloat16).
        jit_compile: ``on``, ``off`` or ``auto`` (with a GPU and one replica, where it pays, see
            `Devices.for_steps`; on CPU, XLA slows the whole step down). TPUs always compile.
        intra_op_threads: CPU threads of an operation; 0: all cores. Very small models are faster
            with 1.
        tpu: name or address of the TPU; "local" on its own host.
        compile_cache: directory that keeps what XLA compiles for a GPU; None: that of the user;
            "off": none.
        gpu_memory: memory to take of each GPU, see `gpu.set_memory`.

    Raises:
        ValueError: the strategy is unknown, it needs TF_CONFIG or ``tpu``, or it has several
            replicas, which cannot be compiled together; ``compile_cache`` cannot be written.
    """
    _compile_cache.enable(compile_cache)  # if no command has done so
    gpu.set_memory(gpu_memory)
    _set_threads(intra_op_threads)
    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    if precision == "auto":
        precision = "mixed_bfloat16" if _has_bfloat16(strategy, gpus) else "float32"
    keras.config.set_dtype_policy(precision)
    keras.config.set_floatx("float32")  # keras.json may have others
    keras.config.set_image_data_format("channels_last")

    if strategy == "multi_worker":
        return _multi_worker(precision)
    if strategy == "tpu":
        return Devices(_tpu(tpu), False, precision)
    if strategy == "mirrored" or (strategy == "auto" and len(gpus) > 1):
        devices = tf.config.list_logical_devices("GPU" if gpus else "CPU")
        scope = tf.distribute.MirroredStrategy([device.name for device in devices])
    elif strategy in ("auto", "one"):
        scope = tf.distribute.get_strategy()
    else:
        raise ValueError(f"--strategy={strategy}: must be one of {', '.join(NAMES)}.")
    one = scope.num_replicas_in_sync == 1
    if jit_compile == "on" and not one:
        raise ValueError("--jit_compile=on needs one replica; use --jit_compile=off with several.")
    may_compile = jit_compile == "auto" and bool(gpus) and one
    return Devices(scope, jit_compile == "on", precision, may_compile=may_compile)


def _set_threads(count: int) -> None:
    """Sets the threads of an operation, or says that TensorFlow, which has run, keeps its own."""
    before = tf.config.threading.get_intra_op_parallelism_threads()
    if before == count:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError:  # it has made its threads
        logging.warning(
            f"--intra_op_threads={count} has no effect: TensorFlow already started its threads in "
            "this process."
        )


def _multi_worker(precision: str) -> Devices:
    if "TF_CONFIG" not in os.environ:
        raise ValueError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG with all processes "
            "and the index of this one (docs/SCALING.md)."
        )
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict()
    first = "chief" if "chief" in jobs else "worker"
    is_chief = (resolver.task_type, resolver.task_id) == (first, 0)
    num_hosts = sum(len(jobs.get(job, ())) for job in ("chief", "worker"))
    return Devices(strategy, False, precision, num_hosts, is_chief)


def _tpu(address: str | None) -> tf.distribute.Strategy:
    if address is None:
        raise ValueError("--strategy=tpu needs --tpu=NAME, or --tpu=local on the TPU host itself.")
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
    if address != "local":
        tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def _has_bfloat16(strategy: str, gpus: list[tf.config.PhysicalDevice]) -> bool:
    if strategy == "tpu":
        return True
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capabilities = [detail.get("compute_capability", (0, 0)) for detail in details]
    return bool(gpus) and min(capabilities) >= _BFLOAT16_CAPABILITY


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0))
