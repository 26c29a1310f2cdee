"""The rules of the house, as docs/architecture.md tells them: who may know whom, and where things stand.

Reads the sources; imports nothing but what it needs to read them.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "dnn"
MODULES = sorted(PACKAGE.rglob("*.py"))
# The folder that may meet scikit-learn, once a user has asked for an estimator.
ESTIMATORS = PACKAGE / "_estimators"
RUST = sorted(
    path for crate in ("kernels", "spec", "core", "binding") for path in (ROOT / "rust" / crate).rglob("*.rs")
)
PYTHON = [
    path
    for folder in ("python", "tests", "examples", "benchmarks", "rust")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def of_crate(crate: str) -> list[Path]:
    return [path for path in RUST if path.is_relative_to(ROOT / "rust" / crate / "src")]


def code_of(path: Path) -> str:
    """A Rust file without comments and strings, which may say anything."""
    text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', text)


def before_tests(path: Path) -> str:
    """What stands before the tests of a file: nothing in a file of tests alone."""
    if path.parent.name == "tests" and path.suffix == ".rs":
        return ""
    return path.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod ")[0]


# ---- Python ------------------------------------------------------------------------------------------------


def statements(path: Path, *, at_import: bool) -> list[ast.Import | ast.ImportFrom]:
    """The imports of a module; with `at_import` only those that run when it is imported."""

    def walk(nodes: list[ast.stmt]) -> list[ast.Import | ast.ImportFrom]:
        found: list[ast.Import | ast.ImportFrom] = []
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found.append(node)
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and at_import:
                continue
            elif not (at_import and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
                for field in ("body", "orelse", "handlers", "finalbody"):
                    found += walk(getattr(node, field, []))
        return found

    return walk(ast.parse(path.read_text(encoding="utf-8")).body)


def imported(path: Path, *, at_import: bool = True) -> set[str]:
    """Names of the modules that `path` imports; ours as `dnn._spec`."""
    names = set()
    for node in statements(path, at_import=at_import):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif node.module in ("dnn", "dnn._estimators"):
            names |= {
                f"{node.module}.{alias.name}" if alias.name.startswith("_") else node.module
                for alias in node.names
            }
        else:
            names.add(node.module or ".")
    return names


def dotted(path: Path) -> str:
    """The name by which a module of ours is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_the_package_needs_numpy_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [re.split(r"[<>=~!\[; ]", need)[0] for need in project["dependencies"]] == ["numpy"]
    assert project["name"] == "dnn-rs"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_imports_the_standard_library_numpy_and_ours(path: Path) -> None:
    import sys

    known = {*sys.stdlib_module_names, "numpy", "dnn", *(["sklearn"] if path.parent == ESTIMATORS else [])}
    assert {name.partition(".")[0] for name in imported(path)} <= known
    later = {name.partition(".")[0] for name in imported(path, at_import=False)} - known
    # Plots are drawn with the user's matplotlib, met when a plot is asked for.
    assert later <= ({"matplotlib"} if path.stem == "_history" else set())


def test_only_spec_knows_the_wire_form() -> None:
    assert [path.stem for path in MODULES if "json" in imported(path, at_import=False)] == ["_spec"]


def test_only_arrays_converts_what_users_pass_in_and_makes_rows_of_it() -> None:
    makers = re.compile(r"np\.(asanyarray|ascontiguousarray|require|array|copy)\(|\bRows\(")
    found = {path.stem for path in MODULES if makers.search(path.read_text(encoding="utf-8"))}
    assert found == {"_arrays"}


def test_modules_import_each_other_in_one_direction() -> None:
    needs = {dotted(path): imported(path) for path in MODULES if dotted(path) != "dnn"}
    needs = {name: {other for other in others if other in needs} for name, others in needs.items()}
    while needs:
        free = [name for name, others in needs.items() if not others]
        assert free, f"these import each other in a circle: {sorted(needs)}"
        needs = {name: others - set(free) for name, others in needs.items() if name not in free}


def test_the_estimators_are_met_by_who_asks_for_them_only() -> None:
    others = [path for path in MODULES if path.parent != ESTIMATORS]
    assert not any("dnn._estimators" in name for path in others for name in imported(path))
    asking = [
        dotted(path) for path in others if "dnn._estimators" in " ".join(imported(path, at_import=False))
    ]
    assert asking == ["dnn"]


def test_specs_hold_what_was_said_and_never_reach_the_extension() -> None:
    for stem in (
        "_layers",
        "_noise",
        "_normalization",
        "_activations",
        "_losses",
        "_optimizers",
        "_initializers",
    ):
        assert "dnn._core" not in imported(PACKAGE / f"{stem}.py", at_import=False), stem


def test_the_oracle_never_meets_what_it_judges() -> None:
    for path in (ROOT / "benchmarks").glob("numpy_*.py"):
        assert not any(name.partition(".")[0] == "dnn" for name in imported(path, at_import=False)), path.stem


# ---- Rust --------------------------------------------------------------------------------------------------


def dependencies(crate: str) -> set[str]:
    manifest = tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text(encoding="utf-8"))
    # Those of some systems only as well.
    tables = [manifest, *manifest.get("target", {}).values()]
    return {name for table in tables for name in table.get("dependencies", {})}


def test_arrows_between_crates_point_down() -> None:
    assert dependencies("kernels") == set()
    assert dependencies("spec") == {"ndarray", "serde", "serde_json"}
    assert {"dnn-kernels", "dnn-spec"} <= dependencies("core")
    assert not {"dnn-binding", "pyo3", "numpy"} & dependencies("core")
    assert "dnn-core" in dependencies("binding")
    assert not {"dnn-kernels", "dnn-spec"} & dependencies("binding")


@pytest.mark.parametrize(
    ("crate", "never"),
    [
        ("kernels", r"\b(dnn_core|dnn_binding|pyo3|numpy|Layer|println|print|eprintln)\b"),
        ("spec", r"\b(dnn_kernels|dnn_core|dnn_binding|pyo3|numpy|println|print|eprintln)\b"),
        ("core", r"\b(dnn_binding|pyo3|numpy|Instant|SystemTime|println|print|eprintln)\b"),
        ("binding", r"\b(dnn_kernels|dnn_spec|println|print|eprintln)\b"),
    ],
)
def test_a_crate_never_names_what_is_above_it(crate: str, never: str) -> None:
    for path in of_crate(crate):
        assert not re.search(never, code_of(path)), name_of(path)


def uses_in_core(path: Path) -> set[str]:
    return set(re.findall(r"\bcrate::(\w+)", code_of(path).partition("#[cfg(test)]")[0])) - {path.stem}


def test_inside_core_nobody_knows_training() -> None:
    uses = {path.stem: uses_in_core(path) for path in of_crate("core") if path.stem != "lib"}
    assert uses["error"] == set()
    assert uses["memory"] == {"error"}
    assert uses["layer"] == set()
    assert uses["plan"] <= {"error", "loss", "layer", "rng"}
    assert not any("train" in others for others in uses.values())
    below = {"plan", "params", "running", "pairs", "workspace", "error", "batches", "memory"}
    for name in ("forward", "backward", "loss", "optimizer"):
        assert uses[name] <= below | ({"forward"} if name == "backward" else set()), name


def test_unsafe_stands_in_the_kernels_only() -> None:
    for path in RUST:
        if not path.is_relative_to(ROOT / "rust" / "kernels"):
            assert not re.search(r"\bunsafe\b(?!_)", code_of(path)), name_of(path)
    for crate in ("spec", "core"):
        assert "#![forbid(unsafe_code)]" in (ROOT / f"rust/{crate}/src/lib.rs").read_text(encoding="utf-8")


# A few folders are about one thing, which stands at their door; everything else is beside it.
DOORS = {
    "rust/kernels/src/simd/mod.rs",  # the trait `Vector`, which its files implement
    "rust/kernels/src/activation/mod.rs",  # the choice between its curves
    "rust/binding/src/lib.rs",  # the Python module, which PyO3 wants in one place
}


@pytest.mark.parametrize(
    "path", [p for p in RUST if p.name in ("lib.rs", "mod.rs") and name_of(p) not in DOORS], ids=name_of
)
def test_lib_and_mod_are_tables_of_contents(path: Path) -> None:
    left = re.sub(r"#!?\[[^\]]*\]", "", code_of(path))
    left = re.sub(r"\b(pub(\(crate\))? )?(mod \w+|use [^;]+);", "", left)
    assert not left.strip(), left.strip().splitlines()[0]


# ---- both --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RUST + PYTHON, ids=name_of)
def test_a_file_fits_one_sitting_and_says_what_it_is(path: Path) -> None:
    # About 500 lines before its tests; some room, because a limit to the line would be kept by tricks.
    assert len(before_tests(path).splitlines()) <= 550
    opening = path.read_text(encoding="utf-8").lstrip()
    assert opening.startswith(("//!", '"""')), "it opens with what it is"


@pytest.mark.parametrize("path", RUST + [p for p in PYTHON if p != Path(__file__)], ids=name_of)
def test_nothing_is_left_undone_or_swept_aside(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    assert not re.search(r"#!?\[allow\(", text), "expect, with a reason, says more than allow"
    assert not {"utils", "util", "helpers", "misc", "common"} & {path.stem, *path.parent.parts}
