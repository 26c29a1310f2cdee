"""The wheel is small: the installed package, compressed as a wheel is, has at most 2 MB."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import dnn
import pytest

MOST = 2_000_000
ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "size.sh"


def test_the_package_has_at_most_two_megabytes_in_a_wheel() -> None:
    package = Path(dnn.__file__).parent
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert any(path.name.startswith("_core.") and path.suffix in (".so", ".pyd") for path in files)
    # A wheel also lists its files and describes itself: some 20 kB.
    sizes = {str(path.relative_to(package)): len(zlib.compress(path.read_bytes(), 9)) for path in files}
    assert sum(sizes.values()) <= MOST - 20_000, sizes


def test_make_wheel_measures_the_wheel() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"scripts/size.sh dist {MOST}" in text


@pytest.mark.parametrize(
    ("sizes", "code", "told"),
    [
        ((1000, 999), 0, "1000 bytes, of 1000"),
        ((1000, 1001), 1, "may have 1000 bytes"),
        ((), 1, "no wheel in"),
    ],
)
def test_the_script_refuses_a_large_wheel_or_none(
    tmp_path: Path, sizes: tuple[int, ...], code: int, told: str
) -> None:
    for i, size in enumerate(sizes):
        (tmp_path / f"a-{i}.whl").write_bytes(bytes(size))
    done = subprocess.run(
        ["sh", str(SCRIPT), str(tmp_path), "1000"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, told in done.stdout + done.stderr) == (code, True)
