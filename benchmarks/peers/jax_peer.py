"""JAX: the whole training, all epochs and their shuffles, as one compiled `lax.scan` with donated state.

Compiled ahead of time; `compile_seconds` is reported beside the times and is not part of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..workloads import DECAY, MOMENTUM, RHO, Workload
from .base import Array, Peer

ACTIVATIONS = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}
OUTPUTS = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid, "identity": lambda z: z}
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


def forward(workload: Workload, params: list[Any], x: Any) -> Any:
    """Return the output layer's z."""
    *hidden, (w, b) = params
    for w_i, b_i in hidden:
        x = ACTIVATIONS[workload.hidden](x @ w_i + b_i)
    return x @ w + b


def loss_of(workload: Workload, params: list[Any], x: Any, y: Any) -> Any:
    z = forward(workload, params, x)
    if workload.loss == "mse":
        return jnp.mean((z - y) ** 2)
    if workload.loss == "huber":
        clipped = jnp.clip(z - y, -1, 1)
        return jnp.mean(clipped * (z - y - clipped / 2))
    if workload.loss == "binary_cross_entropy":
        return jnp.mean(jax.nn.softplus(z) - y * z)
    return -jnp.mean(jnp.sum(jax.nn.one_hot(y, z.shape[1]) * jax.nn.log_softmax(z), axis=1))


def step(workload: Workload, state: Any, batch: Any) -> tuple[Any, Any]:
    """One step; state is (params, moments): what the optimizer remembers."""
    params, moments = state
    loss, grads = jax.value_and_grad(lambda p: loss_of(workload, p, *batch))(params)
    rate = workload.learning_rate
    if workload.optimizer == "sgd":
        return (jax.tree.map(lambda p, g: p - rate * g, params, grads), moments), loss
    if workload.optimizer == "momentum":
        (v,) = moments
        v = jax.tree.map(lambda v, g: MOMENTUM * v - rate * g, v, grads)
        return (jax.tree.map(jnp.add, params, v), (v,)), loss
    if workload.optimizer == "rmsprop":
        (v,) = moments
        v = jax.tree.map(lambda v, g: RHO * v + (1 - RHO) * g * g, v, grads)
        moved = jax.tree.map(lambda p, g, v: p - rate * g / (jnp.sqrt(v) + EPSILON), params, grads, v)
        return (moved, (v,)), loss
    m, v, t = moments
    t = t + 1
    if workload.optimizer == "adamw":
        params = [(w - rate * DECAY * w, b) for w, b in params]
    m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, grads)
    v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, grads)
    alpha, root = rate / (1 - BETA_1**t), jnp.sqrt(1 - BETA_2**t)
    params = jax.tree.map(lambda p, m, v: p - alpha * m / (jnp.sqrt(v) / root + EPSILON), params, m, v)
    return (params, (m, v, t)), loss


def train(workload: Workload, state: Any, key: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Return the final state and the loss of each epoch."""
    rows, size = workload.rows, workload.batch_size
    full = rows // size * size

    def epoch(state: Any, key: Any) -> tuple[Any, Any]:
        if workload.shuffle:
            # jax.random.permutation sorts several times over, which costs as much as many a step.
            order = jnp.argsort(jax.random.bits(key, (rows,)))
        else:
            order = jnp.arange(rows)

        def take(state: Any, rows_of_batch: Any) -> tuple[Any, Any]:
            return step(workload, state, (x[rows_of_batch], y[rows_of_batch]))

        if workload.shuffle:
            state, losses = lax.scan(take, state, order[:full].reshape(-1, size))
        else:
            batches = (x[:full].reshape(-1, size, x.shape[1]), y[:full].reshape(-1, size, *y.shape[1:]))
            state, losses = lax.scan(lambda s, b: step(workload, s, b), state, batches)
        total = losses.sum() * size
        if full < rows:  # the last, smaller batch
            state, loss = take(state, order[full:])
            total += loss * (rows - full)
        return state, total / rows

    return lax.scan(epoch, state, jax.random.split(key, workload.epochs))


class Jax(Peer):
    def __init__(self, workload: Workload, x: Array, y: Array, threads: int):
        self.workload = workload
        self.x, self.y = jnp.asarray(x), jnp.asarray(y)
        weights = workload.weights()
        self.initial = list(zip(weights[::2], weights[1::2], strict=True))
        self.key = jax.random.key(0)
        self.reset()
        jitted = jax.jit(lambda state, key, x, y: train(workload, state, key, x, y), donate_argnums=0)
        start = time.perf_counter()
        self.train = jitted.lower(self.state, self.key, self.x, self.y).compile()
        self.compile_seconds = time.perf_counter() - start

    @staticmethod
    def versions() -> dict[str, str]:
        return {"jax": jax.__version__}

    def reset(self) -> None:
        params = [(jnp.array(w), jnp.array(b)) for w, b in self.initial]
        memories = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adamw": 2}[self.workload.optimizer]
        moments: tuple[Any, ...] = tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(memories))
        if memories == 2:
            moments = (*moments, jnp.zeros((), jnp.float32))
        self.state = jax.block_until_ready((params, moments))

    def fit(self) -> list[float]:
        self.state, losses = self.train(self.state, self.key, self.x, self.y)
        numbers: list[float] = jax.device_get(losses).tolist()
        return numbers

    def predictor(self, x: Array) -> Callable[[], Any]:
        output = OUTPUTS[self.workload.output]

        def predict(params: Any, x: Any) -> Any:
            return output(forward(self.workload, params, x))

        rows, params = jnp.asarray(x), self.state[0]
        compiled = jax.jit(predict).lower(params, rows).compile()
        return lambda: compiled(params, rows).block_until_ready()
