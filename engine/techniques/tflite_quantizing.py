"""A float32 TensorFlow Lite model in half floats, with 8-bit weights, or in 8 bits throughout, by ai-edge-quantizer.

Compared with the quantizing of TensorFlow's own converter, by the networks of ../shared/data, one thread (signal to
quantization noise of the outputs on 2,501 and 62 images; time of an inference, float32 0.23 and 0.18 ms):

                     ic_resnet8                         vww_mobilenet
                     here             TFLiteConverter   here             TFLiteConverter
    float16          55 dB  0.23 ms   51 dB  0.24 ms    60 dB  0.18 ms   62 dB  0.17 ms
    dynamic          29 dB  0.14 ms   29 dB  0.13 ms    45 dB  0.15 ms   45 dB  0.20 ms
    int8             21 dB  0.15 ms   21 dB  0.16 ms    29 dB  0.23 ms   29 dB  0.24 ms

So there is no reason for a second one. What is here is not its defaults, which gave 27 dB and, at 0.50 ms, a much slower
vww in `dynamic` (see `_dynamic`), and 16 and 22 dB in `int8` (see `_ranges`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.calibrator import Calibrator
from ai_edge_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    QuantGranularity,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils.qsv_utils import min_max_update

from ...contract.measures import Interface
from ...contract.steps import TFLite
from ..bench import Bench
from ..data.dataset import Dataset
from ..models.tflite_model import TFLiteModel
from ..problems import JobProblem
from ..quantization.samples import spread
from ..runtimes.runner import Runner, open_runner
from ..samples import batches
from .tflite_dead_channels import mend
from .tflite_ready import SIGNATURE, ready

_EVERYTHING = {"regex": ".*", "operation_name": TFLOperationName.ALL_SUPPORTED}
# Of a layer: with fewer, quantizing its input at each run costs more than 8-bit weights save. TFLiteConverter's figure.
_LEAST_DYNAMIC = 1024
_CONTROL = frozenset({"WHILE", "IF"})


def quantize(
    floats: Path,
    out: Path,
    step: TFLite,
    calibration: Dataset | None,
    interface: Interface,
    bench: Bench,
) -> list[str]:
    """Writes the quantized model to `out`; returns what the caller should know, a sentence each.

    JobProblem: CALIBRATION_REQUIRED, UNAVAILABLE.
    """
    how = step.quantization
    recipes = RecipeManager()
    _RECIPES[how](recipes)
    model, ranges = ready(floats), None
    notes: list[str] = []
    if how == "int8":
        _refuse_loops(TFLiteModel(floats))
        chosen = _chosen(calibration, step.calibration_samples)
        ranges = _ranges(model, recipes, open_runner(floats, interface=interface), chosen, bench)
        notes += _few(len(chosen.indices), step.calibration_samples)
    bench.report(0.8, "quantizing")
    recipe = recipes.get_quantization_recipe()
    made = Quantizer(model, recipe).quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    if made.quantized_model is None:
        raise JobProblem("TECHNIQUE_FAILED", f"ai-edge-quantizer made no {how} model of this one")
    content = bytes(made.quantized_model)
    out.write_bytes(mend(content, model) if how == "int8" else content)
    return [*notes, *_NOTES[how](TFLiteModel(out))]


def _float16(recipes: RecipeManager) -> None:
    weights = TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT)
    config = OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=ComputePrecision.FLOAT, explicit_dequantize=True
    )
    recipes.add_quantization_config(**_EVERYTHING, op_config=config, algorithm_key=AlgorithmName.FLOAT_CASTING)


def _dynamic(recipes: RecipeManager) -> None:
    """Weights by channel in 8 bits, activations quantized anew at each run.

    Depthwise convolutions stay in float, since XNNPACK has no dynamic kernel for them, and what has instead is slow: with
    them an inference of MobileNetV2 at 224 x 224 took 8.0 ms, without 4.4 ms, in float32 5.9 ms (one thread).
    """
    weights = TensorQuantizationConfig(num_bits=8, symmetric=True, granularity=QuantGranularity.CHANNELWISE)
    config = OpQuantizationConfig(
        weight_tensor_config=weights,
        compute_precision=ComputePrecision.INTEGER,
        min_weight_elements=_LEAST_DYNAMIC,
    )
    recipes.add_quantization_config(**_EVERYTHING, op_config=config)
    recipes.add_quantization_config(".*", TFLOperationName.DEPTHWISE_CONV_2D, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _int8(recipes: RecipeManager) -> None:
    """Divisions stay in float: in 8 bits a small denominator is zero, at which the kernel stops."""
    recipes.add_static_config(**_EVERYTHING, activation_num_bits=8, weight_num_bits=8)
    recipes.add_quantization_config(".*", TFLOperationName.DIV, algorithm_key=AlgorithmName.NO_QUANTIZE)


class Chosen(NamedTuple):
    """The calibration samples that are used."""

    dataset: Dataset
    indices: list[int]


def _refuse_loops(model: TFLiteModel) -> None:
    """JobProblem UNAVAILABLE for a model of several graphs: the calibrator sees the values of the first alone."""
    if found := sorted(_CONTROL & set(model.operators)):
        raise JobProblem(
            "UNAVAILABLE",
            f"the model has loops or branches ({', '.join(found)}), and the ranges inside of them cannot be found: take"
            " quantization='dynamic' or 'float16'",
        )


def _chosen(calibration: Dataset | None, count: int) -> Chosen:
    if calibration is None:
        raise JobProblem("CALIBRATION_REQUIRED", "tflite int8 finds its ranges on a calibration set, and there is none")
    return Chosen(calibration, spread(len(calibration), count))


def _few(used: int, asked: int) -> list[str]:
    if used == asked:
        return []
    return [f"the calibration set has {used} samples, and all were used ({asked} asked for)"]


def _ranges(model: bytes, recipes: RecipeManager, runner: Runner, chosen: Chosen, bench: Bench) -> Any:
    """The range of every tensor on the calibration samples.

    From the lowest to the highest value that was seen: the quantizer's own moving average forgets the first samples and
    cuts off what is rare (5 dB on ic_resnet8, 8 on vww_mobilenet). One thread, so that sums are the same each time.
    """
    calibrator = Calibrator(model, num_threads=1, qsv_update_func=min_max_update)
    samples = len(chosen.indices)
    for done, feeds in enumerate(batches(chosen.dataset, runner.inputs, chosen.indices)):
        calibrator.calibrate({SIGNATURE: [runner.native(feeds)]}, recipes)
        bench.report(0.2 + 0.6 * min(1.0, (done + 1) / samples), f"calibrating on {samples} samples")
    return calibrator.get_model_qsvs()


def _of_float16(model: TFLiteModel) -> list[str]:
    if model.precision != "fp16":
        return ["the quantizer stores no weight of this model in half floats: nothing is smaller"]
    return [
        "the weights are stored as half floats; on a CPU they are widened when the model is loaded and computed with in"
        " float32: expect half the file and the same speed"
    ]


def _of_dynamic(model: TFLiteModel) -> list[str]:
    quantized = model.operators_holding("INT8")
    if not quantized:
        return [
            f"no operator of this model can be quantized dynamically (none has {_LEAST_DYNAMIC:,} weights that the quantizer"
            " knows): nothing is in 8 bits"
        ]
    notes = []
    if count := quantized["CONV_2D"]:
        notes.append(
            f"{count} convolutions are quantized dynamically, which may be slower than float: the benchmark will tell; int8"
            " is the usual choice for convolutions"
        )
    if count := model.operators["DEPTHWISE_CONV_2D"]:
        notes.append(
            f"{count} depthwise convolutions stay in float32: there is no fast kernel that quantizes their inputs anew"
        )
    return notes


def _of_int8(model: TFLiteModel) -> list[str]:
    if model.precision != "int8":
        return ["no operator of this model was quantized: nothing is in 8 bits"]
    left = model.operators_giving("FLOAT32")
    left.pop("DEQUANTIZE", None)
    if not left:
        return []
    shown = ", ".join(f"{name} ({count})" for name, count in left.most_common(5))
    return [f"operators that stay in float32, for want of a quantizer or a kernel in 8 bits: {shown}"]


_RECIPES: dict[str, Callable[[RecipeManager], None]] = {"float16": _float16, "dynamic": _dynamic, "int8": _int8}
_NOTES: dict[str, Callable[[TFLiteModel], list[str]]] = {
    "float16": _of_float16,
    "dynamic": _of_dynamic,
    "int8": _of_int8,
}
