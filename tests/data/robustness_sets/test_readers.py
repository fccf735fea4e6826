from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from data import robustness_sets, sources
from data.corruptions import VALIDATION_CORRUPTIONS

WNIDS = ("n01440764", "n01443537", "n01484850")


def picture(seed):
    """One color, which JPEG keeps."""
    color = np.random.default_rng(seed).integers(0, 256, 3).astype(np.uint8)
    return np.tile(color, (16, 16, 1))


def write_pictures(folder, count=2, classes=WNIDS[:2]):
    """A folder of class folders; picture i of class c is picture(10 c + i)."""
    for label, wnid in enumerate(classes):
        (folder / wnid).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(picture(10 * label + index))
            image.save(folder / wnid / f"ILSVRC2012_val_{index}.JPEG", quality=85)


# ImageNet-C.


@pytest.fixture
def imagenet_c(tmp_path):
    write_pictures(tmp_path / "weather/fog/1")
    write_pictures(tmp_path / "weather/fog/3")
    write_pictures(tmp_path / "noise/gaussian_noise/5")
    write_pictures(tmp_path / "extra/saturate/2")
    return tmp_path


def test_imagenet_c(imagenet_c):
    found = robustness_sets.imagenet_c(str(imagenet_c))
    assert found.settings == (("gaussian_noise", 5), ("fog", 1), ("fog", 3), ("saturate", 2))
    assert len(found.missing) == 15 * 5 - 3
    assert ("fog", 2) in found.missing and ("fog", 1) not in found.missing
    assert not {name for name, _ in found.missing} & set(VALIDATION_CORRUPTIONS)
    assert found.unknown == ()
    # Labels follow the names given, not the order of the folders.
    examples = found.examples("fog", 3, class_names=tuple(reversed(WNIDS)))
    assert examples.labels.tolist() == [2, 2, 1, 1]
    assert examples.ids[0] == "imagenet_c/fog/3/n01440764/ILSVRC2012_val_0.JPEG"
    decoded = np.asarray(Image.open(examples.files[3]))
    assert np.abs(decoded.astype(int) - picture(11)).max() < 5


def test_images_are_counted_as_they_are_now(imagenet_c):
    found = robustness_sets.imagenet_c(str(imagenet_c))
    folder = imagenet_c / "weather/fog/3" / WNIDS[0]
    (folder / ".partial").write_bytes(b"hidden files are no images")
    assert found.count("fog", 3) == len(found.examples("fog", 3, WNIDS)) == 4
    (folder / "deeper").mkdir()
    (folder / "ILSVRC2012_val_0.JPEG").rename(folder / "deeper/a.JPEG")
    (folder / "ILSVRC2012_val_1.JPEG").unlink()
    assert found.count("fog", 3) == len(found.examples("fog", 3, WNIDS)) == 3
    assert found.count("fog", 1) == 4
    with pytest.raises(ValueError, match="no 'snow' of severity 1; there is: gaussian_noise 5, "):
        found.count("snow", 1)


def test_imagenet_c_without_groups_and_with_strange_folders(tmp_path):
    write_pictures(tmp_path / "fog/1")
    write_pictures(tmp_path / "fog/6")
    write_pictures(tmp_path / "rain/1")
    (tmp_path / "snow" / "2").mkdir(parents=True)  # empty: nothing was downloaded
    (tmp_path / "checksums.txt").write_text("")
    (tmp_path / ".cache").mkdir()
    found = robustness_sets.imagenet_c(str(tmp_path))
    assert found.settings == (("fog", 1),)
    assert ("snow", 2) in found.missing
    unknown = {"checksums.txt", "rain", "fog/6"}
    assert set(found.unknown) == {str(tmp_path / name) for name in unknown}


def test_what_is_wrong_with_imagenet_c_is_named(imagenet_c):
    found = robustness_sets.imagenet_c(str(imagenet_c))
    with pytest.raises(ValueError, match="no 'snow' of severity 1; there is: gaussian_noise 5, "):
        found.examples("snow", 1, WNIDS)
    with pytest.raises(ValueError, match=r"fog/1/n01443537 is the folder of a class"):
        found.examples("fog", 1, WNIDS[:1])
    write_pictures(imagenet_c / "fog/1")
    with pytest.raises(ValueError, match="fog is there twice: .*/fog and .*/weather/fog"):
        robustness_sets.imagenet_c(str(imagenet_c))
    with pytest.raises(ValueError, match="There is no folder .*/nowhere"):
        robustness_sets.imagenet_c(str(imagenet_c / "nowhere"))
    with pytest.raises(ValueError, match="has none of the folders gaussian_noise, "):
        robustness_sets.imagenet_c(str(imagenet_c / "weather/fog"))
    (imagenet_c / "empty/fog/1").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty has no images: expected .*/SEVERITY/WNID/"):
        robustness_sets.imagenet_c(str(imagenet_c / "empty"))


def test_imagenet_a_is_a_folder_of_some_classes(tmp_path):
    write_pictures(tmp_path, classes=WNIDS[1:])
    examples = sources.load_examples("folder", folder=str(tmp_path), class_names=WNIDS)
    assert examples.labels.tolist() == [1, 1, 2, 2]
    assert examples.class_names == WNIDS


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
    with pytest.raises(ValueError, match="no 'snow'; there is: shot_noise, tilt"):
        found.videos("snow")
    with pytest.raises(ValueError, match="no 'snow'; there is: "):
        found.count("snow")
    with pytest.raises(ValueError, match="tilt/n01443537 is the folder of a class that is not"):
        found.videos("tilt", WNIDS[:1])
    write_video(imagenet_p / "digital/tilt" / WNIDS[1] / "val_7.mp4", film(8))
    videos = found.videos("tilt")
    with pytest.raises(ValueError, match=r"val_7.mp4 has frames \[8, .*val_1.mp4 has \[9, "):
        list(videos)
    with pytest.raises(IndexError, match="There are 3 videos, but none at 3"):
        videos[3]
    damaged = imagenet_p / "digital/scale" / WNIDS[0] / "val_0.mp4"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a video")
    found = robustness_sets.imagenet_p(str(imagenet_p))
    with pytest.raises(ValueError, match="val_0.mp4 is not a readable video"):
        found.videos("scale")
    damaged.unlink()
    with pytest.raises(ValueError, match="scale has no videos: expected .*/WNID/IMAGE.mp4"):
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


# CIFAR-10-C.


@pytest.fixture
def cifar10_c(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (15, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "spatter.npy", 255 - images)
    np.save(tmp_path / "labels.npy", np.tile(np.uint8([3, 8, 0]), 5))
    return tmp_path


def test_cifar10_c(cifar10_c):
    (cifar10_c / "README.txt").write_text("")
    found = robustness_sets.cifar10_c(str(cifar10_c))
    assert found.settings == tuple(
        (name, severity) for name in ("fog", "spatter") for severity in range(1, 6)
    )
    assert len(found.missing) == 14 * 5 and ("snow", 1) in found.missing
    assert found.unknown == (str(cifar10_c / "README.txt"),)
    names = tuple(reversed(robustness_sets.CIFAR10_CLASSES))
    examples = found.examples("fog", 4, names)
    assert [names[label] for label in examples.labels] == ["cat", "ship", "airplane"]
    assert examples.ids.tolist()[1] == "cifar10_c/fog/4/00001"
    stored = np.load(cifar10_c / "fog.npy")
    assert np.array_equal(examples.images, stored[9:12])
    assert found.count("fog", 4) == 3
    assert isinstance(examples.images, np.memmap)
    assert np.array_equal(found.examples("spatter", 5, names).images, 255 - stored[12:])


@pytest.mark.parametrize(
    "file, array, message",
    [
        ("fog", np.zeros((14, 32, 32, 3), np.uint8), r"fog.npy must hold uint8 \[15, H, W, 3\]"),
        ("fog", np.zeros((15, 32, 32, 3)), r"fog.npy must hold uint8 .* not float64"),
        (
            "fog",
            np.zeros((15, 32, 32), np.uint8),
            r"fog.npy must hold images .* not \[15, 32, 32\]",
        ),
        ("labels", np.zeros(14, int), r"labels.npy must hold integers \[5 N\], not int64 \(14,\)"),
        ("labels", np.arange(15) % 10, "labels.npy must hold the same classes 0..9 for each"),
        ("labels", np.full(15, 10), "labels.npy must hold the same classes 0..9 for each"),
    ],
)
def test_wrong_arrays_of_cifar10_c_are_named(cifar10_c, file, array, message):
    np.save(cifar10_c / f"{file}.npy", array)
    with pytest.raises(ValueError, match=message):
        found = robustness_sets.cifar10_c(str(cifar10_c))
        found.examples("fog", 1, robustness_sets.CIFAR10_CLASSES)


def test_what_is_missing_of_cifar10_c_is_named(cifar10_c):
    (cifar10_c / "labels.npy").unlink()
    with pytest.raises(ValueError, match="labels.npy is missing"):
        robustness_sets.cifar10_c(str(cifar10_c))
    (cifar10_c / "labels.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="labels.npy is not a readable array file"):
        robustness_sets.cifar10_c(str(cifar10_c))
    (cifar10_c / "fog.npy").unlink()
    (cifar10_c / "spatter.npy").unlink()
    with pytest.raises(ValueError, match="has no file NAME.npy with NAME one of gaussian_noise, "):
        robustness_sets.cifar10_c(str(cifar10_c))


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
