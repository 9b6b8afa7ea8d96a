"""Q/DQ pairs put into a float graph for given ranges, by ONNX Runtime's own quantizer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from .calibrators import Range
from .graph import attribute
from .schemes import Eight, Scheme

_TYPES: dict[Eight, QuantType] = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
# What ONNX Runtime's static quantization takes by default: additions, pooling and so on too, so that no layer in between
# sends the values back to float (MobileNetV2: 2.1 times as fast as float32, with the weighted operators alone 1.35 times).
EVERY_OPERATOR: frozenset[str] = frozenset([*QLinearOpsRegistry, *QDQRegistry])


def insert(
    model: ModelProto,
    ranges: Mapping[str, Range],
    scheme: Scheme,
    *,
    per_channel: bool,
    operators: Collection[str],
    excluded: Collection[str],
    options: Mapping[str, Any],
    scratch: Path,
) -> ModelProto:
    """The model with the nodes of these `operators` quantized, but for those of the names in `excluded`. `options`: ONNX
    Runtime's own `extra_options`."""
    source = scratch / "to_quantize.onnx"
    onnx.save(model, source)
    quantizer = QDQQuantizer(
        load_model_with_shape_infer(source),
        per_channel,
        scheme.reduced,
        _TYPES[scheme.weights],
        _TYPES[scheme.activations],
        TensorsData(CalibrationMethod.MinMax, {name: _pair(ends) for name, ends in ranges.items()}),
        [],
        sorted(excluded),
        sorted(operators),
        {
            **({"ActivationSymmetric": True, "WeightSymmetric": True} if scheme.symmetric else {}),
            **(_one_scale(model, scheme) if per_channel else {}),
            **options,
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model


def _one_scale(model: ModelProto, scheme: Scheme) -> dict[str, Any]:
    """Of grouped ConvTranspose: its weights have a channel for each of one group alone, its bias one for each of all groups,
    and ONNX Runtime does not put the two together."""
    held = {tensor.name for tensor in model.graph.initializer}
    nodes = (node for node in model.graph.node if node.op_type == "ConvTranspose" and attribute(node, "group", 1) > 1)
    how = {"quant_type": _TYPES[scheme.weights], "symmetric": True, "reduce_range": scheme.reduced}
    found = {node.input[1]: [how] for node in nodes if node.input[1] in held}
    return {"TensorQuantOverrides": found} if found else {}


def _pair(ends: Range) -> tuple[np.ndarray, np.ndarray]:
    low, high = ends
    return np.array(low, np.float32), np.array(high, np.float32)
