"""Interrupted evaluations continue with the next part and end with the same bytes."""

import pytest

from data import corruptions, perturbations
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.tiny_evaluation import content, count_calls, killed_after

NAMES, SEVERITIES = ("fog", "gaussian_noise", "contrast"), (2, 5)
SEQUENCES = ("shot_noise", "translate", "spatter")


@pytest.mark.parametrize(
    ("benchmark", "patched", "parts", "before"),
    [
        ("corruptions", (corruptions, "corrupt"), 6, 25),
        ("perturbations", (perturbations, "sequence"), 3, 14),
    ],
)
def test_a_killed_evaluation_goes_on_with_the_next_part(
    model, examples, tmp_path, monkeypatch, benchmark, patched, parts, before
):
    module, function = patched
    chosen = tiny.settings(
        benchmark, corruptions=NAMES, severities=SEVERITIES, perturbations=SEQUENCES
    )
    tiny.run(model, examples, tmp_path / "whole", chosen)
    with killed_after(monkeypatch, module, function, before):
        tiny.run(model, examples, tmp_path / "killed", chosen)
    folder = tmp_path / "killed" / benchmark
    finished = before // 10
    assert len(list(folder.glob("*.json"))) == finished
    assert not (tmp_path / "killed" / f"{benchmark}.json").exists()

    calls = count_calls(monkeypatch, module, function)
    tiny.run(model, examples, tmp_path / "killed", chosen)
    assert sum(calls.values()) == (parts - finished) * len(examples)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "whole" / benchmark / path.name).read_bytes()


def test_pgd_goes_on_with_the_next_epsilon(model, examples, tmp_path):
    tiny.run(model, examples, tmp_path, tiny.settings("pgd"))
    before = content(tmp_path)
    (tmp_path / "pgd.json").unlink()
    (tmp_path / "pgd/epsilon_8.json").unlink()
    kept = tmp_path / "pgd/epsilon_0.json"
    time = kept.stat().st_mtime_ns
    tiny.run(model, examples, tmp_path, tiny.settings("pgd"))
    assert content(tmp_path) == before and kept.stat().st_mtime_ns == time
