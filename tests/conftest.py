"""The order of test files."""

import pytest

# Those that start processes take minutes: first, so that at the end no worker is alone with one.
LONGEST = ("test_end_to_end", "test_commands", "test_devices", "test_label_kills", "test_step")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; all others stay in their order."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
