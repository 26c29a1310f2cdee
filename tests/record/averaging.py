"""Records what PyTorch's AveragedModel and update_bn make of a training, for tests/test_averaging.py.

Run by hand where PyTorch is installed: python tests/record/averaging.py
"""

import json
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

OUT = Path(__file__).parents[1] / "values" / "averaging.json"
ROWS, BATCH, EPOCHS, RATE = 40, 8, 7, 0.05
CASES = [
    {"name": "ema 0.9", "decay": 0.9},
    {"name": "ema 0.99", "decay": 0.99},
    {"name": "swa from 2", "start_epoch": 2, "every": 1},
    {"name": "swa from 1, every 3", "start_epoch": 1, "every": 3},
]


def network():
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))


def arrays(model):
    """The arrays in the order of `get_weights`."""
    first, norm, _, last = model
    found = [first.weight.T, first.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    return [array.detach().tolist() for array in [*found, last.weight.T, last.bias]]


def recorded(case):
    torch.manual_seed(1)
    model = network()
    x, y = torch.randn(ROWS, 3) * 2 + 1, torch.randn(ROWS, 2)
    before = arrays(model)
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    average = get_ema_multi_avg_fn(case["decay"]) if "decay" in case else None
    averaged = AveragedModel(model, multi_avg_fn=average)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    for epoch in range(EPOCHS):
        for rows, target in batches:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(rows), target).backward()
            optimizer.step()
            if "decay" in case:
                averaged.update_parameters(model)
        if (
            "every" in case
            and epoch >= case["start_epoch"]
            and (epoch - case["start_epoch"]) % case["every"] == 0
        ):
            averaged.update_parameters(model)
    update_bn(batches, averaged)
    settings = {"batch_size": BATCH, "epochs": EPOCHS, "rate": RATE, "x": x.tolist(), "y": y.tolist()}
    return {**case, **settings, "before": before, "after": arrays(averaged.module)}


def main():
    torch.set_default_dtype(torch.float64)
    source = f"PyTorch {torch.__version__.partition('+')[0]}, float64, recorded by tests/record/averaging.py"
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(
        json.dumps({"source": source, "cases": [recorded(case) for case in CASES]}), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
