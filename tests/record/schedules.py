"""Records the rates of PyTorch's schedulers and scikit-learn's. Run by hand, where their packages are:

    python tests/record/schedules.py

writes `tests/values/schedules.json`.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer
from torch.optim import lr_scheduler as ls

warnings.simplefilter("ignore")
N = 60

# How `dnn` writes it: how PyTorch does, at a rate of 0.4.
CASES = {
    "StepDecay(0.4, 7, 0.5)": lambda o: ls.StepLR(o, 7, 0.5),
    "MultiStepDecay(0.4, [3, 20, 21], 0.3)": lambda o: ls.MultiStepLR(o, [3, 20, 21], 0.3),
    "ExponentialDecay(0.4, 1, 0.93)": lambda o: ls.ExponentialLR(o, 0.93),
    "PolynomialDecay(0.4, 40, power=2.0)": lambda o: ls.PolynomialLR(o, 40, 2.0),
    "PolynomialDecay(0.4, 40)": lambda o: ls.PolynomialLR(o, 40),
    "CosineDecay(0.4, 59, end_learning_rate=0.01)": lambda o: ls.CosineAnnealingLR(o, 59, 0.01),
    "CosineRestarts(0.4, 9, end_learning_rate=0.02)": lambda o: ls.CosineAnnealingWarmRestarts(o, 9, 1, 0.02),
    "CosineRestarts(0.4, 5, t_mul=2)": lambda o: ls.CosineAnnealingWarmRestarts(o, 5, 2),
    "CosineRestarts(0.4, 2, t_mul=3)": lambda o: ls.CosineAnnealingWarmRestarts(o, 2, 3),
    "OneCycle(0.4, 60)": lambda o: ls.OneCycleLR(o, 0.4, 60, cycle_momentum=False),
    "OneCycle(0.4, 60, pct_start=0.2, div_factor=10, final_div_factor=100, three_phase=True, linear=True)": (
        lambda o: ls.OneCycleLR(
            o,
            0.4,
            60,
            pct_start=0.2,
            div_factor=10.0,
            final_div_factor=100.0,
            three_phase=True,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
    ),
    "WarmUp(0.4, 8)": lambda o: ls.LinearLR(o, total_iters=8),
    "WarmUp(StepDecay(0.4, 10, 0.5), 6, start_factor=0.1)": lambda o: ls.SequentialLR(
        o, [ls.LinearLR(o, 0.1, total_iters=6), ls.StepLR(o, 10, 0.5)], [6]
    ),
}
PLATEAU = {
    "ReduceOnPlateau(0.4, 0.5, 3)": {"factor": 0.5, "patience": 3},
    "ReduceOnPlateau(0.4, 0.1, 2, threshold=0.05, threshold_mode='abs', cooldown=4)": {
        "factor": 0.1,
        "patience": 2,
        "threshold": 0.05,
        "threshold_mode": "abs",
        "cooldown": 4,
    },
    "ReduceOnPlateau(0.4, 0.3, 1, mode='max', threshold=0.01)": {
        "factor": 0.3,
        "patience": 1,
        "mode": "max",
        "threshold": 0.01,
    },
}


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.4)


def rates(make):
    o = optimizer()
    scheduler, found = make(o), []
    for _ in range(N):
        found.append(o.param_groups[0]["lr"])
        o.step()
        scheduler.step()
    return found


def adaptive(measures, tol, n):
    """scikit-learn's loop around its optimizer: see _update_no_improvement_count."""
    sgd, best, count, found = SGDOptimizer([np.zeros(1)], 0.4, "adaptive"), np.inf, 0, []
    for measure in measures:
        found.append(sgd.learning_rate)
        count = count + 1 if measure > best - tol else 0
        best = min(best, measure)
        if count > n:
            if sgd.trigger_stopping("", False):
                break
            count = 0
    return found


def main():
    rng = np.random.default_rng(7)
    measures = (0.2 + np.exp(-np.arange(N) / 8) + 0.05 * rng.normal(size=N)).tolist()
    reacting = {}
    for name, options in PLATEAU.items():
        o = optimizer()
        scheduler, found = ls.ReduceLROnPlateau(o, **options), []
        for measure in measures:
            found.append(o.param_groups[0]["lr"])
            scheduler.step(measure)
        reacting[name] = found
    for tol, n in ((1e-4, 2), (0.05, 1)):
        reacting[f"Adaptive(0.4, tol={tol}, n_iter_no_change={n})"] = adaptive(measures, tol, n)
    reacting["Adaptive(0.4, tol=10.0, n_iter_no_change=1)"] = adaptive(measures, 10.0, 1)
    sgd, scaling = SGDOptimizer([np.zeros(1)], 0.4, "invscaling", power_t=0.3), []
    for epoch in range(1, 6):
        scaling.append(sgd.learning_rate)
        sgd.iteration_ends(epoch * 50)
    record = {
        "source": f"tests/record/schedules.py with PyTorch {torch.__version__.partition('+')[0]} and "
        f"scikit-learn {sklearn.__version__}",
        "timed": {name: rates(make) for name, make in CASES.items()},
        "measures": measures,
        "reacting": reacting,
        "invscaling": scaling,
    }
    path = Path(__file__).parent.parent / "values" / "schedules.json"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
