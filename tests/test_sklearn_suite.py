"""scikit-learn's own tests of its MLP, as they are installed, with our estimators in place of theirs.

Their sources are read and run here; what they import of scikit-learn's networks comes from `sklearn_names`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

sklearn = pytest.importorskip("sklearn", reason="the estimators need scikit-learn")
sklearn_names = pytest.importorskip("sklearn_names")

# They were written for pytest's usual settings, in which a warning is no error.
pytestmark = pytest.mark.filterwarnings("default")

TESTS = Path(sklearn.__file__).parent / "neural_network" / "tests"
FILES = ("test_mlp", "test_base", "test_stochastic_optimizers")


@pytest.fixture
def global_random_seed() -> int:
    """As in scikit-learn's own settings: one seed, unless more are asked for."""
    return 42


class _Substitute(ast.NodeTransformer):
    """Whoever imports from scikit-learn's networks gets ours."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if (node.module or "").startswith("sklearn.neural_network"):
            node.module = sklearn_names.__name__
        return node


def suite_of(name: str) -> dict[str, Any]:
    """The tests of one of their files."""
    path = TESTS / f"{name}.py"
    tree = ast.fix_missing_locations(_Substitute().visit(ast.parse(path.read_text(encoding="utf-8"))))
    module: dict[str, Any] = {"__name__": f"sklearn_{name}", "__file__": str(path)}
    exec(compile(tree, str(path), "exec"), module)
    if name == "test_stochastic_optimizers":
        module["assert_array_equal"] = sklearn_names.assert_array_equal
    return {test: function for test, function in module.items() if test.startswith("test_")}


SUITE = {name: suite_of(name) for name in FILES if (TESTS / f"{name}.py").exists()}
for _tests in SUITE.values():
    globals().update(_tests)


def test_the_suite_is_there_and_tests_ours() -> None:
    assert set(SUITE) == set(FILES), "this scikit-learn was installed without its tests"
    names = [name for tests in SUITE.values() for name in tests]
    assert len(names) == len(set(names)) >= 45
    used = SUITE["test_mlp"]["test_alpha"].__globals__["MLPClassifier"]
    assert used is sklearn_names.MLPClassifier
    assert not any(
        name.startswith("sklearn.neural_network")
        for tests in SUITE.values()
        for test in tests.values()
        for value in test.__globals__.values()
        if (name := getattr(value, "__module__", None) or "")
    )
