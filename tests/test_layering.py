"""Which module may import which, read from the source: nothing is imported here."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data", "efficientnet", "noisy_student")

# The floors of noisy_student, from the ground up. A module imports from the floors below its own,
# and the tools also one another; stages hand each other files. A new module is given a place here.
TOOLS = {
    "adversarial",
    "attacks",
    "balance",
    "calibration",
    "by_image",
    "checkpoint",
    "chosen",
    "comparison",
    "config",
    "corrupted",
    "ema",
    "external_sort",
    "figures",
    "flags",
    "gallery",
    "inference",
    "labeling",
    "interruption",
    "layout",
    "losses",
    "made_cache",
    "manifest",
    "method_flags",
    "markup",
    "narrowing",
    "optimizer",
    "page",
    "parts",
    "perturbed",
    "plain_text",
    "predictions",
    "published",
    "robust_gallery",
    "robustness",
    "robustness_summary",
    "samples",
    "schedule",
    "settings",
    "scoreboard",
    "session",
    "strategy",
    "student_set",
    "studies",
    "study",
    "subject",
    "summary",
    "tally",
    "uncertainty",
    "watch",
    "window",
}
STAGES = {
    "adopt",
    "evaluate",
    "export",
    "plan",
    "predict",
    "pseudo_label",
    "report",
    "selection",
    "selection_beam",
    "train",
}
FLOORS = (TOOLS, STAGES, {"iterate"}, {"ablate"})

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports_of(module: str) -> set[str]:
    """Dotted names `module` imports anywhere in its text; `from a import b` gives a and a.b."""
    path = MODULES[module]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
                above = above[: len(above) - node.level + 1]
                base = ".".join(above + ([node.module] if node.module else []))
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def floor_of(module: str) -> int | None:
    """The floor of `noisy_student.name`; None for the package itself and for other packages."""
    package, _, name = module.partition(".")
    if package != "noisy_student" or not name:
        return None
    floors = [number for number, names in enumerate(FLOORS) if name.split(".")[0] in names]
    return floors[0] if floors else None


def all_imports_of(module: str) -> set[str]:
    """What importing `module` imports, through the modules of this repository."""
    reached, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        parents = name.split(".")
        waiting |= {".".join(parents[:count]) for count in range(1, len(parents))}
        if name in MODULES:
            waiting |= imports_of(name)
    return reached


@pytest.mark.parametrize("package", ["data", "efficientnet"])
def test_data_and_model_stand_alone(package):
    others = set(PACKAGES) - {package}
    for module in MODULES:
        if module.split(".")[0] == package:
            wrong = {name for name in imports_of(module) if name.split(".")[0] in others}
            assert not wrong, f"{module} imports {wrong}"


def test_every_module_of_the_method_has_a_floor():
    unplaced = {
        module
        for module in MODULES
        if module.startswith("noisy_student.") and floor_of(module) is None
    }
    assert not unplaced, f"give {unplaced} a floor in {__file__}"


def test_modules_import_only_what_stands_below():
    for module in MODULES:
        floor = floor_of(module)
        if floor is None:
            continue
        for name in imports_of(module):
            other = floor_of(name)
            if other is None or name == module or (floor == other == 0):
                continue
            assert other < floor, f"{module} imports {name}, which does not stand below it"


def test_report_reads_json_only():
    heavy = {"tensorflow", "keras", "keras_cv", "data", "efficientnet"}
    if "noisy_student.report" in MODULES:
        imported = {name.split(".")[0] for name in all_imports_of("noisy_student.report")}
        assert not imported & heavy


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not {module for module in MODULES if module.split(".")[-1] in drawers}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body after its docstring."""
    body = function.body[ast.get_docstring(function) is not None :]
    return function.end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert code_lines(node) <= 60, f"{module}.{node.name} has {code_lines(node)} lines"


@pytest.mark.parametrize("module", MODULES)
def test_constants_live_in_the_code(module):
    assert not re.search(r"\bshared/", MODULES[module].read_text())
