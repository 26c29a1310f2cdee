"""Records how the owners of the optimizers train a small network. Run by hand, where their packages are:

    python tests/record/optimizers.py

writes `tests/values/optimizers.json`: 100 steps of every optimizer of PyTorch that `dnn` has too, in float64,
and of scikit-learn's Adam, whose epsilon stands in another place. The network is 3-5-4-2, tanh and a linear
output, the loss half the mean square over all outputs; all rows are one batch.
"""

from __future__ import annotations

import itertools
import json
import types
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer
from torch.optim import _muon

STEPS = 100
NOTED = (1, 2, 10, 100)
WIDTHS = (3, 5, 4, 2)

# PyTorch's Muon rounds to bfloat16 between the products, which nobody could follow to 1e-10: here its own
# code runs with float64 under that name.
_muon.torch = types.SimpleNamespace(**{**vars(torch), "bfloat16": torch.float64})

# Its state of one number, the product of NAdam for instance, has the default type.
torch.set_default_dtype(torch.float64)

rng = np.random.default_rng(20261125)
X = rng.normal(size=(12, 3))
Y = rng.normal(size=(12, 2))
WEIGHTS = []
for n_in, n_out in itertools.pairwise(WIDTHS):
    WEIGHTS += [rng.normal(0, 0.5, (n_in, n_out)), rng.normal(0, 0.1, n_out)]


def network() -> tuple[torch.nn.Sequential, list[torch.nn.Parameter]]:
    layers: list[torch.nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(WIDTHS)):
        linear = torch.nn.Linear(n_in, n_out, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(WEIGHTS[2 * i].T))
            linear.bias.copy_(torch.from_numpy(WEIGHTS[2 * i + 1]))
        layers += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    return model, list(model.parameters())


def noted(model: torch.nn.Sequential) -> list[float]:
    """All parameters as `flat_parameters` has them: W (n_in, n_out) by rows, then b."""
    return np.concatenate([p.detach().numpy().T.reshape(-1) for p in model.parameters()]).tolist()


def train(make, before_step=lambda parameters: None, schedule=None) -> dict[str, list[float]]:
    model, parameters = network()
    optimizers = make(parameters)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    course = {}
    for step in range(1, STEPS + 1):
        for optimizer in optimizers:
            optimizer.zero_grad()
        (0.5 * torch.mean((model(x) - y) ** 2)).backward()
        before_step(parameters)
        for optimizer in optimizers:
            optimizer.step()
        if step in NOTED:
            course[str(step)] = noted(model)
    return course


def weights(parameters):
    return [p for p in parameters if p.ndim == 2]


def biases(parameters):
    return [p for p in parameters if p.ndim == 1]


o = torch.optim
# How `dnn` writes it: how PyTorch does.
CASES = {
    "SGD(0.1, momentum=0.9)": lambda p: [o.SGD(p, 0.1, momentum=0.9)],
    "SGD(0.1, momentum=0.9, nesterov=True)": lambda p: [o.SGD(p, 0.1, momentum=0.9, nesterov=True)],
    "Adam(0.01)": lambda p: [o.Adam(p, 0.01)],
    "Adam(0.01, epsilon=1e-2)": lambda p: [o.Adam(p, 0.01, eps=1e-2)],
    "Adam(0.01, amsgrad=True)": lambda p: [o.Adam(p, 0.01, amsgrad=True)],
    "AdamW()": lambda p: [
        o.AdamW(weights(p)),
        o.AdamW(biases(p), weight_decay=0.0),
    ],
    "AdamW(0.01, weight_decay=0.1, decay_bias=True)": lambda p: [o.AdamW(p, 0.01, weight_decay=0.1)],
    "AdamW(0.01, weight_decay=0.1, decay_bias=True, amsgrad=True)": lambda p: [
        o.AdamW(p, 0.01, weight_decay=0.1, amsgrad=True)
    ],
    "RMSprop(0.001)": lambda p: [o.RMSprop(p, 0.001, alpha=0.9)],
    "RMSprop(0.002, rho=0.99, epsilon=1e-3)": lambda p: [o.RMSprop(p, 0.002, eps=1e-3)],
    "RMSprop(0.002, centered=True)": lambda p: [o.RMSprop(p, 0.002, alpha=0.9, centered=True)],
    "RMSprop(0.002, momentum=0.8)": lambda p: [o.RMSprop(p, 0.002, alpha=0.9, momentum=0.8)],
    "RMSprop(0.002, momentum=0.8, centered=True)": lambda p: [
        o.RMSprop(p, 0.002, alpha=0.9, momentum=0.8, centered=True)
    ],
    "Adagrad()": lambda p: [o.Adagrad(p)],
    "Adagrad(0.1, epsilon=1e-2, initial_accumulator=0.1)": lambda p: [
        o.Adagrad(p, 0.1, eps=1e-2, initial_accumulator_value=0.1)
    ],
    "Adadelta()": lambda p: [o.Adadelta(p)],
    "Adadelta(0.5, rho=0.95, epsilon=1e-4)": lambda p: [o.Adadelta(p, 0.5, rho=0.95, eps=1e-4)],
    "Adamax()": lambda p: [o.Adamax(p)],
    "Adamax(0.02, beta_1=0.8, beta_2=0.9, epsilon=1e-3)": lambda p: [o.Adamax(p, 0.02, (0.8, 0.9), 1e-3)],
    "Nadam()": lambda p: [o.NAdam(p)],
    "Nadam(0.005, momentum_decay=0.1)": lambda p: [o.NAdam(p, 0.005, momentum_decay=0.1)],
    "RAdam()": lambda p: [o.RAdam(p)],
    "RAdam(0.02, beta_2=0.9)": lambda p: [o.RAdam(p, 0.02, (0.9, 0.9))],
    "Rprop()": lambda p: [o.Rprop(p)],
    "Rprop(0.05, etas=(0.6, 1.1), step_sizes=(1e-3, 0.1))": lambda p: [
        o.Rprop(p, 0.05, (0.6, 1.1), (1e-3, 0.1))
    ],
    "Muon()": lambda p: [o.Muon(weights(p)), o.AdamW(biases(p), weight_decay=0.0)],
    "Muon(0.02, nesterov=False, weight_decay=0.0, adjust_rate='match_rms_adamw')": lambda p: [
        o.Muon(weights(p), 0.02, 0.0, nesterov=False, adjust_lr_fn="match_rms_adamw"),
        o.AdamW(biases(p), 0.02, weight_decay=0.0),
    ],
    "Muon(0.02, adjust_rate='spectral_unclamped', ns_steps=3)": lambda p: [
        o.Muon(weights(p), 0.02, ns_steps=3, adjust_lr_fn="spectral_unclamped"),
        o.AdamW(biases(p), 0.02, weight_decay=0.0),
    ],
}


def sklearn_adam(epsilon: float) -> dict[str, list[float]]:
    model, parameters = network()
    # Its arrays are the memory of PyTorch's, so that a step of one is seen by the other.
    arrays = [p.detach().numpy() for p in parameters]
    adam = AdamOptimizer(arrays, learning_rate_init=0.01, epsilon=epsilon)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    course = {}
    for step in range(1, STEPS + 1):
        model.zero_grad()
        (0.5 * torch.mean((model(x) - y) ** 2)).backward()
        adam.update_params(arrays, [p.grad.numpy().copy() for p in parameters])
        if step in NOTED:
            course[str(step)] = noted(model)
    return course


def main() -> None:
    courses = {name: train(make) for name, make in CASES.items()}
    courses["SGD(0.1, clip_value=0.05)"] = train(
        lambda p: [o.SGD(p, 0.1)], lambda p: torch.nn.utils.clip_grad_value_(p, 0.05)
    )
    for epsilon in (1e-8, 1e-2):
        courses[f"Adam(0.01, epsilon={epsilon!r}, epsilon_hat=True)"] = sklearn_adam(epsilon)
    record = {
        "source": f"tests/record/optimizers.py with PyTorch {torch.__version__.partition('+')[0]} and "
        f"scikit-learn {sklearn.__version__}, float64; see there for the network",
        "widths": WIDTHS,
        "x": X.tolist(),
        "y": Y.tolist(),
        "weights": [w.tolist() for w in WEIGHTS],
        "courses": courses,
    }
    path = Path(__file__).parent.parent / "values" / "optimizers.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(f"{path}: {len(courses)} courses")


if __name__ == "__main__":
    main()
