"""What a user makes of a model by hand: one tool with the settings that its documentation shows, in a process of its own.

`python -P -m edgeopt.benchmarks.peers_tools`, started by `make`. Nothing of edgeopt's techniques is used but its conversion
of ONNX to TensorFlow Lite, since LiteRT has none, and the words in an OpenVINO file that ask for OpenVINO's own default.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from edgeopt.benchmarks.peers_models import Model, opened
from edgeopt.contract.record import Record
from edgeopt.contract.steps import TFLite
from edgeopt.engine.bench import Bench
from edgeopt.engine.measure.fresh_process import ask
from edgeopt.engine.measure.reply import BrokenModel, reply
from edgeopt.engine.problems import JobProblem
from edgeopt.server.settings import toolchains_folder

Feeds = dict[str, np.ndarray]


class Making(Record):
    """A tool's task: its result and what it needs besides go to `folder`, the data sets that it makes to `scratch`."""

    tool: str
    model: str
    data: str
    scratch: str
    folder: str


class Made(Record):
    """`file`: the new model. `seconds` and `peak_mb` are of the whole process, which loads the tool, too; of several
    processes one after the other the highest."""

    file: str
    seconds: float
    peak_mb: float


class Refused(Exception):
    """The tool does not apply to this model; says why, in the tool's own words where it has some."""


def make(task: Making, tmp: Path) -> Made:
    """Runs the tool in a fresh process. JobProblem BAD_OUTPUTS where it refuses the model; MEASUREMENT_FAILED where it died."""
    return ask(__name__, task, Made, tmp)


def _onnx_float(model: Model, _folder: Path) -> Path:
    return model.path


def _onnx_static(model: Model, folder: Path) -> Path:
    """As the documentation's example: pre-processed, Q/DQ, defaults. Those are signed activations and one scale a tensor."""
    return _static(model, folder)


def _onnx_static_tuned(model: Model, folder: Path) -> Path:
    """What the documentation's section on choosing types comes to on x86: unsigned activations, one scale a channel."""
    from onnxruntime.quantization import QuantType

    return _static(model, folder, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True)


def _static(model: Model, folder: Path, **settings: Any) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    feeds = model.calibration_feeds(model.path)

    class Reader(CalibrationDataReader):
        def get_next(self) -> Feeds | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            return next(feeds, None)

    prepared, out = _pre_processed(model, folder), folder / "model.onnx"
    quantize_static(prepared, out, Reader(), **settings)
    return out


def _onnx_dynamic(model: Model, folder: Path) -> Path:
    from onnxruntime.quantization import quantize_dynamic

    out = folder / "model.onnx"
    quantize_dynamic(_pre_processed(model, folder), out)
    return out


def _pre_processed(model: Model, folder: Path) -> Path:
    """Without the symbolic shapes where these cannot be inferred (MiniLM), by its own option for that."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    try:
        quant_pre_process(model.path, prepared)
    except Exception as error:  # it raises no narrower one
        if "symbolic shape inference" not in str(error):
            raise
        quant_pre_process(model.path, prepared, skip_symbolic_shape=True)
    return prepared


def _openvino(model: Model, folder: Path) -> Path:
    from edgeopt.engine.runtimes.openvino_quietly import ov

    out = folder / "model.xml"
    ov.save_model(ov.convert_model(model.path), out)
    return _by_its_defaults(out)


def _nncf(model: Model, folder: Path) -> Path:
    from edgeopt.engine.runtimes.openvino_quietly import ov
    from edgeopt.engine.techniques.nncf_quietly import nncf

    out = folder / "model.xml"
    samples = list(model.calibration_feeds(model.path))
    told = nncf.ModelType.TRANSFORMER if model.transformer else None
    ov.save_model(nncf.quantize(ov.convert_model(model.path), nncf.Dataset(samples), model_type=told), out)
    return _by_its_defaults(out)


def _by_its_defaults(out: Path) -> Path:
    """The file says what OpenVINO would compute its float layers in here if nobody asked for anything: edgeopt asks for
    float32 where a file does not say otherwise, and peers are not to be slower for it."""
    from edgeopt.engine.runtimes.openvino_quietly import ov
    from edgeopt.engine.techniques.openvino import settle

    hint = ov.Core().compile_model(out, "CPU", {"PERFORMANCE_HINT": "LATENCY"}).get_property("INFERENCE_PRECISION_HINT")
    settle(out, "bfloat16" if hint == ov.Type.bf16 else "float32")
    return out


def _litert_float(model: Model, folder: Path) -> Path:
    """By edgeopt's conversion with onnx2tf: there is none of LiteRT's own for ONNX."""
    from edgeopt.engine.models.model_file import open_file
    from edgeopt.engine.techniques import tflite

    out, scratch = folder / "float32.tflite", folder / "converting"
    scratch.mkdir(exist_ok=True)
    bench = Bench(scratch, scratch, toolchains=toolchains_folder())
    step = TFLite(technique="tflite", quantization="float32")
    tflite.run(open_file(model.path).path, step, out, None, model.interface(), bench)
    return out


def _litert_static(model: Model, folder: Path) -> Path:
    return _by_recipe("static_wi8_ai8", model, folder, calibrated=True)


def _litert_dynamic(model: Model, folder: Path) -> Path:
    return _by_recipe("dynamic_wi8_afp32", model, folder, calibrated=False)


def _by_recipe(recipe: str, model: Model, folder: Path, *, calibrated: bool) -> Path:
    from ai_edge_quantizer import recipe as recipes
    from ai_edge_quantizer.quantizer import Quantizer
    from edgeopt.engine.techniques.tflite_ready import SIGNATURE, ready

    floats, out = _litert_float(model, folder), folder / "model.tflite"
    signed = folder / "signed.tflite"
    signed.write_bytes(ready(floats))
    quantizer = Quantizer(str(signed))
    quantizer.load_quantization_recipe(getattr(recipes, recipe)())
    found = quantizer.calibrate({SIGNATURE: list(model.calibration_feeds(floats))}) if calibrated else None
    content = quantizer.quantize(found).quantized_model
    if content is None:
        raise Refused("ai-edge-quantizer made nothing of it")
    out.write_bytes(bytes(content))
    return out


# Each by the name in the table, with what it was told.
TOOLS: dict[str, tuple[Callable[[Model, Path], Path], str]] = {
    "onnxruntime float32": (_onnx_float, "the original file"),
    "onnxruntime static": (_onnx_static, "quant_pre_process, quantize_static: S8S8 by tensor, min-max"),
    "onnxruntime static U8S8": (_onnx_static_tuned, "the same with unsigned activations, by channel"),
    "onnxruntime dynamic": (_onnx_dynamic, "quant_pre_process, quantize_dynamic"),
    "OpenVINO": (_openvino, "convert_model, save_model; LATENCY hint, its own choice of precision"),
    "OpenVINO by NNCF": (_nncf, "nncf.quantize, of transformers as such; LATENCY hint, its own choice of precision"),
    "LiteRT float32": (_litert_float, "onnx2tf through edgeopt's toolchain"),
    "LiteRT int8": (_litert_static, "the same, ai-edge-quantizer, recipe static_wi8_ai8"),
    "LiteRT dynamic": (_litert_dynamic, "the same, ai-edge-quantizer, recipe dynamic_wi8_afp32"),
}

# Those that could not be had, and why.
NOT_RUN = {
    "Olive": "its passes for ONNX call onnxruntime's own quantizers, whose files are here",
}


def run(task: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic() - _age_s()
    making = Making.model_validate(task)
    folder, tool = Path(making.folder), TOOLS[making.tool][0]
    folder.mkdir(parents=True, exist_ok=True)
    model = opened(making.model, Path(making.data), Path(making.scratch))
    os.chdir(folder)  # quant_pre_process leaves files where it is when it fails
    try:
        file = tool(model, folder)
    except (Refused, JobProblem) as why:
        raise BrokenModel(f"refused: {why}") from why
    except Exception as error:  # a tool throws whatever it likes at a model that it does not take
        raise BrokenModel(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    peak = max(resource.getrusage(of).ru_maxrss for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"file": str(file), "seconds": round(time.monotonic() - began, 1), "peak_mb": round(peak / 1024)}


def _age_s() -> float:
    """How long ago this process began."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    reply(run)
