from fractions import Fraction

import av
import numpy as np
import pytest

from data import robustness_sets

WNIDS = ("n01440764", "n01443537", "n01484850")


# ImageNet-P.


def film(num_frames, brightness=0, size=32):
    """Frame i is gray but for a white column that moves: its place tells the order."""
    frames = np.full((num_frames, size, size, 3), 40 + brightness, np.uint8)
    for index in range(num_frames):
        frames[index, :, 2 * index : 2 * index + 2] = 255
    return frames


def write_video(path, frames):
    """H.264 with frames that refer to later ones, so that they are not stored in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"crf": "10", "preset": "veryslow", "bf": "3"}
        stream = container.add_stream("libx264", rate=Fraction(1), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def imagenet_p(tmp_path):
    write_video(tmp_path / "digital/tilt" / WNIDS[0] / "val_1.mp4", film(9))
    write_video(tmp_path / "digital/tilt" / WNIDS[1] / "val_0.mp4", film(9, brightness=60))
    write_video(tmp_path / "noise/shot_noise" / WNIDS[1] / "val_0.mp4", film(5))
    return tmp_path


def test_imagenet_p(imagenet_p):
    (imagenet_p / "noise/shot_noise_2").mkdir()
    found = robustness_sets.imagenet_p(str(imagenet_p))
    assert found.perturbations == ("shot_noise", "tilt")
    assert len(found.missing) == 8 and "snow" in found.missing
    assert found.unknown == (str(imagenet_p / "noise/shot_noise_2"),)
    videos = found.videos("tilt", class_names=tuple(reversed(WNIDS)))
    assert (len(videos), videos.num_frames) == (2, 9)
    assert (found.count("tilt"), found.count("shot_noise")) == (2, 1)
    assert videos.ids.tolist() == [
        "imagenet_p/tilt/n01440764/val_1.mp4",
        "imagenet_p/tilt/n01443537/val_0.mp4",
    ]
    assert videos.labels.tolist() == [2, 1]
    assert found.videos("tilt").labels.tolist() == [-1, -1]
    for frames, brightness in zip(videos, (0, 60), strict=True):
        assert (frames.shape, frames.dtype) == ((9, 32, 32, 3), np.uint8)
        columns = frames.mean(axis=(1, 3))
        assert (columns.argmax(axis=1) // 2).tolist() == list(range(9))
        assert np.median(frames) == pytest.approx(40 + brightness, abs=3)
        assert np.abs(frames.astype(int) - film(9, brightness)).mean() < 8


def test_frames_come_as_they_are_shown(tmp_path):
    write_video(tmp_path / "film.mp4", film(9))
    with av.open(str(tmp_path / "film.mp4")) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert len(stored) == 9 and stored != sorted(stored)
    decoded = robustness_sets.decode_video(tmp_path / "film.mp4")
    assert (decoded.mean(axis=(1, 3)).argmax(axis=1) // 2).tolist() == list(range(9))


def test_videos_keep_their_colors(tmp_path):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    frames[:] = (200, 90, 30)
    write_video(tmp_path / "film.mp4", frames)
    decoded = robustness_sets.decode_video(tmp_path / "film.mp4")
    assert np.abs(decoded.astype(int) - frames).max() < 8


def test_what_is_wrong_with_imagenet_p_is_named(imagenet_p):
    found = robustness_sets.imagenet_p(str(imagenet_p))
    with pytest.raises(ValueError, match="'snow' .*: shot_noise, tilt"):
        found.videos("snow")
    with pytest.raises(ValueError, match="'snow' .*: shot_noise, tilt"):
        found.count("snow")
    with pytest.raises(ValueError, match="tilt/n01443537 is not the folder"):
        found.videos("tilt", WNIDS[:1])
    write_video(imagenet_p / "digital/tilt" / WNIDS[1] / "val_7.mp4", film(8))
    videos = found.videos("tilt")
    with pytest.raises(ValueError, match=r"val_7.mp4 has frames \[8, .*val_1.mp4 has \[9, "):
        list(videos)
    with pytest.raises(IndexError, match="index 3 .* 3 videos"):
        videos[3]
    damaged = imagenet_p / "digital/scale" / WNIDS[0] / "val_0.mp4"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a video")
    found = robustness_sets.imagenet_p(str(imagenet_p))
    with pytest.raises(ValueError, match="val_0.mp4 is not a readable video"):
        found.videos("scale")
    damaged.unlink()
    with pytest.raises(ValueError, match="scale has no videos; expected .*/WNID/IMAGE.mp4"):
        found.videos("scale")


def test_a_video_without_frames_is_named(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="sound.mp4 has no frames"):
        robustness_sets.decode_video(tmp_path / "sound.mp4")


# CIFAR-10-P.


def test_cifar10_p(tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (4, 6, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "tilt.npy", stored)
    np.save(tmp_path / "snow.npy", stored)
    np.save(tmp_path / "gaussian_noise_2.npy", stored)
    found = robustness_sets.cifar10_p(str(tmp_path))
    assert found.perturbations == ("tilt", "snow")
    assert len(found.missing) == 9 and "spatter" in found.missing
    assert found.unknown == (str(tmp_path / "gaussian_noise_2.npy"),)
    videos = found.videos("tilt")
    assert (len(videos), videos.num_frames) == (4, 6)
    assert found.count("tilt") == 4
    assert np.array_equal(np.stack(list(videos)), stored)
    assert videos.labels.tolist() == [-1] * 4
    assert videos.ids[3] == "cifar10_p/tilt/00003"
    for wrong in (stored[0], stored.astype(np.int16), stored[:, :0]):
        np.save(tmp_path / "tilt.npy", wrong)
        with pytest.raises(ValueError, match="tilt.npy must hold"):
            robustness_sets.cifar10_p(str(tmp_path)).videos("tilt")
