"""The training loop: when to log, validate, save and stop."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from noisy_student import config
from noisy_student.artifacts.json_files import LogRow
from noisy_student.config import derived
from noisy_student.runtime import gpu, inference, preemption
from noisy_student.runtime.devices import Devices
from noisy_student.runtime.profiler import Profiler
from noisy_student.train import build, step
from noisy_student.train.batches import Batches
from noisy_student.train.callbacks import Callbacks
from noisy_student.train.learner import Learner
from noisy_student.train.metrics_log import MetricsLog
from noisy_student.train.progress import COMPILING, Progress
from noisy_student.train.training_state import TrainingState

_COMPILING_ON_GPU = f"{COMPILING} (once; usually 1-3 min on a GPU)"
_COMPILING_ON_CPU = f"{COMPILING} (once; usually less than a minute on a CPU)"


def train_loop(
    learner: Learner,
    data: Batches,
    last_step: int,
    log: config.LogConfig,
    state: TrainingState,
    save_best: Callable[[LogRow], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> MetricsLog:
    """Runs the remaining steps and returns the logged rows.

    Args:
        learner: training, which may have finished some steps.
        data: batches from the next step on.
        last_step: number of steps at the end.
        log: how often to log, validate and save.
        state: checkpoints to save to, and the directory that receives the metrics.
        save_best: saves the averaged model, given its metrics.
        callbacks: see `train.callbacks`.

    Raises:
        SystemExit: SIGTERM or Ctrl-C stopped the loop; the state is saved.
        ValueError: the loss is not finite.
    """
    devices, images_per_step = learner.devices, learner.settings.images_per_step
    done, directory = learner.finished_steps, state.directory
    run_steps, predict = step.compile_steps(learner), build.predict_step(learner)
    metrics = MetricsLog(learner.name, directory, step.metric_names(learner), images_per_step, done)
    text = _compiling(devices)
    progress = Progress(learner.name, done, last_step, images_per_step, devices.is_chief, text)
    every = log.validate_every
    with (
        contextlib.closing(metrics),
        contextlib.closing(progress),
        contextlib.closing(Profiler(directory / "tensorboard", log.profile_steps)) as profiler,
        preemption.Listener() as signals,
        Callbacks(callbacks, learner, metrics.history, last_step, every) as observers,
    ):
        stopped = False
        while done < last_step and not stopped:
            profiler.before(done)
            count = _steps_until_event(done, last_step, log)
            with memory_exhausted(learner):
                table = run_steps(data.training, count)
                metrics.add(table)
            done += count
            progress.update(done)
            observers.after_steps(done, table)

            finished = done == last_step
            stopped = devices.any(signals.requested) and not finished
            saves = stopped or (done % log.checkpoint_every == 0 and not finished)
            validates = done % every == 0 or finished
            if not (done % log.log_every == 0 or validates or saves):
                continue
            row = metrics.means(done, learner.learning_rate(done - 1))
            if validates:
                accuracy = inference.accuracy(predict, data.validation, data.num_validation)
                row |= {} if accuracy is None else {"validation_top1": accuracy}
            best = metrics.write(row)
            progress.log(row)
            if validates:
                observers.after_validation(row)
            if devices.any(best and devices.is_chief):  # the chief has the whole history
                save_best(row)
            if saves:
                state.save(done)
            metrics.restart_clock()
    if stopped:
        message = f"stopped by {signals.name} after step {done}; checkpoint saved"
        print(f"{learner.name}: {message}. Run the same command again to continue.", flush=True)
        raise SystemExit(signals.exit_code)
    return metrics


def _compiling(devices: Devices) -> str:
    """Returns what to show until the first step is finished, with the usual duration."""
    if devices.on_cpu:
        return _COMPILING_ON_CPU
    return _COMPILING_ON_GPU if devices.jit_compile and gpu.visible() else COMPILING


def _steps_until_event(done: int, last_step: int, log: config.LogConfig) -> int:
    """Returns the number of steps for one call: up to the next log line or other event."""
    ends = [last_step, done + log.steps_per_execution]
    for every in (log.log_every, log.validate_every, log.checkpoint_every):
        ends.append((done // every + 1) * every)
    ends += [edge for edge in log.profile_steps or () if edge > done]
    return min(ends) - done


@contextlib.contextmanager
def memory_exhausted(learner: Learner) -> Iterator[None]:
    """Converts an out-of-memory error to one that gives the batch and the remedies.

    Raises:
        ValueError: TensorFlow ran out of memory inside.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if os.strerror(errno.ENOSPC) in str(error):  # TensorFlow's error of a full disk, too
            raise
        settings, layout = learner.settings, learner.layout
        size = derived.preprocess_spec(settings.model).image_size
        rows = f"{layout.labeled_rows} labeled + {layout.unlabeled_rows} unlabeled images"
        ways = [f"--accumulate_steps={2 * layout.micro_batches} (the same images a step, in parts)"]
        ways.append("a smaller --batch_size or --teacher_batch_size")
        if learner.devices.precision == "float32":
            ways.append("--precision=mixed_bfloat16")
        raise ValueError(
            f"{learner.name}: memory does not hold a step of {rows} at {size} pixels with "
            f"{learner.devices.precision} activations. Ways out: {', '.join(ways)}. Finished "
            "stages and the last checkpoint are kept; a training with other settings needs a "
            "separate directory."
        ) from error
