"""Records what PyTorch makes of normalisation, residual connections and prelu: tests/values/layers.json.

Run by hand where PyTorch is: `python tests/record/layers.py`. Everything is float64. A case has its layers
in our words, x and y, our weights before, and PyTorch's loss, gradients, running statistics after one
batch, and outputs in use after it.
"""

import json
from pathlib import Path

import torch
from torch import nn

OUT = Path(__file__).parent.parent / "values" / "layers.json"
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU, "selu": nn.SELU}


class Residual(nn.Module):
    """x + f(x)"""

    def __init__(self, *layers):
        super().__init__()
        self.f = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.f(x)


def made(said, width):
    """PyTorch's layers for ours, and the width they come out with."""
    layers = []
    for kind, *arguments in said:
        if kind == "Dense":
            units, use_bias = arguments
            layers.append(nn.Linear(width, units, bias=use_bias))
            width = units
        elif kind == "Activation":
            layers.append(nn.PReLU(width) if arguments[0] == "prelu" else ACTIVATIONS[arguments[0]]())
        elif kind == "BatchNormalization":
            momentum, epsilon = arguments
            layers.append(nn.BatchNorm1d(width, eps=epsilon, momentum=1 - momentum))
        elif kind == "LayerNormalization":
            layers.append(nn.LayerNorm(width, eps=arguments[0]))
        elif kind == "Residual":
            inner, _ = made(arguments[0], width)
            layers.append(Residual(*inner))
    return layers, width


def leaves(module):
    for layer in module.children():
        if list(layer.children()):
            yield from leaves(layer)
        else:
            yield layer


def ours(layer, of):
    """The arrays of a layer in our order; `of` gives that of a tensor."""
    if isinstance(layer, nn.Linear):
        weight = of(layer.weight)
        yield None if weight is None else weight.T
        if layer.bias is not None:
            yield of(layer.bias)
    elif isinstance(layer, (nn.BatchNorm1d, nn.LayerNorm)):
        yield of(layer.weight)
        yield of(layer.bias)
        if isinstance(layer, nn.BatchNorm1d):
            yield of(layer.running_mean)
            yield of(layer.running_var)
    elif isinstance(layer, nn.PReLU):
        yield of(layer.weight)


def arrays(model, of):
    found = [array for layer in leaves(model) for array in ours(layer, of)]
    return [None if array is None else array.detach().tolist() for array in found]


def gradient(tensor):
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


CASES = {
    "batch normalisation": [
        ["Dense", 6, False], ["BatchNormalization", 0.9, 1e-3], ["Activation", "tanh"], ["Dense", 3, True],
    ],
    "batch normalisation of x and of the output": [
        ["BatchNormalization", 0.99, 1e-5], ["Dense", 5, True], ["Activation", "gelu"], ["Dense", 3, True],
        ["BatchNormalization", 0.5, 1e-2],
    ],
    "layer normalisation": [
        ["Dense", 7, True], ["LayerNormalization", 1e-5], ["Activation", "silu"], ["Dense", 3, True],
    ],
    "layer normalisation of x and of the output": [
        ["LayerNormalization", 1e-3], ["Dense", 3, True], ["LayerNormalization", 1e-3],
    ],
    "residual": [
        ["Dense", 6, True], ["Activation", "tanh"],
        ["Residual", [["Dense", 8, True], ["Activation", "relu"], ["Dense", 6, True]]],
        ["Residual", [["Dense", 6, True], ["Residual", [["Activation", "silu"], ["Dense", 6, True]]]]],
        ["Activation", "tanh"], ["Dense", 3, True],
    ],
    "prelu": [
        ["Dense", 6, True], ["Activation", "prelu"], ["Dense", 5, True], ["Activation", "prelu"], ["Dense",
        3, True],
    ],
    "all together": [
        ["Dense", 8, False], ["BatchNormalization", 0.9, 1e-3], ["Activation", "selu"],
        ["Residual", [
            ["LayerNormalization", 1e-3], ["Dense", 8, True], ["Activation", "prelu"], ["Dense", 8, False],
            ["BatchNormalization", 0.8, 1e-3],
        ]],
        ["Residual", [["BatchNormalization", 0.9, 1e-3], ["Activation", "gelu"], ["Dense", 8, True]]],
        ["Dense", 3, True],
    ],
}  # fmt: skip


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    cases = {}
    for name, said in CASES.items():
        layers, _ = made(said, 4)
        model = nn.Sequential(*layers)
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0.1, 0.7)
        for layer in leaves(model):
            if isinstance(layer, nn.BatchNorm1d):
                nn.init.normal_(layer.running_mean)
                nn.init.uniform_(layer.running_var, 0.5, 2.0)
        x, y = torch.randn(9, 4) * 2 + 1, torch.randn(9, 3)
        before = arrays(model, lambda tensor: tensor)
        model.train()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        model.eval()
        cases[name] = {
            "layers": said,
            "x": x.tolist(),
            "y": y.tolist(),
            "weights": before,
            "loss": loss.item(),
            "gradients": arrays(model, gradient),
            "weights_after": arrays(model, lambda tensor: tensor),
            "outputs_after": model(x).detach().tolist(),
        }
    OUT.parent.mkdir(exist_ok=True)
    where = f"PyTorch {torch.__version__.partition('+')[0]}, float64, recorded by tests/record/layers.py"
    OUT.write_text(json.dumps({"source": where, "cases": cases}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
