"""Writes the report of a run: ``report.html``, ``results.json``, ``.md`` and ``.csv``.

    python -m noisy_student.report --workdir=runs/mnist5k
    python -m noisy_student.report --workdir=runs/photos
    python -m noisy_student.report --compare=runs/one,runs/other --output_dir=runs/compared

Reads only the JSON files of a work directory. Any of them may be missing: the report shows what
exists and lists what is missing. The last form compares several runs in one table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from noisy_student import config
from noisy_student.artifacts import disk
from noisy_student.artifacts.files import write_json
from noisy_student.config import schema
from noisy_student.report import comparison, inputs, page, results, text


def run(workdir: str | Path) -> dict[str, Any]:
    """Reads a work directory and writes ``report/`` into it.

    Args:
        workdir: the work directory of ``noisy_student.iterate``.

    Returns:
        The content of ``results.json``. "figures" are equal for two runs with one seed on one
        machine; "provenance" has command, versions and seconds.

    Raises:
        ValueError: ``workdir`` is not a directory, or a file in it is damaged.
    """
    folder = Path(workdir) / "report"
    found = inputs.read(Path(workdir))
    _warn_of_rounds(Path(workdir), found)
    content = results.build(found)
    html = page.render(content, found)
    write_json(folder / "results.json", content)
    (folder / "results.md").write_text(text.markdown(content), encoding="utf-8")
    (folder / "results.csv").write_text(text.to_csv(content["figures"]), encoding="utf-8")
    (folder / "report.html").write_text(html, encoding="utf-8")
    return content


def _warn_of_rounds(workdir: Path, found: inputs.Inputs) -> None:
    """Warns of rounds that an earlier command made, beyond those of the last one."""
    rounds = found.settings.get("flags", {}).get("rounds")
    numbers = {inputs.order(name)[1] for name in found.trainings}
    later = [
        str(workdir / f"round{n}") for n in sorted(numbers) if rounds is not None and n > rounds
    ]
    if later:
        logging.warning(
            f"the report also shows {', '.join(later)} of an earlier command: the last one had "
            f"--rounds={rounds}."
        )


def compare(workdirs: Sequence[str | Path], output_dir: str | Path) -> None:
    """Compares runs: writes ``comparison.html`` and ``comparison.md``.

    Args:
        workdirs: two or more work directories; they need no report yet.
        output_dir: receives the two files.

    Raises:
        ValueError: fewer than two directories, one named twice, or as `run`.
    """
    if len({Path(workdir).resolve() for workdir in workdirs}) != max(2, len(workdirs)):
        given = ",".join(map(str, workdirs))
        raise ValueError(f"--compare={given} must name two or more directories, each once.")
    found = [inputs.read(Path(workdir)) for workdir in workdirs]
    names = [Path(workdir).name for workdir in workdirs]
    if len(set(names)) < len(names):
        names = [str(workdir) for workdir in workdirs]
    against_first = [results.compare_students(found[0], other) for other in found[1:]]
    compared = comparison.Comparison(names, list(map(results.build, found)), against_first)
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "comparison.html").write_text(page.render_comparison(compared), encoding="utf-8")
    (output_dir / "comparison.md").write_text(compared.markdown(), encoding="utf-8")


def _main(settings: config.Config) -> None:
    given = settings.group(schema.ReportCommandConfig)
    output_dir = settings.required("output_dir") if given.compare else None
    disk.check_writable("output_dir" if output_dir else "workdir", output_dir or given.workdir)
    if given.dry_run:
        for name in given.compare or [given.workdir]:
            found = inputs.read(Path(name))
            models, missing = ", ".join(found.trainings), ", ".join(found.missing)
            print(f"{name}: {models or 'no model'}; missing: {missing or 'nothing'}")
        return
    if output_dir:
        compare(given.compare, output_dir)
        print(f"comparison: {Path(output_dir) / 'comparison.html'}")
        return
    workdir = Path(given.workdir)
    print(f"{text.terminal(run(workdir))}\nreport: {workdir / 'report' / 'report.html'}")


def command() -> None:
    """Runs ``python -m noisy_student.report``."""
    config.run(_main, schema.ReportCommandConfig)
