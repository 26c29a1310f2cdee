"""Records what PyTorch and scikit-learn make of each loss: values and derivatives for z, in float64.

Run by hand where both are installed, `python tests/record/losses.py`; writes `tests/values/losses.json`,
which `tests/test_losses.py` reads. A case is z of the last layer, its activation, the targets, the loss and
its parameters; the answer is the mean loss and its derivative for z.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import sklearn
import torch
import torch.nn.functional as F
from sklearn._loss.loss import HalfGammaLoss, HalfPoissonLoss, HalfTweedieLoss
from sklearn.metrics import mean_absolute_percentage_error, mean_pinball_loss, mean_squared_log_error

ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "softmax": lambda z: torch.softmax(z, 1),
    "softplus": F.softplus,
    "exponential": torch.exp,
}


def softmax_focal(z, t, gamma):
    """Lin et al. 2017 for softmax, from z."""
    log = F.log_softmax(z, 1)
    return -(t * (1 - log.exp()) ** gamma * log).sum(1).mean()


def sigmoid_focal(z, t, gamma):
    """The formula of torchvision.ops.sigmoid_focal_loss(alpha=-1, reduction="mean")."""
    p = torch.sigmoid(z)
    entropy = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    return (entropy * (p * (1 - t) + (1 - p) * t) ** gamma).mean()


def log_cosh(y, t):
    """Keras's formula; PyTorch's softplus would be a line from 20 on."""
    r = y - t
    return (r + torch.logaddexp(-2 * r, torch.zeros_like(r)) - math.log(2)).mean()


def gaussian(y, t, epsilon):
    mean, log_variance = y.chunk(2, 1)
    return F.gaussian_nll_loss(mean, t, log_variance.exp(), eps=epsilon)


def poisson(y, t):
    return F.poisson_nll_loss(y, t, log_input=False, eps=1e-8)


# name: (of the outputs a, or of z where the name ends in "z"; with the parameters)
FORMULAS = {
    "mse": lambda y, t: F.mse_loss(y, t),
    "mae": lambda y, t: F.l1_loss(y, t),
    "huber": lambda y, t, delta: F.huber_loss(y, t, delta=delta),
    "log_cosh": log_cosh,
    "poisson": poisson,
    "gaussian_nll": gaussian,
}
OF_Z = {
    "cross_entropy": lambda z, t, label_smoothing: F.cross_entropy(z, t, label_smoothing=label_smoothing),
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "kl_divergence": lambda z, t: F.kl_div(F.log_softmax(z, 1), t, reduction="batchmean"),
    "focal": lambda z, t, gamma: (softmax_focal if z.shape[1] == 3 else sigmoid_focal)(z, t, gamma),
    "poisson": lambda z, t: F.poisson_nll_loss(z, t, log_input=True),
}


def by_torch(name, activation, z, t, parameters, of_z):
    z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(t)
    t = t if t.ndim == 1 else t.double()
    loss = (
        OF_Z[name](z, t, **parameters)
        if of_z
        else FORMULAS[name](ACTIVATIONS[activation](z), t, **parameters)
    )
    loss.backward()
    return float(loss.detach()), z.grad.tolist()


def by_sklearn(name, z, t, parameters):
    """The losses with a logarithmic link, of one output."""
    loss = {
        "poisson": HalfPoissonLoss,
        "gamma": HalfGammaLoss,
        "tweedie": lambda: HalfTweedieLoss(power=parameters["p"]),
    }[name]()
    value, gradient = loss.loss_gradient(np.ravel(t).astype(float), np.ravel(z).astype(float))
    return float(value.mean()), (gradient / len(value)).reshape(-1, 1).tolist()


def main() -> None:
    rng = np.random.default_rng(20191018)
    cases = []

    def add(source, name, activation, z, t, parameters, answer):
        value, gradient = answer
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            raise ValueError(f"{source} has no finite answer for {name} {parameters}")
        case = {"source": source, "loss": name, "parameters": parameters, "activation": activation}
        cases.append(
            {
                **case,
                "z": np.asarray(z).tolist(),
                "t": np.asarray(t).tolist(),
                "value": value,
                "gradient": gradient,
            }
        )

    def torch_case(name, activation, z, t, of_z=False, **parameters):
        add("PyTorch", name, activation, z, t, parameters, by_torch(name, activation, z, t, parameters, of_z))

    z3, z1 = rng.normal(0, 2, (6, 3)), rng.normal(0, 2, (6, 1))
    labels, soft, bits = rng.integers(0, 3, 6), rng.dirichlet(np.ones(3), 6), rng.integers(0, 2, (6, 2))
    numbers, counts = rng.normal(0, 3, (6, 3)), rng.poisson(2.0, (6, 3))
    for name in ("mse", "mae", "log_cosh"):
        torch_case(name, "identity", z3, numbers)
    for delta in (0.5, 1.0):
        torch_case("huber", "identity", z3, numbers, delta=delta)
    for smoothing in (0.0, 0.1, 0.5):
        torch_case("cross_entropy", "softmax", z3, labels, True, label_smoothing=smoothing)
        torch_case("cross_entropy", "softmax", z3, soft, True, label_smoothing=smoothing)
    torch_case("kl_divergence", "softmax", z3, soft, True)
    torch_case("kl_divergence", "softmax", z3, np.eye(3)[labels], True)
    torch_case("binary_cross_entropy", "sigmoid", z3[:, :2], bits, True)
    for gamma in (0.5, 1.0, 2.0, 3.5):
        torch_case("focal", "softmax", z3, soft, True, gamma=gamma)
        torch_case("focal", "softmax", z3, np.eye(3)[labels], True, gamma=gamma)
        torch_case("focal", "sigmoid", z3[:, :2], bits, True, gamma=gamma)
        torch_case("focal", "sigmoid", z3[:, :2], soft[:, :2], True, gamma=gamma)
    torch_case("poisson", "exponential", z3, counts, True)
    torch_case("poisson", "softplus", z3, counts)
    for epsilon in (1e-6, 1.0):
        z = rng.normal(0, 2, (6, 4))
        torch_case("gaussian_nll", "identity", z, numbers[:, :2], epsilon=epsilon)

    # Extremes: probabilities 0 and 1 of the right and of the wrong answer.
    for huge in (1e4, 1e38):
        both = np.array([[huge, 0.0], [-huge, 0.0], [huge, -huge]])
        torch_case("binary_cross_entropy", "sigmoid", both, np.array([[1, 0], [1, 1], [0, 1]]), True)
        torch_case("binary_cross_entropy", "sigmoid", both, np.array([[0, 1], [0, 0], [1, 0]]), True)
        torch_case("focal", "sigmoid", both, np.array([[1, 0], [1, 1], [0, 1]]), True, gamma=2.0)
        torch_case("focal", "sigmoid", both, np.array([[0, 1], [0, 0], [1, 0]]), True, gamma=2.0)
        three = np.array([[huge, 0.0, -huge], [-huge, huge, 1.0], [0.0, huge, huge]])
        for right in ([0, 1, 2], [2, 0, 0], [1, 2, 1]):
            for smoothing in (0.0, 0.1):
                torch_case(
                    "cross_entropy", "softmax", three, np.array(right), True, label_smoothing=smoothing
                )
            torch_case("kl_divergence", "softmax", three, np.eye(3)[right], True)
            torch_case("focal", "softmax", three, np.eye(3)[right], True, gamma=2.0)
        far = np.array([[huge], [-huge], [huge]])
        for name in ("mae", "log_cosh"):
            torch_case(name, "identity", far, np.array([[1.0], [2.0], [-3.0]]))
        torch_case("huber", "identity", far, np.array([[1.0], [2.0], [-3.0]]), delta=1.0)
        torch_case("poisson", "exponential", -np.abs(far), np.array([[0], [3], [1]]), True)
        torch_case(
            "gaussian_nll",
            "identity",
            np.array([[1.0, 5.0], [2.0, -huge]]),  # a variance of e^1e4 is infinite in PyTorch
            np.array([[3.0], [2.5]]),
            epsilon=1e-6,
        )

    positive = rng.gamma(2.0, 1.0, (6, 1))
    for name, t, parameters in [
        ("poisson", counts[:, :1], {}),
        ("gamma", positive, {}),
        *(("tweedie", counts[:, :1], {"p": p}) for p in (1.0, 1.2, 1.5, 1.9)),
        *(("tweedie", positive, {"p": p}) for p in (2.0, 2.5, 3.0)),
    ]:
        add("scikit-learn", name, "exponential", z1, t, parameters, by_sklearn(name, z1, t, parameters))

    # Of these scikit-learn has the value alone; the derivative is PyTorch's, of the same formula.
    def with_gradient(name, activation, z, t, parameters, value, formula):
        tensor = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        formula(ACTIVATIONS[activation](tensor), torch.tensor(t, dtype=torch.float64)).backward()
        add("scikit-learn", name, activation, z, t, parameters, (float(value), tensor.grad.tolist()))

    y = np.log1p(np.exp(z3))
    with_gradient(
        "msle",
        "softplus",
        z3,
        counts,
        {},
        mean_squared_log_error(counts, y),
        lambda y, t: ((torch.log1p(y) - torch.log1p(t)) ** 2).mean(),
    )
    with_gradient(
        "mape",
        "identity",
        z3,
        numbers,
        {},
        100 * mean_absolute_percentage_error(numbers, z3),
        lambda y, t: 100 * ((y - t).abs() / t.abs()).mean(),
    )
    for q in (0.1, 0.5, 0.95):
        with_gradient(
            "quantile",
            "identity",
            z3,
            numbers,
            {"q": q},
            mean_pinball_loss(numbers, z3, alpha=q),
            lambda y, t, q=q: torch.maximum(q * (t - y), (q - 1) * (t - y)).mean(),
        )
    # Three quantiles of one target: the mean of three losses.
    q, t = [0.1, 0.5, 0.9], numbers[:, :1]
    with_gradient(
        "quantile",
        "identity",
        z3,
        t,
        {"q": q},
        np.mean([mean_pinball_loss(t, z3[:, i : i + 1], alpha=q[i]) for i in range(3)]),
        lambda y, t: torch.maximum(torch.tensor(q) * (t - y), (torch.tensor(q) - 1) * (t - y)).mean(),
    )
    path = Path(__file__).parent.parent / "values" / "losses.json"
    versions = f"PyTorch {torch.__version__}, scikit-learn {sklearn.__version__}"
    path.write_text(
        json.dumps({"recorded_from": versions, "cases": cases}, indent=1) + "\n", encoding="utf-8"
    )
    print(f"{len(cases)} cases, {versions}")


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    main()
