"""The systems that are timed: one file each, all with the face of `peers.base.Peer`.

A peer's module is imported only in the process that times it, so that no system pays for another's threads.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from .base import Peer


@dataclass(frozen=True)
class Entry:
    """Where a peer is found: the name in tables, the packages it needs, its module and class here.

    One apart, of another precision, is asked for by name, and no rival where the best of all is told.
    """

    label: str
    needs: str
    module: str
    attribute: str
    trains: bool = True
    apart: bool = False

    def missing(self) -> str | None:
        """Why it can't run here, or None."""
        for package in self.needs.split():
            try:
                if importlib.util.find_spec(package) is None:
                    return f"{package} is not installed"
            except ImportError as error:
                return str(error)
        return None

    def load(self) -> type[Peer]:
        return getattr(importlib.import_module(f"{__name__}.{self.module}"), self.attribute)


ENTRIES = {
    "dnn": Entry("dnn", "dnn._core", "dnn_peer", "Dnn"),
    "numpy": Entry("NumPy", "numpy", "numpy_peer", "Numpy"),
    "sklearn": Entry("scikit-learn", "sklearn", "sklearn_peer", "ScikitLearn"),
    "torch": Entry("PyTorch", "torch", "torch_peer", "PyTorch"),
    "jax": Entry("JAX", "jax", "jax_peer", "Jax"),
    "onnx": Entry("ONNX Runtime", "onnx onnxruntime", "onnx_peer", "OnnxRuntime", trains=False),
    "dnn-strict": Entry("dnn strict", "dnn._core", "dnn_peer", "DnnStrict", apart=True),
    "dnn-high": Entry("dnn high", "dnn._core", "dnn_peer", "DnnHigh", apart=True),
    "dnn-medium": Entry("dnn medium", "dnn._core", "dnn_peer", "DnnMedium", apart=True),
    "torch-bf16": Entry("PyTorch bf16", "torch", "torch_peer", "PyTorchBf16", apart=True),
    "torch-autocast": Entry("PyTorch autocast", "torch", "torch_peer", "PyTorchAutocast", apart=True),
}
DEFAULT = ("numpy", "sklearn", "torch", "jax", "onnx")
BLAS = (
    "OMP",
    "OPENBLAS",
    "MKL",
    "BLIS",
    "VECLIB_MAXIMUM",
)  # who takes a number of threads from the environment


def environment(name: str, threads: int) -> dict[str, str]:
    """Tell the variables a peer's process must be born with, to use this many threads."""
    if name.startswith("dnn"):
        return {}
    variables = {f"{library}_NUM_THREADS": str(threads) for library in BLAS}
    if name == "jax":
        variables["JAX_PLATFORMS"] = "cpu"
        if threads == 1:
            variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return variables
