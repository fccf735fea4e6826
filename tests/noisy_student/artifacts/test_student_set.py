"""Selected sets as records and as an index: the same training, and labeled again."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from data import distributions, pipeline, record_schema, tfrecord_file
from data.pipeline import decoded, selected
from data.pipeline.order import Shard
from data.preprocess import PreprocessSpec
from data.sources import records
from noisy_student import pseudo_label
from noisy_student.artifacts import decision_index, model_file, predictions, stage, student_set
from noisy_student.artifacts.files import read_json, write_json
from noisy_student.config import settings
from noisy_student.pseudo_label import shards
from noisy_student.runtime.devices import Devices
from noisy_student.selection import write
from tests.helpers.toy_batches import as_files, assert_equal, textured

NAMES = tuple("abcde")
COUNT = 40
SMALL = PreprocessSpec(16, small_image=True)
LARGE = PreprocessSpec(24)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "model.keras", seed=0)


def save_model(path, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 32)(inputs))
    model_file.save_model(keras.Model(inputs, keras.layers.Dense(5)(x)), path, NAMES, SMALL)
    return path


@pytest.fixture
def source(request, tmp_path):
    """The same images in each of the places that examples may lie in."""
    in_memory = textured(COUNT)
    if request.param == "memory":
        return in_memory
    if request.param == "files":
        return as_files(in_memory, tmp_path / "images")
    one_hot = np.eye(5, dtype=np.float32)[0]
    encoded = [
        record_schema.serialize(in_memory.encoded(i), 0, 1.0, one_hot, in_memory.ids[i])
        for i in range(COUNT)
    ]
    record_schema.write_shards(encoded, tmp_path / "source", COUNT, 3)
    return records.read_unlabeled([str(tmp_path / "source")], NAMES)[0]


def label(model_path, examples, directory, **stored):
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    return pseudo_label.run(
        model_path,
        examples,
        directory,
        devices,
        batch_size=16,
        num_shards=2,
        stored=settings.LabelConfig(**stored),
    )


def select(directory, examples, **arguments):
    defaults = {"min_confidence": 0.25, "images_per_class": 13, "num_shards": 3, "seed": 1}
    output = directory.with_name(f"selected-{len(list(directory.parent.iterdir()))}")
    write.write_selected(directory, output, examples, **defaults | arguments)
    return output


def batches(directory, examples, spec, steps=9, noise="none", **arguments):
    stream = pipeline.training_batches(
        textured(10, spec.image_size if spec.small_image else 30),
        spec,
        pipeline.Augmentation(noise),
        batch_size=4,
        seed=3,
        num_classes=5,
        selected_files=student_set.files_of(directory),
        selected_examples=examples,
        unlabeled_batch_size=12,
        **arguments,
    )
    return [{name: value.numpy() for name, value in batch.items()} for batch in stream.take(steps)]


def labels_in(directory, examples, spec, steps=9, start_step=0, shard=None):
    """All of the batches but the images, whose form is not yet the same."""
    stream = selected.record_batches(
        student_set.files_of(directory),
        spec,
        num_classes=5,
        batch_size=12,
        seed=3,
        start_step=start_step,
        shard=shard or Shard(),
        examples=examples,
    )
    names = ("label", "prob", "probabilities", "id_hash", "copy", "pass")
    return [{name: batch[name].numpy() for name in names} for batch in stream.take(steps)]


@pytest.mark.parametrize(
    ("source", "spec", "streaming"),
    [
        ("memory", SMALL, False),
        ("memory", LARGE, True),
        ("files", LARGE, False),
        ("records", SMALL, True),
    ],
    indirect=["source"],
    ids=["memory", "memory-large-streamed", "files-large", "records-streamed"],
)
def test_records_and_index_train_alike(tmp_path, model_path, source, spec, streaming, monkeypatch):
    if streaming:
        monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(selected, "_BLOCK_RECORDS", 7)
    label(model_path, source, tmp_path / "labels", store_top_k=3)
    as_records = select(tmp_path / "labels", source)
    as_index = select(tmp_path / "labels", source, index_only=True)
    assert {f.suffix for f in as_index.iterdir()} == {".parquet", ".npy", ".json"}
    assert_equal(batches(as_records, None, spec), batches(as_index, source, spec))
    found = labels_in(as_records, None, spec)
    assert_equal(found, labels_in(as_index, source, spec))
    assert_equal(found[2:4], labels_in(as_index, source, spec, steps=2, start_step=2))
    half = labels_in(as_index, source, spec, shard=Shard(2, 1))
    assert_equal([{name: rows[6:] for name, rows in batch.items()} for batch in found], half)
    assert len({(i, c) for b in found for i, c in zip(b["id_hash"], b["copy"], strict=True)}) > 50


@pytest.mark.parametrize("source", ["files"], indirect=True)
@pytest.mark.parametrize("block", [None, 7], ids=["in memory", "streamed"])
def test_images_that_an_index_is_of_are_decoded_once(
    tmp_path, model_path, source, block, monkeypatch
):
    label(model_path, source, tmp_path / "labels")
    chosen = select(tmp_path / "labels", source, index_only=True)
    if block:
        monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(selected, "_BLOCK_RECORDS", block)
    expected = batches(chosen, source, SMALL)
    cache = decoded.DecodedCache(1 << 20)
    assert_equal(batches(chosen, source, SMALL, cache=cache), expected)
    (entry,) = cache.report()["sets"]
    assert (entry["name"], entry["images"], entry["held"]) == ("unlabeled", COUNT, True)
    resumed = batches(chosen, source, SMALL, steps=3, start_step=6, cache=cache)
    assert_equal(resumed, expected[6:])
    shutil.rmtree(tmp_path / "images")
    assert_equal(batches(chosen, source, SMALL, cache=cache), expected)


@pytest.mark.slow
def test_noise_too_is_the_same(tmp_path, model_path):
    examples = textured(COUNT)
    label(model_path, examples, tmp_path / "labels")
    as_records = select(tmp_path / "labels", examples)
    as_index = select(tmp_path / "labels", examples, index_only=True)
    noisy = [
        batches(directory, examples, SMALL, steps=3, noise="randaugment")
        for directory in (as_records, as_index)
    ]
    assert_equal(*noisy)


def test_an_index_is_refused_with_other_images(tmp_path, model_path):
    examples = textured(COUNT)
    label(model_path, examples, tmp_path / "labels")
    directory = select(tmp_path / "labels", examples, index_only=True)
    others = dataclasses.replace(examples, labels=np.roll(examples.labels, 1))
    for given in (others, None):
        with pytest.raises(ValueError, match="index-00000-of-00003.parquet is an index of other"):
            batches(directory, given, SMALL)
    with pytest.raises(ValueError, match="other records"):
        write.write_selected(
            tmp_path / "labels", directory, examples, min_confidence=0.25, images_per_class=13
        )


def test_distributions_of_the_most_likely_classes():
    probabilities = np.array([[0.1, 0.5, 0.2, 0.2], [0.25, 0.25, 0.25, 0.25]], np.float32)
    values, classes = distributions.keep_top(probabilities, 2)
    assert classes.tolist() == [[1, 2], [0, 1]]
    whole = distributions.dense(values, classes, 4)
    np.testing.assert_allclose(whole, [[0.15, 0.5, 0.2, 0.15], [0.25] * 4], rtol=1e-6)
    np.testing.assert_array_equal(
        distributions.dense(np.ones((1, 1), np.float16), np.array([[3]]), 4), [[0, 0, 0, 1]]
    )
    rounded = probabilities.astype(np.float16)
    whole = distributions.dense(rounded, None, 4)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(whole, probabilities, atol=1e-3)


@pytest.mark.parametrize(("dtype", "atol"), [("float16", 1e-3), ("float32", 1e-6)])
@pytest.mark.parametrize("top_k", [None, 2, 9])
def test_what_is_stored_of_the_probabilities(tmp_path, model_path, dtype, atol, top_k):
    examples = textured(COUNT)
    done = label(model_path, examples, tmp_path, store_top_k=top_k, probabilities_dtype=dtype)
    files = [tmp_path / name for name in done["predictions"]]
    names = predictions.columns_of(predictions.read_card(files[0]))
    pieces = list(predictions.read(files, names))
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
    assert columns["probabilities"].dtype == dtype
    width = min(top_k or 5, 5)
    assert columns["probabilities"].shape == (COUNT, width)
    assert ("classes" in names) == (top_k is not None)
    logits = model_file.load_model(model_path)[0](examples.images.astype(np.float32))
    expected = tf.nn.softmax(logits).numpy()
    whole = distributions.dense(columns["probabilities"], columns.get("classes"), 5)
    largest = np.sort(expected)[:, -width:]
    np.testing.assert_allclose(np.sort(whole)[:, -width:], largest, atol=atol)
    np.testing.assert_array_equal(whole.argmax(axis=1), columns["label"])


@pytest.mark.parametrize("source", ["memory", "files", "records"], indirect=True)
def test_the_source_shard_is_named(tmp_path, model_path, source):
    label(model_path, source, tmp_path / "labels")
    files = predictions.shard_files(tmp_path / "labels")
    pieces = predictions.read(files, ["source_shard"])
    found = np.concatenate([piece["source_shard"] for piece in pieces])
    in_records = source.offsets is not None
    expected = [f.split("/")[-1] for f in source.files] if in_records else [""] * COUNT
    assert found.tolist() == expected
    for i in (0, 17):
        size = len(source.encoded(i)) if source.files is not None else 16 * 16 * 3
        assert size <= source.num_bytes(i) <= size + 200


def test_parts_are_selected_by_the_decision_on_all(tmp_path, model_path):
    examples = textured(COUNT)
    label(model_path, examples, tmp_path / "labels")
    config = settings.SelectionConfig(0.25, 5, False, 1, 1)
    write.run(tmp_path / "labels", tmp_path / "all", examples, config)
    parts = []
    for number, rows in enumerate((np.arange(15), np.arange(15, COUNT))):
        part = examples.take(rows)
        label(model_path, part, tmp_path / f"labels{number}")
        write.run(
            tmp_path / f"labels{number}",
            tmp_path / f"part{number}",
            part,
            config,
            tmp_path / "all/decision.json",
        )
        parts.append(tmp_path / f"part{number}")
    together = np.sort(np.concatenate([decision_index.read(p.glob("chosen-*")) for p in parts]))
    expected = decision_index.read((tmp_path / "all").glob("chosen-*"))
    np.testing.assert_array_equal(together, np.sort(expected))
    reports = [read_json(folder / "selection.json") for folder in (*parts, tmp_path / "all")]
    written = [report["num_written"] for report in reports]
    assert written[0] + written[1] == written[2] and min(written) > 0


def test_copies_are_capped(tmp_path, model_path):
    examples = textured(COUNT)
    label(model_path, examples, tmp_path / "labels")
    report = {}
    for cap in (None, 2):
        directory = select(tmp_path / "labels", examples, images_per_class=60, max_copies=cap)
        report[cap] = json.loads((directory / "selection.json").read_text())
        assert (
            record_schema.count_records(student_set.files_of(directory))
            == report[cap]["num_written"]
        )
    above = np.array(report[2]["per_class"]["above_threshold"])
    assert report[2]["per_class"]["after"] == np.minimum(2 * above, 60).tolist()
    assert set(report[None]["per_class"]["after"]) <= {0, 60}
    assert report[2]["max_copies"] == 2


@pytest.mark.parametrize(
    ("source", "index_only"),
    [("memory", False), ("records", True)],
    indirect=["source"],
    ids=["records", "index"],
)
def test_a_better_teacher_labels_the_same_set_again(tmp_path, model_path, source, index_only):
    label(model_path, source, tmp_path / "labels")
    config = settings.SelectionConfig(0.25, 13, False, 3, 1, index_only=index_only)
    write.run(tmp_path / "labels", tmp_path / "old", source, config)
    better = save_model(tmp_path / "better.keras", seed=7)
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)

    def again(model, output):
        return pseudo_label.reassign(
            model, tmp_path / "old", source, tmp_path / output, devices, batch_size=16
        )

    again(model_path, "same")
    report = again(better, "new")
    assert again(better, "new") == report
    old, same, new = (student_set.files_of(tmp_path / name) for name in ("old", "same", "new"))
    if not index_only:
        assert [recordfile_bytes(f) for f in same] == [recordfile_bytes(f) for f in old]
    assert_equal(
        batches(tmp_path / "old", source, SMALL), batches(tmp_path / "same", source, SMALL)
    )
    before, after = (batches(tmp_path / name, source, SMALL) for name in ("old", "new"))
    assert_equal(*([{"x": b["unlabeled_images"]} for b in found] for found in (before, after)))
    before, after = student_set.read_set(old, source), student_set.read_set(new, source)
    np.testing.assert_array_equal(before.places, after.places)
    logits = model_file.load_model(better)[0](textured(COUNT).images.astype(np.float32))
    np.testing.assert_array_equal(after.labels, np.argmax(logits, axis=1)[after.images])
    changed = int((before.labels != after.labels).sum())
    assert report["reassigned"] == {"images": len(after.images), "changed": changed}
    assert 0 < changed < len(after.images)
    assert report["num_written"] == before.copies.sum()
    assert report["per_class"]["after"] == np.bincount(after.labels, after.copies, 5).tolist()
    assert (
        stage.read_done(tmp_path / "new")["records_hash"]
        != stage.read_done(tmp_path / "old")["records_hash"]
    )


def recordfile_bytes(path):
    tfrecord_file.verify([path])
    with open(path, "rb") as file:
        return file.read()


def test_calibration_is_fitted_once_and_applied(tmp_path, model_path):
    examples, validation = textured(COUNT), textured(30)
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    stored = settings.LabelConfig(calibrate=True, probabilities_dtype="float32")

    def run(**arguments):
        return pseudo_label.run(
            model_path,
            examples,
            tmp_path,
            devices,
            batch_size=16,
            num_shards=2,
            stored=stored,
            **arguments,
        )

    with pytest.raises(ValueError, match="needs validation images"):
        run()
    assert run(validation=validation, shard_index=1) == {}
    fitted = read_json(tmp_path / shards.CALIBRATION)
    write_json(tmp_path / shards.CALIBRATION, fitted | {"temperature": 2.5})
    done = run(validation=validation)  # goes by the file, and makes shard 1 anew
    assert done["calibration"]["temperature"] == 2.5
    assert done["calibration"]["after"]["loss"] <= done["calibration"]["before"]["loss"]
    (found,) = predictions.read([tmp_path / sorted(done["predictions"])[1]], ["probabilities"])
    logits = model_file.load_model(model_path)[0](examples.images.astype(np.float32))
    expected = tf.nn.softmax(logits / 2.5).numpy()[20:]
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
