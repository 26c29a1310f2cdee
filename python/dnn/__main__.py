"""`python -m dnn info`: version, instruction sets and threads of this machine, for bug reports."""

from __future__ import annotations

import os
import sys

import numpy as np

from dnn import __version__, _core, _threads


def info() -> str:
    """What this installation found and chose."""
    chosen = _core.default_isa()
    why = "DNN_ISA" if os.environ.get("DNN_ISA") else "the fastest this machine has"
    count, source = _threads.default()
    medium, high, highest = _core.bf16_factors()
    lines = {
        "dnn": __version__,
        "cpu": " ".join(_core.cpu_features()),
        "instruction sets": f"{', '.join(_core.available_isas())} (fastest first)",
        "chosen": f"{chosen} ({why})",
        "highest precision": "large factors in 3 x bfloat16, as exact" if highest else "float32",
        "medium precision": "factors in bfloat16" if medium else "as highest: the set has no bfloat16",
        "high precision": "factors in 2 x bfloat16" if high else "as highest: the set has no tiles",
        "threads": f"{count} ({source})",
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
    return "\n".join(f"{name:<17} {value}" for name, value in lines.items())


def main(arguments: list[str]) -> int:
    """Run the command `arguments` names; returns the exit status."""
    if arguments != ["info"]:
        print("usage: python -m dnn info", file=sys.stderr)
        return 2
    try:
        print(info())
    except ValueError as error:
        print(f"dnn: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
