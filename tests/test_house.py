"""Limits on the sizes and words of the three packages, read from their source.

Who may import whom is checked by import-linter (pyproject.toml).
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for package in ("data", "efficientnet", "noisy_student")
    for path in sorted((ROOT / package).rglob("*.py"))
}
NODES = {path: list(ast.walk(ast.parse(source))) for path, source in SOURCES.items()}
FUNCTIONS = [
    (f"{path}:{node.name}", node)
    for path, nodes in NODES.items()
    for node in nodes
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]
# A public signature, and the keys of a saved layer's configuration (docs/ARCHITECTURE.md).
LONG_SIGNATURES = {"efficientnet/model.py:build_model", "efficientnet/layers.py:__init__"}
# An earlier, private vocabulary. The names in quotes stand in JSON files of finished runs.
RETIRED = r"\b(told|likewise|surest|in_words|thinning|narrowing|by_image|robustness_summary)\b"
STORED = r"[`\"](by_image|(least )?sur(e|est) (kept|dropped))[`\"]"


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Returns the lines of a function after its docstring."""
    body = function.body[ast.get_docstring(function) is not None :]
    return function.end_lineno - body[0].lineno + 1 if body else 0


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Returns the number of parameters besides self and cls."""
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return sum(argument.arg not in ("self", "cls") for argument in every)


def test_modules_have_at_most_350_lines():
    assert [path for path, source in SOURCES.items() if source.count("\n") > 350] == []


def test_functions_have_at_most_50_lines():
    assert [name for name, function in FUNCTIONS if body_lines(function) > 50] == []


def test_functions_have_at_most_7_parameters():
    long = {name for name, function in FUNCTIONS if parameters(function) > 7}
    assert long == LONG_SIGNATURES


def test_docstrings_begin_with_a_verb_or_a_noun():
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    texts = [
        (path, ast.get_docstring(node) or "")
        for path, nodes in NODES.items()
        for node in nodes
        if isinstance(node, kinds)
    ]
    start = re.compile(r"(What|Of|Whether|As|How|That|Its)\b")
    assert [(path, text) for path, text in texts if start.match(text)] == []


def test_retired_words_stay_away():
    found = {path: re.findall(RETIRED, re.sub(STORED, "", text)) for path, text in SOURCES.items()}
    assert {path: words for path, words in found.items() if words} == {}


def test_constants_live_in_the_code():
    assert [path for path, source in SOURCES.items() if re.search(r"\bshared/", source)] == []


def test_citations_of_the_paper_name_its_version():
    """The studies, which cite it in every claim, name it once; docs/FIDELITY.md for all docs."""
    recipes = {path.name: path.read_text() for path in (ROOT / "recipes").glob("*.flags")}
    paper, place = (
        r"(Xie\s+et al\.|(?<!EfficientNet )\b[Pp]aper\b)",
        r"\b(section|table|figure)s? \d",
    )
    found = {}
    for path, text in {**SOURCES, **recipes}.items():
        text = re.sub(r"\n#? *", " ", text)
        found[path] = [
            m[0]
            for m in re.finditer(rf"{paper}[^.;]{{0,30}}?{place}", text)
            if "arXiv v" not in m[0]
        ]
    del found["noisy_student/ablate/claims/paper.py"]
    assert {path: citations for path, citations in found.items() if citations} == {}


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not drawers & {Path(path).stem for path in SOURCES}


def test_architecture_cites_lines_that_exist():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    cited = re.findall(r"`([\w/]+\.py):(\d+)`\s\(`(\w+)`\)", text)
    assert len(cited) >= 8
    for path, line, name in cited:
        assert re.search(rf"\b{name}\b", SOURCES[path].splitlines()[int(line) - 1]), (path, line)


def test_long_pages_begin_with_their_contents():
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) <= 150:
            continue
        headings = re.findall(r"^## (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
        contents = text.split("\n\n")[1]
        assert contents.startswith("Contents: "), path
        links = re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", contents)
        assert [name for name, _ in links] == headings, path
        slugs = [re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings]
        assert [anchor for _, anchor in links] == slugs, path
