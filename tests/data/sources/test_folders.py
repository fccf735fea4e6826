import pathlib
import struct

import numpy as np
import pytest
from PIL import Image

from data import preprocess, sources
from data.sources import builtin, folders, image_check
from tests.helpers.toy_folders import class_counts, ids, parts, write_classes, write_image


def test_folder_classes_are_sorted_by_name(tmp_path):
    folder = write_classes(tmp_path, {"dog": 2, "cat": 1, "Ant": 1})
    (tmp_path / "cat" / ".hidden").write_text("")
    write_image(tmp_path / "dog" / "puppies" / "a.png")
    examples = folders.read_labeled(folder)
    assert examples.class_names == ("Ant", "cat", "dog")
    assert ids(examples) == [
        "folder/Ant/000.png",
        "folder/cat/000.png",
        "folder/dog/000.png",
        "folder/dog/001.png",
        "folder/dog/puppies/a.png",
    ]
    assert examples.labels.tolist() == [0, 1, 2, 2, 2]


def test_folder_without_test_images_holds_out_a_fifth(tmp_path, warnings_logged):
    folder = write_classes(tmp_path, {"cat": 50, "dog": 50})
    splits = sources.load_splits(sources.Folder(folder), sources.Draw(num_labeled=20))
    assert splits.info["counts"] == {"test": 20, "validation": 10, "labeled": 20, "unlabeled": 50}
    assert class_counts(splits.test) == {0: 10, 1: 10}
    assert warnings_logged == splits.info["warnings"]
    assert any("20% of the labeled" in line for line in warnings_logged)


def test_validation_has_at_least_one_image_of_each_class(tmp_path):
    folder = write_classes(tmp_path, {"cat": 3, "dog": 3, "eel": 3})
    splits = sources.load_splits(sources.Folder(folder))
    assert class_counts(splits.validation) == {0: 1, 1: 1, 2: 1}


def test_mnist_as_folder_gives_the_same_split_sizes(tmp_path):
    pool = builtin.read_mnist5k()
    for i in range(0, 5000, 5):  # every fifth image: 100 of each digit
        path = tmp_path / str(pool.labels[i]) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pool.encoded(i))
    splits = sources.load_splits(sources.Folder(str(tmp_path)), sources.Draw(num_labeled=20))
    mnist = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100))
    for name, split in parts(splits).items():
        assert class_counts(split).keys() == class_counts(parts(mnist)[name]).keys()
        assert 5 * len(split) == len(parts(mnist)[name]), name
    assert splits.class_names == mnist.class_names
    position = int(pathlib.Path(splits.test.files[7]).stem)
    assert splits.test.labels[7] == pool.labels[position]


def test_given_folders_are_taken_whole(tmp_path):
    splits = sources.load_splits(
        sources.Folder(
            write_classes(tmp_path / "train", {"cat": 6, "dog": 6}),
            validation_dir=write_classes(tmp_path / "val", {"cat": 2}),
            test_dir=write_classes(tmp_path / "test", {"dog": 3}),
        ),
        sources.Draw(
            num_labeled=4,
            unlabeled=sources.UnlabeledFolder(write_classes(tmp_path / "more", {"x": 4})),
        ),
    )
    assert ids(splits.validation) == ["validation/cat/000.png", "validation/cat/001.png"]
    assert splits.test.labels.tolist() == [1, 1, 1]  # mapped by name, though alone
    assert splits.test.class_names == ("cat", "dog")
    assert len(splits.labeled) == 4
    assert len(splits.unlabeled) == 8 + 4
    assert splits.unlabeled.labels.tolist().count(-1) == 4
    assert "unlabeled/x/000.png" in ids(splits.unlabeled)


def make_unknown_class(root):
    write_classes(root / "test", {"cat": 1, "cow": 1})
    return {"test_dir": str(root / "test")}, "cow"


def make_empty_class(root):
    (root / "train" / "empty").mkdir()
    return {}, "empty"


def make_text_file(root):
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    return {}, "notes.txt"


def make_disguised_text(root):
    (root / "train" / "cat" / "fake.jpg").write_text("no image")
    return {}, "fake.jpg"


def make_cut_png(root):
    path = root / "train" / "cat" / "000.png"
    path.write_bytes(path.read_bytes()[:-20])
    return {}, "000.png"


def make_cut_jpeg(root):
    path = root / "train" / "cat" / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    return {}, "cut.jpg"


def make_empty_file(root):
    (root / "train" / "cat" / "nothing.png").write_bytes(b"")
    return {}, "nothing.png"


def make_unsupported_format(root):
    write_image(root / "train" / "cat" / "picture.tiff")
    return {}, "picture.tiff"


def make_palette_bmp(root):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(noise).convert("P").save(root / "train" / "cat" / "palette.bmp")
    return {}, "palette.bmp is a BMP with a palette"


def make_animated_webp(root):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = root / "train" / "cat" / "moving.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return {}, "moving.webp is an animated WebP"


def make_partial_gif(root):
    frame = b"\x2c" + struct.pack("<4HB", 2, 2, 3, 4, 0)  # of 3 x 4 pixels at (2, 2)
    data = frame + b"\x02\x05\x84\x8f\xa9\xcb\x0d\x00\x3b"
    head = b"GIF89a" + struct.pack("<2H", 20, 16) + b"\x80\x00\x00" + b"\x00\x00\x00\xff\xff\xff"
    (root / "train" / "cat" / "partial.gif").write_bytes(head + data)
    return {}, "partial.gif is a GIF whose first frame is smaller than its canvas"


def make_stray_image(root):
    write_image(root / "train" / "stray.png")
    return {}, "stray.png"


def make_missing_folder(root):
    return {"test_dir": str(root / "nowhere")}, "nowhere"


def make_flat_folder(root):
    write_image(root / "flat" / "a.png")
    return {"labeled_dir": str(root / "flat")}, "flat"


def make_test_from_train(root):
    return {"test_dir": str(root / "train")}, "000.png"


def make_test_linked_to_train(root):
    (root / "test").mkdir()
    (root / "test" / "cat").symlink_to(root / "train" / "cat")
    return {"test_dir": str(root / "test")}, "000.png"


def make_test_among_unlabeled(root):
    write_classes(root / "test", {"cat": 1})
    return {"test_dir": str(root / "test"), "unlabeled_dir": str(root / "test")}, "000.png"


def make_no_unlabeled_image(root):
    (root / "void").mkdir()
    return {"unlabeled_dir": str(root / "void")}, "void"


@pytest.mark.parametrize(
    "make", [value for name, value in sorted(globals().items()) if name.startswith("make_")]
)
def test_folder_errors_name_what_is_wrong(tmp_path, make):
    folder = write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    arguments, culprit = make(tmp_path)
    with pytest.raises(ValueError, match=culprit) as error:
        unlabeled = arguments.pop("unlabeled_dir", None)
        draw = sources.Draw(unlabeled=unlabeled and sources.UnlabeledFolder(unlabeled))
        sources.load_splits(sources.Folder(**{"labeled_dir": folder} | arguments), draw)
    assert "\n" not in str(error.value)


def test_every_format_that_is_promised_is_read(tmp_path):
    (tmp_path / "cat").mkdir()
    for number, image_format in enumerate(image_check.FORMATS):
        image = Image.new("RGB", (8, 8), (200, 100, 50))
        image.save(tmp_path / "cat" / f"{number}.anything", format=image_format)
    examples = folders.read_labeled(str(tmp_path))
    assert len(examples) == 5
    for number in range(5):
        decoded = preprocess.decode_image(examples.encoded(number)).numpy().astype(int)
        assert np.abs(decoded - [200, 100, 50]).max() <= 3


def test_jpeg_with_trailing_bytes_is_an_image(tmp_path):
    write_image(tmp_path / "a.jpg")
    with open(tmp_path / "a.jpg", "ab") as file:
        file.write(b"\0\0")
    assert image_check.file_problem(tmp_path / "a.jpg") == ""


def test_unlabeled_files_that_are_no_images_are_skipped(tmp_path, warnings_logged):
    labeled = write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    write_image(tmp_path / "more" / "a.png")
    write_image(tmp_path / "more" / "deep" / "down" / "b.png")
    (tmp_path / "more" / "deep" / "readme.txt").write_text("no image")
    splits = sources.load_splits(
        sources.Folder(labeled),
        sources.Draw(unlabeled=sources.UnlabeledFolder(str(tmp_path / "more"))),
    )
    assert ids(splits.unlabeled) == ["unlabeled/a.png", "unlabeled/deep/down/b.png"]
    assert splits.unlabeled.labels.tolist() == [-1, -1]
    assert splits.info["skipped"] == [str(tmp_path / "more" / "deep" / "readme.txt")]
    assert not splits.info["unlabeled_labels_known"]
    assert any("readme.txt" in line for line in warnings_logged)


def test_unlabeled_folders_named_like_classes_keep_their_labels(tmp_path):
    labeled = write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    more = write_classes(tmp_path / "more", {"dog": 2})
    splits = sources.load_splits(
        sources.Folder(labeled), sources.Draw(unlabeled=sources.UnlabeledFolder(more))
    )
    assert splits.unlabeled.labels.tolist() == [1, 1]
    assert splits.info["unlabeled_labels_known"]
    write_image(tmp_path / "more" / "loose.png")
    splits = sources.load_splits(
        sources.Folder(labeled), sources.Draw(unlabeled=sources.UnlabeledFolder(more))
    )
    assert splits.unlabeled.labels.tolist() == [-1, -1, -1]


# Classes with few images, and folders that are no classes.


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_class_of_few_images_is_taught(tmp_path, given, seed):
    counts = {"many": 30, "one": 1, "two": 2, "three": 3}
    train = write_classes(tmp_path / "train", counts)
    test = write_classes(tmp_path / "test", counts) if given else None
    splits = sources.load_splits(sources.Folder(train, test_dir=test), sources.Draw(seed=seed))
    few = {name: class_counts(split) for name, split in parts(splits).items()}
    names = {name: label for label, name in enumerate(splits.class_names)}
    for name, count in counts.items():
        assert few["labeled"][names[name]] >= 1
        in_all = sum(few[split][names[name]] for split in ("labeled", "validation", "test"))
        assert in_all == count + (count if given else 0)
    if not given:  # the second image of a class is for the test, the third for validation
        assert few["test"][names["two"]] == few["test"][names["three"]] == 1
        assert few["validation"][names["three"]] == 1


def test_classes_of_one_image_need_test_images(tmp_path):
    train = write_classes(tmp_path / "train", {"a": 1, "b": 1})
    with pytest.raises(ValueError, match="--test_dir"):
        sources.load_splits(sources.Folder(train))
    splits = sources.load_splits(
        sources.Folder(train, test_dir=write_classes(tmp_path / "test", {"a": 1}))
    )
    assert splits.info["counts"] == {"labeled": 2, "validation": 0, "test": 1, "unlabeled": 0}


def test_a_class_that_would_not_be_taught_is_refused_by_name(tmp_path):
    train = write_classes(tmp_path / "train", {"a": 9, "b": 9, "c": 9})
    with pytest.raises(ValueError, match="of class [abc] .*--num_labeled of at least 3"):
        sources.load_splits(sources.Folder(train), sources.Draw(num_labeled=2))
    (tmp_path / "out.txt").write_text(
        "\ufeff" + "\n".join(f"folder/a/{i:03d}.png" for i in range(9))
    )
    source = sources.Folder(train, test_dir=write_classes(tmp_path / "test", {"a": 1}))
    with pytest.raises(ValueError, match="of class a .*--exclude"):
        sources.load_splits(source, sources.Draw(num_validation=0, exclude=tmp_path / "out.txt"))


@pytest.mark.parametrize(
    ("classes", "warns"),
    [
        (("labeled", "test", "unlabeled"), True),
        (("Train", "val"), True),
        (("training_set", "test_set", "docs"), True),
        (("labeled",), True),
        (("cat",), True),
        (("cat", "dog"), False),
        (("car", "plane", "train"), False),
    ],
)
def test_a_folder_one_level_off_is_a_warning(tmp_path, classes, warns, warnings_logged):
    folder = write_classes(tmp_path, dict.fromkeys(classes, 5))
    splits = sources.load_splits(sources.Folder(folder))
    found = [line for line in warnings_logged if "--labeled_dir" in line]
    assert [line for line in splits.info["warnings"] if "--labeled_dir" in line] == found
    assert len(found) == warns and all(name in line for line in found for name in classes)


def test_a_class_folder_with_a_byte_order_mark_is_refused(tmp_path):
    folder = write_classes(tmp_path, {"\ufeffcat": 2, "dog": 2})
    with pytest.raises(ValueError, match=r"ufeffcat.*byte order mark"):
        folders.read_labeled(folder)
