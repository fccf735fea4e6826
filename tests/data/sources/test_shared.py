"""The same image in two sets, by whatever path or link."""

import pathlib

import pytest

from data import sources
from tests.helpers.toy_folders import parts, write_classes


def link_tree(source, target, kind):
    """Links every file (symbolic, hard), or the folder itself (folder), or takes it as it is."""
    if kind == "same":
        return source
    if kind == "folder":
        target.symlink_to(source)
        return target
    for path in sorted(source.rglob("*.png")):
        link = target / path.relative_to(source).as_posix().replace("/", "_")
        target.mkdir(exist_ok=True)
        link.symlink_to(path) if kind == "symbolic" else link.hardlink_to(path)
    return target


@pytest.mark.parametrize("kind", ["same", "folder", "symbolic", "hard", "parent"])
def test_held_out_images_are_taken_out_of_the_unlabeled_ones(tmp_path, kind, warnings_logged):
    write_classes(tmp_path / "all" / "train", {"cat": 20, "dog": 20})
    write_classes(tmp_path / "all" / "more", {"": 3})
    train = tmp_path / "all" / "train"
    unlabeled = tmp_path / "all" if kind == "parent" else link_tree(train, tmp_path / "u", kind)
    draw = sources.Draw(unlabeled=sources.UnlabeledFolder(str(unlabeled)))
    path = tmp_path / "splits.json"
    for _ in range(2):  # drawn, and read again
        splits = sources.load_splits(sources.Folder(str(train)), draw, path)
        assert splits.info["held_out"] == {"unlabeled": 8 + 4}
        counts = {name: len(split) for name, split in parts(splits).items()}
        more = 3 if kind == "parent" else 0
        assert counts == {"labeled": 28, "validation": 4, "test": 8, "unlabeled": 28 + more}
        files = {
            n: {str(pathlib.Path(f).stat().st_ino) for f in s.files}
            for n, s in parts(splits).items()
        }
        assert not files["unlabeled"] & (files["test"] | files["validation"])
        assert files["labeled"] <= files["unlabeled"]
    assert any(line.startswith("12 of the unlabeled images are") for line in warnings_logged)


def test_images_linked_twice_are_not_learned_and_tested(tmp_path, warnings_logged):
    train = pathlib.Path(write_classes(tmp_path / "train", {"cat": 20, "dog": 20}))
    for path in sorted(train.rglob("*.png")):
        path.with_stem(f"{path.stem}_again").hardlink_to(path)
    splits = sources.load_splits(sources.Folder(str(train)))
    inodes = {n: [pathlib.Path(f).stat().st_ino for f in s.files] for n, s in parts(splits).items()}
    learned, tested = set(inodes["labeled"]), set(inodes["test"])
    assert not learned & tested and not set(inodes["validation"]) & (tested | learned)
    assert len(splits.test) == 16
    taken = splits.info["held_out"]
    assert 0 < taken["labeled"] == 56 - len(splits.labeled)
    assert len(splits.validation) == 8 - taken.get("validation", 0)


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.parametrize("place", ["test_dir", "validation_dir"])
def test_given_images_that_are_labeled_ones_are_refused(tmp_path, kind, place):
    train = pathlib.Path(write_classes(tmp_path / "train", {"cat": 5, "dog": 5}))
    (tmp_path / "other").mkdir()
    link_tree(train / "cat", tmp_path / "other" / "cat", kind)
    with pytest.raises(ValueError, match=f"^5 images are both labeled and {place[:-4]} images"):
        sources.load_splits(sources.Folder(str(train), **{place: str(tmp_path / "other")}))
