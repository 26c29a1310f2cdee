"""ONNX Runtime: the network as a graph of Gemm nodes, all optimizations on. It only predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..workloads import Workload
from .base import Array, Peer

NODES = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softmax": "Softmax", "identity": None}
NODES |= {"leaky_relu": "LeakyRelu", "elu": "Elu", "softplus": "Softplus"}
# Both are years old, so that a graph made by a new onnx is read by any runtime.
OPSET, IR_VERSION = 13, 8


def graph(workload: Workload) -> bytes:
    """The network with its initial weights: as fast as with any others."""
    nodes, tensors, value = [], [], "x"
    weights = workload.weights()
    for i, activation in enumerate(workload.activations):
        w = numpy_helper.from_array(weights[2 * i], f"W{i}")
        b = numpy_helper.from_array(weights[2 * i + 1], f"b{i}")
        tensors += [w, b]
        nodes.append(helper.make_node("Gemm", [value, w.name, b.name], [f"z{i}"]))
        value = f"z{i}"
        if name := NODES[activation]:
            nodes.append(helper.make_node(name, [value], [f"a{i}"]))
            value = f"a{i}"
    table = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in (("x", workload.widths[0]), (value, workload.widths[-1]))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, workload.name, table[:1], table[1:], tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class OnnxRuntime(Peer):
    trains = False

    def __init__(self, workload: Workload, x: Array, y: Array, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(
            graph(workload), options, providers=["CPUExecutionProvider"]
        )
        self.outputs = [output.name for output in self.session.get_outputs()]

    @staticmethod
    def versions() -> dict[str, str]:
        return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}

    def predictor(self, x: Array) -> Callable[[], Any]:
        # Bindings made once skip the look at the arrays that `run` takes in every call.
        binding = self.session.io_binding()
        binding.bind_cpu_input("x", np.ascontiguousarray(x))
        (width,) = self.session.get_outputs()[0].shape[1:]
        out = onnxruntime.OrtValue.ortvalue_from_shape_and_type([len(x), width], np.float32, "cpu")
        binding.bind_ortvalue_output(self.outputs[0], out)
        session = self.session

        def predict() -> Any:
            session.run_with_iobinding(binding)
            return out

        return predict
