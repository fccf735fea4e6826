"""Corruptions and perturbation sequences kept on disk: what is there, when it is used, when not."""

import dataclasses
import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest

from data import corruptions, perturbations
from data.preprocess import PreprocessSpec
from noisy_student.artifacts import model_file
from noisy_student.evaluate import corruptions as evaluate_corruptions
from noisy_student.evaluate import generated_cache
from noisy_student.evaluate import perturbations as evaluate_perturbations
from noisy_student.evaluate.generated_cache import GeneratedCache
from tests.helpers import tiny_evaluation as tiny
from tests.helpers import toy_batches
from tests.helpers.tiny_evaluation import content, count_calls, killed_after

COUNT = 10
GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "generated_pixels.json"
# Benchmark -> what makes an image, and how many files of one image each there are.
MAKERS = {
    "corruptions": (corruptions, "corrupt", 6),
    "perturbations": (perturbations, "sequence", 3),
}
both = pytest.mark.parametrize("benchmark", list(MAKERS))


def asked(benchmark, cache=None, **other):
    return tiny.settings(
        benchmark,
        corruptions=("fog", "gaussian_noise", "contrast"),
        severities=(2, 5),
        perturbations=("shot_noise", "translate", "spatter"),
        corruption_cache=None if cache is None else str(cache),
        **other,
    )


def hashed(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def expected_of(benchmark, image, id):
    """What the alphabetically first file has of an image."""
    if benchmark == "corruptions":
        return corruptions.corrupt(image, "contrast", 2, hashed(f"0/{id}"), 32)
    return perturbations.sequence(image, "shot_noise", (0, hashed(id)), 32)


def files_in(folder):
    return sorted(folder.glob("[!.]*"))


@both
def test_files_are_read_and_exact(model, examples, tmp_path, monkeypatch, capsys, benchmark):
    module, function, num_files = MAKERS[benchmark]
    tiny.run(model, examples, tmp_path / "plain", asked(benchmark))
    assert "cache" not in capsys.readouterr().out
    cached = asked(benchmark, tmp_path / "cache")
    tiny.run(model, examples, tmp_path / "first", cached)
    files = files_in(tmp_path / "cache")
    assert len(files) == num_files
    stored = np.load(files[0])
    for i, (image, id) in enumerate(zip(examples.images, examples.ids, strict=True)):
        np.testing.assert_array_equal(stored[i], expected_of(benchmark, image, id))
    printed = capsys.readouterr().out
    assert f"{num_files} of {num_files} files of 10 images are missing" in printed
    gigabytes = sum(np.load(file).nbytes for file in files) / 1e9
    assert f"up to {gigabytes:.2f} GB to write" in printed

    calls = count_calls(monkeypatch, module, function)
    # Batches of another size, and another number of sequences at once.
    tiny.run(model, examples, tmp_path / "second", asked(benchmark, tmp_path / "cache"))
    tiny.run(
        model, examples, tmp_path / "third", asked(benchmark, tmp_path / "cache", batch_size=70)
    )
    assert not calls and "cache" not in capsys.readouterr().out
    results = [path.relative_to(tmp_path / "plain") for path in tmp_path.glob("plain/**/*.json")]
    plain = content(tmp_path / "plain")
    for folder in ("first", "second"):
        assert content(tmp_path / folder) == plain
    # Confidences may depend on the batch size in their last digits.
    third = {path: value for path, value in content(tmp_path / "third").items() if path in results}
    assert third == {path: plain[path] for path in results}


@both
@pytest.mark.parametrize("changed", ["seed", "id", "pixel", "number", "version"])
def test_files_are_keyed_by_all_that_matters(
    model, examples, tmp_path, monkeypatch, benchmark, changed
):
    module, function, num_files = MAKERS[benchmark]
    chosen = asked(benchmark, tmp_path / "cache")
    tiny.run(model, examples, tmp_path / "first", chosen)
    if changed == "seed":
        chosen = dataclasses.replace(chosen, seed=1)
    elif changed == "id":
        ids = np.array([f"another/{i}" for i in range(COUNT)], object)
        examples = dataclasses.replace(examples, ids=ids)
    elif changed == "pixel":
        images = examples.images.copy()
        images[9, 0, 0, 0] ^= 1
        examples = dataclasses.replace(examples, images=images)
    elif changed == "number":
        examples = examples.take(range(9))
    else:
        monkeypatch.setitem(generated_cache.VERSIONS, benchmark, -1)
    calls = count_calls(monkeypatch, module, function)
    tiny.run(model, examples, tmp_path / "second", chosen)
    assert sum(calls.values()) == num_files * len(examples)
    assert len(files_in(tmp_path / "cache")) == 2 * num_files


def test_sequences_of_image_files_are_keyed_by_preprocessing_and_bytes(tmp_path, monkeypatch):
    """Of encoded images, which are resized and cropped as the model's card says."""
    photos = tiny.examples(4)
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for file, image in zip(files, tiny.pictures(4, side=64), strict=True):
        tiny.write_image(file, image)
    on_disk = toy_batches.of_files(photos, [*map(str, files)])
    paths = {}
    for interpolation in ("bicubic_tf1", "bilinear"):
        paths[interpolation] = tmp_path / f"{interpolation}.keras"
        spec = PreprocessSpec(tiny.SIDE, interpolation=interpolation)
        model_file.save_model(tiny.model(), paths[interpolation], tiny.WNIDS, spec)
    chosen = tiny.settings(
        "perturbations", perturbations=("tilt",), corruption_cache=str(tmp_path / "cache")
    )
    plain = tiny.settings("perturbations", perturbations=("tilt",))
    calls = count_calls(monkeypatch, perturbations, "sequence")

    def sequences_made(path):
        """How many sequences are made with the cache, whose figures are those without it."""
        before = sum(calls.values())
        found = tiny.run(path, on_disk, tmp_path / "out", chosen)["perturbations"]
        made = sum(calls.values()) - before
        expected = tiny.run(path, on_disk, tmp_path / "plain", plain)["perturbations"]
        assert found | {"seconds": 0} == expected | {"seconds": 0}
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(tmp_path / "plain")
        return made

    assert sequences_made(paths["bicubic_tf1"]) == 4
    assert sequences_made(paths["bicubic_tf1"]) == 0
    assert sequences_made(paths["bilinear"]) == 4
    tiny.write_image(files[3], tiny.pictures(1, side=64, seed=9)[0])
    assert sequences_made(paths["bicubic_tf1"]) == 4


@both
def test_an_interrupted_file_is_not_there_and_the_others_are(
    model, examples, tmp_path, monkeypatch, benchmark
):
    module, function, num_files = MAKERS[benchmark]
    chosen = asked(benchmark, tmp_path / "cache")
    with killed_after(monkeypatch, module, function, COUNT + 5):
        tiny.run(model, examples, tmp_path / "out", chosen)
    first = {"corruptions": "fog-2-", "perturbations": "shot_noise-"}[benchmark]
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name.startswith(first)
    calls = count_calls(monkeypatch, module, function)
    tiny.run(model, examples, tmp_path / "again", chosen)
    assert sum(calls.values()) == (num_files - 1) * COUNT


@both
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "other"])
def test_a_damaged_file_is_named(model, examples, tmp_path, benchmark, damage):
    chosen = asked(benchmark, tmp_path / "cache")
    tiny.run(model, examples, tmp_path / "first", chosen)
    file, another = files_in(tmp_path / "cache")[:2]
    whole = bytearray(file.read_bytes())
    if damage == "flipped":
        whole[5000] ^= 4
        file.write_bytes(whole)
    elif damage == "other":
        np.save(file, np.zeros((3, 4), np.uint8))
    else:
        file.write_bytes(whole[: len(whole) // 2 if damage == "cut" else 0])
    with pytest.raises(ValueError, match=f"{file.name} is damaged"):
        tiny.run(model, examples, tmp_path / "second", chosen)
    file.unlink()
    tiny.run(model, examples, tmp_path / "second", chosen)
    assert content(tmp_path / "second") == content(tmp_path / "first")
    assert another.exists()


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_is_made(tmp_path):
    shapes = {"fog-1": (224, 224, 3), "snow-1": (224, 224, 3)}
    message = "corruption_cache=.*cache: 2 of 2 files of 10000000000000 .* up to 3010560000.00 GB"
    with pytest.raises(ValueError, match=message):
        GeneratedCache(tmp_path / "cache", "corruptions", [b"key"], 10**13, shapes)
    assert not (tmp_path / "cache").exists()


def test_fewer_images_than_promised_are_not_kept(tmp_path):
    cache = GeneratedCache(tmp_path, "corruptions", [b"key"], 3, {"fog": (2, 2, 3)})
    with pytest.raises(RuntimeError, match="2 images.* 3"):
        list(cache.batches("fog", lambda: [np.zeros((2, 2, 2, 3), np.uint8)], 2))
    assert not list(tmp_path.iterdir())


def test_frames_are_counted_without_making_them(examples):
    for size, names in perturbations.SEQUENCES.items():
        for name in names:
            made = perturbations.sequence(examples.images[0], name, 0, size)
            assert perturbations.num_frames(name, size) == len(made)


def digest(image):
    return hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest()


def generated_digests(family):
    """Native size -> name -> hash of what the benchmark generates from one image."""
    found = {}
    for size, side in ((32, 32), (224, 224), (299, 360)):
        if size == 299 and family == "corruptions":
            continue  # the same code as at 224
        examples = dataclasses.replace(tiny.examples(1), images=tiny.pictures(1, side))
        spec = PreprocessSpec(size, small_image=size == 32)
        if family == "corruptions":
            found[str(size)] = {
                name: digest(
                    evaluate_corruptions.corrupted_image(
                        examples.images[0], examples.ids[0], name, 4, seed=1
                    )
                )
                for name in corruptions.CORRUPTIONS
            }
        else:
            found[str(size)] = {
                name: digest(
                    evaluate_perturbations.generated_sequence(examples, 0, name, spec, seed=1)
                )
                for name in evaluate_perturbations.names_at(size)
            }
    return found


@both
def test_other_pixels_need_another_version(benchmark):
    """On failure: increment the family's number in `generated_cache.VERSIONS`.

    ``python -m tests.noisy_student.evaluate.test_generated_cache`` then rewrites the golden file.
    """
    golden = json.loads(GOLDEN.read_text())[benchmark]
    assert generated_digests(benchmark) == golden["digests"]
    assert generated_cache.VERSIONS[benchmark] == golden["version"]


def rewrite_golden():
    golden = json.loads(GOLDEN.read_text())
    for family, version in generated_cache.VERSIONS.items():
        digests = generated_digests(family)
        if digests != golden[family]["digests"] and version == golden[family]["version"]:
            raise SystemExit(f"Increment generated_cache.VERSIONS[{family!r}] first.")
        golden[family] = {"version": version, "digests": digests}
    GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    rewrite_golden()
