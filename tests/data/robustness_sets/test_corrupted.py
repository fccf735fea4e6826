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
    with pytest.raises(ValueError, match="'snow' of severity 1 .*: gaussian_noise 5, "):
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
    with pytest.raises(ValueError, match="'snow' of severity 1 .*: gaussian_noise 5, "):
        found.examples("snow", 1, WNIDS)
    with pytest.raises(ValueError, match=r"fog/1/n01443537 "):
        found.examples("fog", 1, WNIDS[:1])
    write_pictures(imagenet_c / "fog/1")
    with pytest.raises(ValueError, match="fog .*twice: .*/fog and .*/weather/fog"):
        robustness_sets.imagenet_c(str(imagenet_c))
    with pytest.raises(ValueError, match="Folder .*/nowhere does not exist"):
        robustness_sets.imagenet_c(str(imagenet_c / "nowhere"))
    with pytest.raises(ValueError, match="has none of the folders gaussian_noise, "):
        robustness_sets.imagenet_c(str(imagenet_c / "weather/fog"))
    (imagenet_c / "empty/fog/1").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty has no images; expected .*/SEVERITY/WNID/"):
        robustness_sets.imagenet_c(str(imagenet_c / "empty"))


def test_imagenet_a_is_a_folder_of_some_classes(tmp_path):
    write_pictures(tmp_path, classes=WNIDS[1:])
    examples = sources.load_examples(sources.Folder(str(tmp_path)), WNIDS)
    assert examples.labels.tolist() == [1, 1, 2, 2]
    assert examples.class_names == WNIDS


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
        ("fog", np.zeros((15, 32, 32, 3)), r"fog.npy must hold uint8 .*float64"),
        ("fog", np.zeros((15, 32, 32), np.uint8), r"fog.npy must hold images .*\[15, 32, 32\]"),
        ("labels", np.zeros(14, int), r"labels.npy must hold integers \[5 N\].*int64 \(14,\)"),
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
