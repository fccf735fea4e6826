"""The notebooks of examples/: stored without outputs, and they run as they stand."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

import noisy_student as ns

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_code_and_text_alone(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    for cell in cells:
        compile(cell.source, f"{path.name}, {cell.id}", "exec")
        assert (cell.outputs, cell.execution_count, dict(cell.metadata)) == ([], None, {}), cell.id
    assert len(notebook.cells) - len(cells) >= 5  # cells of text
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_the_documents_name_every_notebook():
    names = {path.name for path in NOTEBOOKS}
    assert names == {"own_images.ipynb", "own_model.ipynb"}
    for document in ("README.md", "docs/index.md", "docs/FAQ.md"):
        text = (ROOT / document).read_text()
        assert set(re.findall(r"examples/(\w+\.ipynb)", text)) == names, document


def run(name: str, folder: Path) -> tuple[str, str]:
    """Runs a notebook in a folder; returns what it prints on stdout and stderr."""
    notebook = nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources, coalesce_streams=True
    ).execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    streams = [output for output in outputs if output.output_type == "stream"]
    assert any("image/png" in output.get("data", ()) for output in outputs)
    assert any("<svg" in output.get("data", {}).get("text/html", "") for output in outputs)
    out, err = ("".join(s.text for s in streams if s.name == n) for n in ("stdout", "stderr"))
    return out, err


@pytest.fixture(autouse=True)
def package(monkeypatch):
    """Kernels find the packages of this folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.slow  # a minute
def test_own_images_runs(tmp_path):
    out, err = run("own_images", tmp_path)
    results = ns.Run(tmp_path / "runs/own_images/run").results
    teacher, student = results["models"].values()
    assert teacher["top1"] > 50 and student["top1"] > 50  # chance is 25
    assert f"round1_student: {results['top1']:.1f}%" in out
    assert re.search(r"^teacher  step 150/150  loss [\d.]+ ", err, re.MULTILINE)
    assert err.count("student 1  step ") == 1  # rewritten in place


@pytest.mark.slow  # a minute
def test_own_model_runs(tmp_path):
    out, _ = run("own_model", tmp_path)
    results = ns.Run(tmp_path / "runs/own_model").results
    teacher, student = results["models"].values()
    assert teacher["top1"] > 40 and student["top1"] > 40  # chance is 10
    assert teacher["parameters"] == student["parameters"] < 50_000
    found = re.findall(r"^(?:by Keras|student): ([\d.]+)%$", out, re.MULTILINE)
    by_keras, ours = map(float, found)
    assert by_keras > 30 and ours == pytest.approx(student["top1"], abs=0.05)
