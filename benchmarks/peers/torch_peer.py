"""PyTorch, eager: fused optimizer, gradients set to None, data in tensors, losses summed in a tensor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from ..workloads import DECAY, MOMENTUM, RHO, Workload
from .base import Array, Peer

ACTIVATIONS = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
# Softmax and sigmoid are part of their losses.
LOSSES = {
    "mse": nn.MSELoss,
    "huber": nn.HuberLoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "binary_cross_entropy": nn.BCEWithLogitsLoss,
}
OUTPUTS = {"softmax": nn.Softmax(dim=1), "sigmoid": nn.Sigmoid()}
# There is no fused RMSprop.
OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "sgd": lambda params, rate: torch.optim.SGD(params, rate, fused=True),
    "momentum": lambda params, rate: torch.optim.SGD(params, rate, MOMENTUM, fused=True),
    "adam": lambda params, rate: torch.optim.Adam(params, rate, fused=True),
    "adamw": lambda params, rate: torch.optim.AdamW(params, rate, weight_decay=DECAY, fused=True),
    "rmsprop": lambda params, rate: torch.optim.RMSprop(params, rate, RHO, foreach=True),
}
GATHER_UP_TO = (
    2**20
)  # elements of x: smaller tables are put in order once an epoch, larger ones batch by batch


class PyTorch(Peer):
    precision = "highest"

    def __init__(self, workload: Workload, x: Array, y: Array, threads: int):
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(self.precision)
        self.workload = workload
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        layers: list[Any] = []
        for n, m in pairwise(workload.widths):
            layers += [nn.Linear(n, m), ACTIVATIONS[workload.hidden]()]
        self.model = nn.Sequential(*layers[:-1])
        self.loss = LOSSES[workload.loss]()
        self.initial = [torch.from_numpy(w.T.copy()) for w in workload.weights()]

    def autocast(self) -> AbstractContextManager[Any]:
        """What the way forward of a step runs in."""
        return nullcontext()

    @staticmethod
    def versions() -> dict[str, str]:
        return {"torch": torch.__version__, "torch isa": torch.backends.cpu.get_cpu_capability()}

    @torch.no_grad()
    def reset(self) -> None:
        for mine, given in zip(self.model.parameters(), self.initial, strict=True):
            mine.copy_(given)
        self.optimizer = OPTIMIZERS[self.workload.optimizer](
            self.model.parameters(), self.workload.learning_rate
        )

    def fit(self) -> list[float]:
        w, x, y, model, loss_of, optimizer = (
            self.workload,
            self.x,
            self.y,
            self.model,
            self.loss,
            self.optimizer,
        )
        losses = []
        for _ in range(w.epochs):
            if not w.shuffle:
                batches = zip(x.split(w.batch_size), y.split(w.batch_size), strict=True)
            elif x.numel() <= GATHER_UP_TO:
                order = torch.randperm(w.rows)
                batches = zip(x[order].split(w.batch_size), y[order].split(w.batch_size), strict=True)
            else:
                order = torch.randperm(w.rows)
                # Batches of either kind under one name: of tensors that were cut, or gathered one by one.
                batches = ((x[rows], y[rows]) for rows in order.split(w.batch_size))  # type: ignore
            total = torch.zeros(())
            for xb, yb in batches:
                optimizer.zero_grad(set_to_none=True)
                with self.autocast():
                    loss = loss_of(model(xb), yb)
                loss.backward()
                optimizer.step()
                total.add_(loss.detach(), alpha=len(xb))
            losses.append(total.item() / w.rows)
        return losses

    def predictor(self, x: Array) -> Callable[[], Any]:
        rows, model = torch.from_numpy(x), self.model
        if self.workload.output in OUTPUTS:
            model = nn.Sequential(*model, OUTPUTS[self.workload.output])

        def predict() -> Any:
            with torch.inference_mode():
                return model(rows)

        return predict


class PyTorchBf16(PyTorch):
    """The same, allowed to multiply in bf16; which it does where the CPU has AMX, and else hardly ever."""

    precision = "medium"


class PyTorchAutocast(PyTorch):
    """The same with products in bf16, weights and updates in float32."""

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16)
