"""Names and folders as operating systems, archives and published sets leave them."""

import os
import shutil
import unicodedata

import pytest

from data import sources
from data.sources import folders
from tests.helpers.toy_folders import ids, parts, write_classes, write_image

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("name", ["@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", ".hidden"])
def test_what_systems_leave_behind_is_no_class_and_no_image(tmp_path, name):
    root = write_classes(tmp_path, {"cat": 2, "dog": 2, name: 2, f"cat/{name}": 2})
    for file in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.png"):
        (tmp_path / "cat" / file).write_text("no image")
    examples = folders.read_labeled(root)
    assert examples.class_names == ("cat", "dog")
    assert len(examples) == 4 == folders.count_files(root)
    unlabeled, skipped = folders.read_unlabeled(root, ())
    assert len(unlabeled) == 4 and not skipped


def test_texts_beside_the_classes_are_ignored_and_images_are_not(tmp_path, warnings_logged):
    root = write_classes(tmp_path, {"n01": 2, "n02": 2})
    (tmp_path / "README.txt").write_text("the classes")
    assert ids(folders.read_labeled(root)) == [
        f"folder/n0{c}/00{i}.png" for c in "12" for i in "01"
    ]
    assert folders.count_files(root) == 4
    assert any("README.txt" in line for line in warnings_logged)
    write_image(tmp_path / "lost.png")
    with pytest.raises(ValueError, match=r"lost\.png is not in a class"):
        folders.read_labeled(root)


def test_links_in_circles_add_nothing(tmp_path, warnings_logged):
    root = write_classes(tmp_path / "all", {"cat": 5, "dog": 5})
    for number in range(2):
        (tmp_path / "all" / "cat" / f"here{number}").symlink_to(tmp_path / "all" / "cat")
    (tmp_path / "all" / "dog" / "up").symlink_to(tmp_path / "all")
    (tmp_path / "all" / "dog" / "self").symlink_to(tmp_path / "all" / "dog" / "self")
    unlabeled, skipped = folders.read_unlabeled(root, ())
    assert len(unlabeled) == 10 and skipped == [f"{root}/dog/self"]
    (tmp_path / "all" / "dog" / "self").unlink()
    assert len(folders.read_labeled(root)) == 10 == folders.count_files(root)
    assert sum("up is a link to one of its parent folders" in line for line in warnings_logged) == 3


def test_a_folder_linked_from_elsewhere_is_read(tmp_path):
    write_classes(tmp_path / "store", {"cat": 3})
    write_classes(tmp_path / "all", {"dog": 2})
    (tmp_path / "all" / "cat").symlink_to(tmp_path / "store" / "cat")
    assert len(folders.read_labeled(str(tmp_path / "all"))) == 5


def test_a_pipe_is_no_image(tmp_path):
    root = write_classes(tmp_path, {"cat": 2})
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    unlabeled, skipped = folders.read_unlabeled(root, ())
    assert len(unlabeled) == 2 and skipped == [f"{root}/cat/pipe.jpg"]
    with pytest.raises(ValueError, match=r"pipe\.jpg is not a regular file"):
        folders.read_labeled(root)


def test_names_that_are_not_utf8_are_named(tmp_path):
    root = write_classes(tmp_path, {"cat": 2})
    raw = os.path.join(os.fsencode(root), b"cat", b"caf\xe9.png")
    shutil.copy(tmp_path / "cat" / "000.png", raw)
    unlabeled, skipped = folders.read_unlabeled(root, ())
    assert len(unlabeled) == 2 and skipped == [f"{root}/cat/caf\\udce9.png"]
    with pytest.raises(ValueError, match=r"caf\\udce9\.png has a name that is not UTF-8") as error:
        folders.read_labeled(root)
    str(error.value).encode()


def test_names_that_look_the_same_are_the_same(tmp_path):
    train = write_classes(tmp_path / "train", {COMPOSED: 5, "tea": 5})
    test = write_classes(tmp_path / "test", {DECOMPOSED: 3, "tea": 3})
    more = write_classes(tmp_path / "more", {DECOMPOSED: 2})
    draw = sources.Draw(unlabeled=sources.UnlabeledFolder(more))
    splits = sources.load_splits(sources.Folder(train, test_dir=test), draw)
    assert splits.class_names == (COMPOSED, "tea")
    assert splits.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert splits.unlabeled.labels.tolist() == [0, 0]
    assert splits.test.ids[0] == f"test/{COMPOSED}/000.png"
    assert splits.test.encoded(0)  # by its real name
    known = folders.read_labeled(test, (DECOMPOSED, "tea"))  # of an older model
    assert known.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_two_names_that_look_the_same_are_refused(tmp_path):
    root = write_classes(tmp_path, {COMPOSED: 2, DECOMPOSED: 2})
    with pytest.raises(ValueError, match=r"look alike, 'cafe\\u0301' and 'caf\\xe9'"):
        folders.read_labeled(root)
    with pytest.raises(ValueError, match="look alike"):
        folders.read_unlabeled(root, ())


# The images of stored splits.


def draw_splits(root, file):
    places = {name: str(root / name) for name in ("labeled_dir", "test_dir")}
    draw = sources.Draw(unlabeled=sources.UnlabeledFolder(str(root / "more")))
    return sources.load_splits(sources.Folder(**places), draw, file)


@pytest.fixture
def drawn(tmp_path):
    """A data set and the file of its splits."""
    for number, name in enumerate(("labeled_dir", "test_dir", "more")):
        for label in "ab":
            for i in range(6):
                write_image(tmp_path / "data" / name / label / f"{i}.bmp", 40 * number + i)
    draw_splits(tmp_path / "data", tmp_path / "splits.json")
    return tmp_path / "data", tmp_path / "splits.json"


@pytest.mark.parametrize("where", ["labeled_dir/a/3.bmp", "test_dir/b/0.bmp", "more/a/5.bmp"])
def test_an_exchanged_image_is_noticed(drawn, where):
    root, file = drawn
    path = root / where
    times, size = (path.stat().st_atime_ns, path.stat().st_mtime_ns), path.stat().st_size
    write_image(path, 201)
    os.utime(path, ns=times)
    assert path.stat().st_size == size, "neither size nor time tells"
    with pytest.raises(ValueError, match="1 images changed since .*splits.json") as error:
        draw_splits(root, file)
    name = {"labeled_dir": "folder", "test_dir": "test", "more": "unlabeled"}
    top, rest = where.split("/", 1)
    assert f"{name[top]}/{rest}" in str(error.value)


def test_moved_images_are_the_same(drawn, tmp_path):
    root, file = drawn
    before = draw_splits(root, file)
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    shutil.rmtree(root)
    after = draw_splits(tmp_path / "copy", file)
    for name, examples in parts(before).items():
        assert ids(parts(after)[name]) == ids(examples)
    write_image(tmp_path / "copy" / "more" / "a" / "0.bmp", 99)
    with pytest.raises(ValueError, match="splits drawn with other options.*unlabeled_dir"):
        draw_splits(tmp_path / "copy", file)


def test_other_images_at_another_place_are_another_request(drawn, tmp_path):
    root, file = drawn
    shutil.copytree(root, tmp_path / "copy")
    write_image(tmp_path / "copy" / "more" / "a" / "7.png")
    with pytest.raises(ValueError, match="splits drawn with other options"):
        draw_splits(tmp_path / "copy", file)


def test_files_of_splits_without_digests_stay_valid(drawn):
    root, file = drawn
    before = draw_splits(root, file)
    text = file.read_text()
    begin = text.index(',\n"digests"')
    file.write_text(text[:begin] + "\n}")
    write_image(root / "more" / "a" / "0.bmp", 99)
    assert ids(draw_splits(root, file).labeled) == ids(before.labeled)
