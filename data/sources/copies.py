"""Copies of images: other files or arrays of the same content, which links are not.

A digest finds them, and their bytes decide. Near duplicates are for `data.leakage`.
"""

from collections.abc import Iterator, Mapping

from data.examples import DecodedExamples, Examples

_Place = tuple[Examples, int]  # an image, by its position


def warnings(splits: Mapping[str, Examples], marks: Mapping[str, str]) -> list[str]:
    """Returns warnings of copies among the splits, and of copies with different labels.

    Args:
        splits: images by the names of `Splits`.
        marks: digest of each image by its id; those without one are no copies.
    """
    found: list[str] = []
    held: dict[str, _Place] = {}
    for name in ("test", "validation", "labeled", "unlabeled"):
        examples, learns = splits[name], name != "unlabeled"
        pairs = list(_pairs(examples, held, marks, learns))
        for kind in ("test", "validation"):
            others = [p for p in pairs if p[1][0] is splits[kind] is not examples]
            if copied := [pair for pair in others if _content(pair[0]) == _content(pair[1])]:
                found.append(
                    f"{len(copied)} of the {name} images are copies of {kind} images, such as "
                    f"{_id(copied[0][0])} of {_id(copied[0][1])}: accuracies may be too high "
                    "(noisy-student leakage lists them for --exclude)."
                )
        others = [pair for pair in pairs if learns and _label(pair[0]) != _label(pair[1])]
        if odd := [pair for pair in others if _content(pair[0]) == _content(pair[1])]:
            first, second = odd[0]
            found.append(
                f"{len(odd)} of the {name} images have a different label than a copy, such as "
                f"{_id(first)} ({_label(first)}) and {_id(second)} ({_label(second)})."
            )
    return found


def _pairs(
    examples: Examples, held: dict[str, _Place], marks: Mapping[str, str], learns: bool
) -> Iterator[tuple[_Place, _Place]]:
    """Yields each image with one before that has its digest; may add the others to `held`."""
    for index, name in enumerate(examples.ids):
        if (mark := marks.get(name)) is None:
            continue
        if mark in held:
            yield (examples, index), held[mark]
        elif learns:
            held[mark] = (examples, index)


def _content(place: _Place) -> bytes:
    """Returns the pixels of an image in memory, or the bytes of a file."""
    examples, index = place
    if isinstance(examples, DecodedExamples):
        return examples.images[index].tobytes()
    return examples.encoded(index)


def _id(place: _Place) -> str:
    return place[0].ids[place[1]]


def _label(place: _Place) -> str:
    examples, index = place
    return examples.class_names[examples.labels[index]]
