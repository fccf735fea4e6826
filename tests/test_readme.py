"""The README: its code runs as it stands, its commands and links exist."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs_as_it_stands():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["model"].output_shape == (None, 10)
    assert np.asarray(names["noisy"]).shape == (32, 32, 3)
    assert names["copies"].tolist() == [2, 0, 1, 1]


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
