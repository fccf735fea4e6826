"""A saved model that labels images: eval mode, clean images, averaged weights.

With noise, an ablation of the paper (Xie et al., CVPR 2020), it labels augmented images with its
own dropout and stochastic depth. Batch norm keeps its moving statistics even then, so that the
label of an image depends on no other image.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

import efficientnet
from data import pipeline, sources
from data.preprocess import PreprocessSpec
from data.sources import digests
from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.artifacts.files import file_hash, read_json, write_json
from noisy_student.artifacts.json_files import Calibration, PredictionsCard
from noisy_student.config import derived
from noisy_student.metrics import calibration
from noisy_student.pseudo_label.shards import Labeler
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices

CALIBRATION = "calibration.json"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A saved model and how it labels."""

    # A `.keras` file. A model that knows more classes than the images decides among the images'
    # classes alone.
    model_path: str | Path
    devices: Devices  # from `runtime.devices.make_devices`
    batch_size: int  # images per batch
    # Stored probabilities, calibration, and the noise of a noised teacher.
    settings: config.LabelConfig = dataclasses.field(default_factory=config.LabelConfig)
    validation: sources.Examples | None = None  # labeled images to calibrate on

    def inputs(self, examples: sources.Examples) -> dict[str, Any]:
        """Returns the hashes of everything that decides the labels of `examples`.

        Raises:
            ValueError: the model file is missing or invalid; there are no images to calibrate on.
        """
        card = model_file.read_card(self.model_path)  # refuses other files
        if self.settings.noise and model_file.is_foreign(card):
            raise ValueError(
                f"--noised_labels only works with EfficientNets, not with {self.model_path}."
            )
        inputs = {"model": file_hash(self.model_path), "examples": examples.fingerprint()}
        images = {"unlabeled": examples}
        if self.settings.calibrate:
            images["validation"] = self._calibration_images()
            inputs["validation"] = images["validation"].fingerprint()
        return {**inputs, "images": digests.contents(**images)}

    def labeler(self, examples: sources.Examples, output_dir: str | Path) -> Labeler:
        """Loads the model, calibrates it if asked to, and returns what labels `examples`.

        `output_dir` receives `calibration.json`, or has the one that another process wrote.
        """
        settings = self.settings
        with self.devices.prediction_scope():
            model, model_card = model_file.load_model(self.model_path)
            if settings.noise:
                efficientnet.freeze_batch_norm(model)
        classes, spec = examples.class_names, model_card["preprocess"]
        model = inference.for_classes(model, model_card["class_names"], classes)
        count = math.ceil(len(examples) / self.batch_size)
        jit_compile = self.devices.for_steps("pseudo labels", count).jit_compile
        temperature = 1.0
        if settings.calibrate:
            logits_step = self.devices.spread(inference.logits_step(model, jit_compile))
            temperature = self._temperature(logits_step, spec, Path(output_dir) / CALIBRATION)
        batches = functools.partial(
            pipeline.evaluation_batches, spec=spec, batch_size=self.batch_size
        )
        card: PredictionsCard = {
            "class_names": list(classes),
            "model": file_hash(self.model_path),
            "preprocess": spec.to_dict(),
            "examples": examples.fingerprint(),
            "store_top_k": settings.store_top_k and min(settings.store_top_k, len(classes)),
            "probabilities_dtype": settings.probabilities_dtype,
            "temperature": temperature,
        }
        if settings.noise:
            seed, augmentation = settings.noise_seed or 0, derived.augmentation(settings.noise)
            card["noise"] = dataclasses.asdict(settings.noise) | {"seed": seed}
            batches = functools.partial(batches, augmentation=augmentation, seed=seed)
            step = inference.noised_predict_step(model, jit_compile)
        else:
            step = inference.predict_step(model, jit_compile, temperature)
        return Labeler(self.devices.spread(step), batches, card)

    def _calibration_images(self) -> sources.Examples:
        if self.validation is None or not len(self.validation):
            raise ValueError("--calibrate needs validation images, and there are none.")
        return self.validation

    def _temperature(
        self, logits_step: Callable[..., tf.Tensor], spec: PreprocessSpec, path: Path
    ) -> float:
        """Returns the stored temperature; of several processes, the first one fits it."""
        if not path.exists():
            images = self._calibration_images()
            batches = pipeline.evaluation_batches(images, spec, batch_size=self.batch_size)
            labels, logits = inference.predict_all(logits_step, batches, len(images))
            write_json(path, calibration.describe(logits, labels))
        return read_json(path, Calibration)["temperature"]
