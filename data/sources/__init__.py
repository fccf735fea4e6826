"""Data sets as examples with stable ids, and their stored, seeded splits."""

from data.examples import DecodedExamples, EncodedExamples, Examples
from data.sources.arrays import Arrays, from_arrays
from data.sources.draw import Draw
from data.sources.load import load_examples, load_splits, request_of
from data.sources.options import ON_DISK, from_options
from data.sources.source import (
    Builtin,
    Folder,
    Records,
    Source,
    Tfds,
    Unlabeled,
    UnlabeledFolder,
    UnlabeledRecords,
)
from data.sources.splits import Splits

__all__ = [
    "ON_DISK",
    "Arrays",
    "Builtin",
    "DecodedExamples",
    "Draw",
    "EncodedExamples",
    "Examples",
    "Folder",
    "Records",
    "Source",
    "Splits",
    "Tfds",
    "Unlabeled",
    "UnlabeledFolder",
    "UnlabeledRecords",
    "from_arrays",
    "from_options",
    "load_examples",
    "load_splits",
    "request_of",
]
