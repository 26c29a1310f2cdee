"""What the documents say is so: the README's code runs, the commands and the files they name are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


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


def test_no_file_tells_to_install_the_other_package_of_that_name() -> None:
    # On PyPI `dnn` is somebody else's; ours is dnn-rs.
    files = [
        p
        for pattern in ("*.md", "docs/*", "python/dnn/*.py", "examples/*", "Makefile")
        for p in ROOT.glob(pattern)
    ]
    for path in files:
        if path.is_file():
            assert not re.search(r"pip install dnn(?!-)\b", path.read_text(encoding="utf-8")), path
