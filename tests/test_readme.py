"""What the documents say is so: the README's code runs, the commands and the files they name are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import dnn
import pytest
from dnn._activations import NAMES
from dnn._losses import LOSSES
from dnn._optimizers import OPTIMIZERS
from dnn._plateau import SCHEDULES

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def _is_callback(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, dnn.Callback) and value is not dnn.Callback


def code_of(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_code_in_the_readme_is_twelve_lines_and_trains_a_network(tmp_path: Path) -> None:
    (code,) = code_of(ROOT / "README.md", "python")
    assert len(code.splitlines()) <= 12
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    printed = re.search(r"'accuracy': (0\.\d+)", done.stdout)
    assert printed is not None, done.stdout
    assert float(printed[1]) > 0.95
    assert (tmp_path / "digits.dnn").is_file()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_commands_that_a_document_names_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (path.parent / link).exists(), link
    # Paths in code, such as `rust/core/src/train.rs`.
    for name in re.findall(r"`((?:rust|python|tests|examples|benchmarks|docs|scripts)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for target in re.findall(r"`make ([a-z]+)", text):
        assert target in targets, target


@pytest.mark.parametrize(
    "path", [p for p in DOCUMENTS if p.parent.name == "docs"], ids=lambda path: path.name
)
def test_code_in_the_documents_runs(path: Path, tmp_path: Path) -> None:
    for code in code_of(path, "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr


def test_the_readme_leads_to_every_page_and_every_example_is_named_somewhere() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in ROOT.glob("docs/*.md"):
        assert f"](docs/{path.name})" in readme, path.name
    everything = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    for path in ROOT.glob("examples/*.py"):
        # idx.py is the reader that the others share.
        assert path.name == "idx.py" or f"examples/{path.name}" in everything, path.name


PAGES = {
    "layers": {"Dense", "Activation", "Dropout", "AlphaDropout", "GaussianNoise", "PReLU", "Residual"}
    | {"BatchNormalization", "LayerNormalization"},
    "losses": set(LOSSES),
    "activations": set(NAMES),
    "optimizers": {optimizer.__name__ for optimizer in OPTIMIZERS.values()},
    "schedules": {schedule.__name__ for schedule in SCHEDULES.values()},
    "estimators": {"dnn.MLPClassifier", "dnn.MLPRegressor"},
    "callbacks": {name for name, value in vars(dnn).items() if _is_callback(value)},
}


@pytest.mark.parametrize("page", PAGES)
def test_every_group_has_a_page_that_names_all_there_is(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for name in PAGES[page]:
        assert re.search(rf"`{re.escape(name)}\b", text), f"docs/{page}.md does not name {name}"


def test_no_file_tells_to_install_the_other_package_of_that_name() -> None:
    # On PyPI `dnn` is somebody else's; ours is dnn-rs.
    files = [
        p
        for pattern in ("*.md", "docs/*.md", "python/dnn/*.py", "examples/*", "Makefile")
        for p in ROOT.glob(pattern)
    ]
    for path in files:
        if path.is_file():
            assert not re.search(r"pip install dnn(?!-)\b", path.read_text(encoding="utf-8")), path
