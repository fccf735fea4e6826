"""Checks all jobs before the first one runs, instead of late in their own processes."""

import dataclasses
from pathlib import Path

import keras
import tensorflow as tf

from data import sources
from noisy_student import evaluate, train
from noisy_student.ablate.jobs import Graph, Job
from noisy_student.artifacts import disk, model_file
from noisy_student.config import derived
from noisy_student.runtime.devices import Devices

_LONG = 1_000_000  # steps of a training whose length others decide


def check(graph: Graph, root: Path, results_dir: Path | None) -> None:
    """Refuses what a job that is not done would refuse; writes nothing.

    Raises:
        ValueError: names the job and the fault.
    """
    disk.check_writable("workdir", root)
    if results_dir:
        disk.check_writable("results_dir", results_dir)
    waiting = [job for job in graph.jobs.values() if not job.is_done(root)]
    if not waiting:
        return
    tf.config.set_visible_devices([], "GPU")  # leaves their memory to the jobs
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    splits = derived.load_splits(graph.recipe.settings.data)
    outlines = _Outlines(devices, splits)
    tested: set[object] = set()
    for job in waiting:
        try:
            outlines.check(job)
            if job.stage == "evaluate":
                _check_tests(graph, job, splits, tested)
        except ValueError as error:
            raise ValueError(f"{job.name}: {error}") from None


class _Outlines:
    """Networks of jobs, without weights."""

    def __init__(self, devices: Devices, splits: sources.Splits):
        self._devices, self._splits = devices, splits
        self._networks: dict[object, keras.Model] = {}

    def check(self, job: Job) -> None:
        """Checks a training, and that the weights that it starts from fit it."""
        if job.training is None:
            return
        network = self._network(job)
        for flag, parent, _ in job.inputs:
            if flag == "init_model":
                model_file.check_fit(network, self._network(parent), parent.name, with_head=True)

    def _network(self, job: Job) -> keras.Model:
        assert job.training is not None
        training = dataclasses.replace(job.training, seed=0)
        if job.budget:
            training = dataclasses.replace(training, steps=_LONG)
        if training not in self._networks:
            counts = len(self._splits.class_names), len(self._splits.labeled)
            self._networks[training] = train.outline(training, self._devices, *counts)
        return self._networks[training]


def _check_tests(graph: Graph, job: Job, splits: sources.Splits, tested: set[object]) -> None:
    """Checks the benchmarks of an evaluation, equal ones once."""
    settings, training = graph.recipe.parse(job.flags).evaluation, job.inputs[0].job.training
    assert training is not None
    size = derived.preprocess_spec(training.model).image_size
    if (settings, size) not in tested:
        evaluate.check(settings, [size], splits.test, splits.class_names)
        tested.add((settings, size))
