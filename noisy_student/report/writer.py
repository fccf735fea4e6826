"""Writes what a run found: ``results.json``, ``.md``, ``.csv`` and a single-file ``report.html``.

    python -m noisy_student.report --workdir=runs/mnist5k
    python -m noisy_student.report --compare=runs/one,runs/other --output_dir=runs/compared

Reads the JSON files of a work directory and nothing else. Every one of them may be absent: what is
there is shown, what is not is named. The second form sets runs side by side.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noisy_student import config
from noisy_student.artifacts.files import write_json
from noisy_student.report import comparison, page, tables, text
from noisy_student.report import results as summary
from noisy_student.report.text import table


def run(workdir: str | Path) -> dict[str, Any]:
    """Reads a work directory and writes ``report/`` into it.

    Args:
        workdir: where ``noisy_student.iterate`` worked.

    Returns:
        The content of ``results.json``: what was measured under "figures", the same for every run
        with one seed on one machine, and commands, versions and seconds under "provenance".

    Raises:
        ValueError: where ``workdir`` is not a directory, or a file in it is damaged.
    """
    inputs = _inputs(workdir)
    results = _results(inputs)
    histories = {name: inputs.trainings[name].get("history", []) for name in inputs.trainings}
    html = page.render(
        results, histories, inputs.gallery, inputs.robust_gallery, inputs.noise, inputs.samples
    )
    folder = Path(workdir) / "report"
    write_json(folder / "results.json", results)
    (folder / "results.md").write_text(text.markdown(results), encoding="utf-8")
    (folder / "results.csv").write_text(tables.to_csv(results["figures"]), encoding="utf-8")
    (folder / "report.html").write_text(html, encoding="utf-8")
    return results


def compare(workdirs: Sequence[str | Path], output_dir: str | Path) -> None:
    """Sets runs side by side: writes ``comparison.html`` and ``comparison.md``.

    Args:
        workdirs: two or more work directories; a report need not be there yet.
        output_dir: receives the two files.

    Raises:
        ValueError: fewer than two directories, one named twice, or as `run`.
    """
    if len({Path(workdir).resolve() for workdir in workdirs}) != max(2, len(workdirs)):
        given = ",".join(map(str, workdirs))
        raise ValueError(f"--compare={given} must name two or more directories, each once.")
    inputs = [_inputs(workdir) for workdir in workdirs]
    names = [Path(workdir).name for workdir in workdirs]
    if len(set(names)) < len(names):
        names = [str(workdir) for workdir in workdirs]
    against_first = [summary.against(run, inputs[0]) for run in inputs[1:]]
    compared = comparison.Comparison(names, list(map(_results, inputs)), against_first)
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "comparison.html").write_text(compared.html(), encoding="utf-8")
    (output_dir / "comparison.md").write_text(compared.markdown(), encoding="utf-8")


def _inputs(workdir: str | Path) -> summary.Inputs:
    if not Path(workdir).is_dir():
        raise ValueError(f"{workdir} is not a directory: --workdir and --compare name runs.")
    return summary.read(Path(workdir))


def _results(inputs: summary.Inputs) -> dict[str, Any]:
    return {"figures": summary.measured(inputs), "provenance": summary.provenance(inputs)}


def _main(_: config.Config) -> None:
    if config.FLAGS.dry_run:
        for name in config.FLAGS.compare or [config.FLAGS.workdir]:
            found = _inputs(name)
            models, absent = ", ".join(found.trainings), ", ".join(found.missing)
            print(f"{name}: {models or 'no model'}; not there: {absent or 'nothing'}")
        return
    if config.FLAGS.compare:
        output_dir = config.required("output_dir")
        compare(config.FLAGS.compare, output_dir)
        print(f"comparison: {Path(output_dir) / 'comparison.html'}")
        return
    workdir = Path(config.FLAGS.workdir)
    print(f"{table(run(workdir))}\nreport: {workdir / 'report' / 'report.html'}")


def command() -> None:
    """Runs the command."""
    config.run(_main, ["workdir", "compare", "output_dir", "dry_run"])
