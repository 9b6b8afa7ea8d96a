"""OpenVINO's own format: an .xml, which is the variant's file, and the .bin with its numbers beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from ...contract.measures import Interface
from ...contract.steps import OpenVINO
from ..bench import Bench
from ..data.dataset import Dataset
from ..digests import file_digest
from ..explaining.openvino_layers import is_product
from ..models import model_file, openvino_ir
from ..models.openvino_ir import weights_path
from ..models.openvino_model import OpenVINOModel
from ..models.openvino_said import COMMITMENT, FLOAT_LAYERS
from ..runtimes.openvino import float_layers, options
from ..runtimes.openvino_quietly import ov
from .base import Made, refuse_unless_float32
from .openvino_ports import as_in

_STORED = (
    "the weights are stored in half precision and widened when the model is loaded: on a CPU it computes in float32 all"
    " the same, so that the file is half the size and the speed that of precision='fp32'"
)
_UNASKED = (
    "measured here in float32, as edgeopt asks of OpenVINO; an application that does not set inference_precision to f32"
    " gets bfloat16 on CPUs that have it, which is faster and less exact"
)
# A name that OpenVINO made up: an operator's type and a number that counts the process' operators.
_COUNTED = re.compile(r"\b([A-Z][A-Za-z0-9]*)_(\d+)(?!\d)")


def run(
    parent: Path, step: OpenVINO, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    source = model_file.open_file(parent)
    if step.precision != "fp32" or step.float_layers == "bfloat16":
        refuse_unless_float32(source.precision, f"openvino with precision={step.precision!r}")
    model = convert(source, bench.tmp)
    notes = []
    if step.precision == "int8":
        from . import openvino_quantizing  # which loads NNCF, and torch with it

        plain = bench.tmp / "plain.xml"
        ov.save_model(model, plain, compress_to_fp16=False)
        model, notes = openvino_quantizing.quantized(plain, step, calibration, interface, bench)
    ov.save_model(model, out, compress_to_fp16=step.precision == "fp16")
    settle(out, step.float_layers)
    made = OpenVINOModel(out).precision
    return Made(made, [*_notes(step, made, _computed_in(out)), *notes])


def convert(source: model_file.ModelFile, scratch: Path) -> ov.Model:
    """The model in OpenVINO's operators, with the source's inputs and outputs; files of its own go to `scratch`."""
    if source.format == "tensorflow":
        from . import openvino_tensorflow  # which loads TensorFlow

        return openvino_tensorflow.convert(source.path, scratch)
    return as_in(source.inputs, source.outputs, ov.convert_model(source.path))


def settle(out: Path, float_layers: str = "float32") -> None:
    """Makes the same model the same bytes, and the .xml answer for the .bin: who knows the one by its digest knows both. It
    also says what its layers in float are to compute in."""
    net = openvino_ir.read(out)
    _renumber(net)
    info = net.find("rt_info")
    info = SubElement(net, "rt_info") if info is None else info
    for parameters in info.findall("conversion_parameters"):  # where the parent lay
        info.remove(parameters)
    _say(info, COMMITMENT, file_digest(weights_path(out)).sha256)
    if float_layers != "float32":
        _say(info, FLOAT_LAYERS, float_layers)
    out.write_bytes(tostring(net, encoding="utf-8", xml_declaration=True))


def _say(info: Element, path: Sequence[str], value: str) -> None:
    element = info
    for name in path:
        found = element.find(name)
        element = SubElement(element, name) if found is None else found
    element.set("value", value)


def _renumber(net: Element) -> None:
    """Operators that OpenVINO named are numbered by their place in the file, and not by what the process had made before."""
    numbers: dict[str, dict[str, int]] = {}

    def renumbered(found: re.Match[str]) -> str:
        of_its_kind = numbers.setdefault(found[1], {})
        return f"{found[1]}_{of_its_kind.setdefault(found[2], len(of_its_kind))}"

    for layer in openvino_ir.layers(net):
        layer.set("name", _COUNTED.sub(renumbered, layer.get("name", "")))
        for attribute in layer.iterfind("rt_info/attribute"):
            if attribute.get("name") == "fused_names":
                attribute.set("value", _COUNTED.sub(renumbered, attribute.get("value", "")))


def _computed_in(path: Path) -> Counter[str]:
    """In which numbers the convolutions and matrix products of the compiled model compute here, and how many.

    By the names of their kernels: OpenVINO's `runtimePrecision` calls one f16 whose weights are only stored so.
    """
    core = ov.Core()
    model = core.read_model(path)
    compiled = core.compile_model(model, "CPU", options(1, float_layers(model)))
    said = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    kernels = [info["primitiveType"].value for info in said if is_product(info["layerType"].value)]
    return Counter(kernel.rpartition("_")[2].lower() for kernel in kernels)


def _notes(step: OpenVINO, made: str, computed_in: Counter[str]) -> list[str]:
    integer, all_of_them = computed_in["i8"] + computed_in["u8"], computed_in.total()
    in_integers = f"of its {all_of_them} convolutions and matrix products, {integer} run in 8 bits here"
    if step.float_layers == "bfloat16" and made != "int8":
        return [f"of its {all_of_them} convolutions and matrix products, {computed_in['bf16']} run in bfloat16 here"]
    if step.precision == "int8":
        return [in_integers] if made == "int8" else ["no operator of this model was quantized: nothing is in 8 bits"]
    if step.precision == "fp16":
        return [_STORED] if made == "fp16" else ["no weights of this model could be halved: they are in float32"]
    if made == "int8":
        return [
            f"the parent is quantized: its steps are kept, and OpenVINO rounds to them in its own way; {in_integers}"
        ]
    return [_UNASKED]
