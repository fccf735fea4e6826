"""Stored benchmarks of perturbed videos through the evaluation, beside loops over single frames."""

from fractions import Fraction

import av
import numpy as np
import pytest

from noisy_student import robustness
from tests.helpers import tiny_evaluation as tiny

WNIDS = tiny.WNIDS


def flips_one_by_one(videos, noise):
    """Changes of the answer, frame by frame: the share of all frames but the first."""
    changes, count = 0, 0
    for frames in videos:
        guesses = tiny.guesses_one_by_one(frames)
        for i in range(1, len(guesses)):
            changes += guesses[i] != guesses[0 if noise else i - 1]
            count += 1
    return changes / count


def films(count, num_frames, seed, side=tiny.SIDE):
    """Videos that turn from one picture into another."""
    first, last = (tiny.pictures(count, side, s).astype(float) for s in (seed, seed + 500))
    share = np.linspace(0, 1, num_frames)[:, None, None, None]
    return ((1 - share) * first[:, None] + share * last[:, None]).astype(np.uint8)


def test_cifar10_p(models, tmp_path):
    written = {"shot_noise": films(5, 6, 1), "tilt": films(5, 6, 2), "snow": films(5, 6, 3)}
    for name, array in written.items():
        np.save(tmp_path / f"{name}.npy", array)
    chosen = tiny.settings("cifar10_p", cifar10_p_dir=tmp_path, batch_size=13)
    result = tiny.run(models["cifar10"], None, tmp_path / "out", chosen)["cifar10_p"]
    # Snow comes with the download, and is none of the ten.
    assert list(result["flip_probability"]) == ["shot_noise", "tilt"]
    for name, probability in result["flip_probability"].items():
        expected = flips_one_by_one(written[name], noise=name == "shot_noise")
        assert probability == pytest.approx(expected) and expected > 0
        films_moved = [
            tiny.top5_distance_one_by_one(frames, noise=name == "shot_noise")
            for frames in written[name]
        ]
        assert result["top5_distance"][name] == pytest.approx(np.mean(films_moved))
    mean = np.mean(list(result["top5_distance"].values()))
    assert result["mean_top5_distance"] == pytest.approx(mean) and mean > 0
    assert len(result["missing"]) == 8 and "mfr" not in result


def write_video(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1), options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def read_video(path):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def write_imagenet_p(root, names):
    """Perturbation -> what the model sees of its two videos."""
    shown = {}
    for number, name in enumerate(names):
        shown[name] = []
        for i, frames in enumerate(films(2, 7, 10 * number, side=48)):
            path = root / name / WNIDS[i] / "val_0.mp4"
            write_video(path, frames)
            shown[name].append(tiny.resized(read_video(path)))
    return shown


def test_imagenet_p_complete_and_in_part(models, tmp_path, caplog):
    shown = write_imagenet_p(tmp_path / "p", robustness.PERTURBATIONS)
    chosen = tiny.settings("imagenet_p", imagenet_p_dir=tmp_path / "p", batch_size=16)
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_p"]
    noises = ("gaussian_noise", "shot_noise")
    expected = {name: flips_one_by_one(films, name in noises) for name, films in shown.items()}
    assert result["flip_probability"] == pytest.approx(expected)
    alexnet = robustness.ALEXNET_FLIP_PROBABILITY
    rates = [expected[name] / alexnet[name] for name in robustness.PERTURBATIONS]
    assert result["mfr"] == pytest.approx(10 * sum(rates))
    assert set(result["top5_distance"]) == set(expected)
    mean = np.mean(list(result["top5_distance"].values()))
    assert result["mean_top5_distance"] == pytest.approx(mean)
    assert f"mean top-5 distance {mean:.2f} of 15" in tiny.describe(result)

    (tmp_path / "p/scale" / WNIDS[1] / "val_0.mp4").rename(tmp_path / "later.mp4")
    shorter = tiny.run(models["wnids"], None, tmp_path / "short", chosen)["imagenet_p"]
    assert shorter["missing"] == ["scale (1 of 2 images)"] and "mfr" not in shorter
    (tmp_path / "later.mp4").rename(tmp_path / "p/scale" / WNIDS[1] / "val_0.mp4")
    again = tiny.run(models["wnids"], None, tmp_path / "short", chosen)["imagenet_p"]
    assert again["missing"] == [] and again["mfr"] == result["mfr"]
    assert len(np.load(tmp_path / "short/imagenet_p/scale.npz")["labels"]) == 2

    (tmp_path / "p/tilt").rename(tmp_path / "tilt")
    partial = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_p"]
    assert partial["missing"] == ["tilt"] and "mfr" not in partial
    del expected["tilt"]
    mean = 100 * sum(expected.values()) / 9
    assert partial["mean_flip_probability"] == pytest.approx(mean)
    assert "1 parts missing" in tiny.describe(partial)
    assert "mFR" not in tiny.describe(partial)
