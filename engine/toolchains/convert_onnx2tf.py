"""Runs in the toolchain onnx2tf alone: an ONNX model to a float32 .tflite file.

`python convert_onnx2tf.py TASK ANSWER`. The task: {model, out, shapes: by the name of an input}. Works in the current folder.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxsim
from onnx import numpy_helper

# What onnx2tf would fetch from the network where an image goes in: it only looks at the values that come out of them.
_IMAGES = "calibration_image_sample_data_20x128x128x3_float32.npy"
_GRAPH = "simplified.onnx"


def convert(task: dict[str, Any]) -> None:
    model = onnx.load(task["model"])
    # The converter's own call of it is a command of its environment that need not be on the path.
    simplified, _ = onnxsim.simplify(model, overwrite_input_shapes=task["shapes"])
    names = [output.name for output in simplified.graph.output]
    onnx.save(plainly_named(without_strides(simplified)), _GRAPH)
    np.save(_IMAGES, np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32))
    # Here, so that a graph that cannot be read costs no ten seconds of imports.
    import onnx2tf  # pyright: ignore[reportMissingImports]

    network = onnx2tf.convert(
        input_onnx_file_path=_GRAPH,
        not_use_onnxsim=True,
        disable_model_save=True,
        non_verbose=True,
        replace_to_pseudo_operators=["erf"],  # which TFLite has not: a polynomial that is off by 2e-7 at most
    )
    Path(task["out"]).write_bytes(tflite(network, names))


def plainly_named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its inputs and outputs under other names where these are not plain: of an output called `/a:0` onnx2tf
    makes none. Letters and digits stay, by which an input is known again."""
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    for number, value in enumerate([*graph.input, *graph.output]):
        if re.fullmatch(r"[A-Za-z0-9_.]+", value.name):
            continue
        plain = re.sub(r"[^A-Za-z0-9_.]", "_", value.name.partition(":")[0]).strip("_.") or "port"
        name, is_input = f"{plain}{number}" if plain in taken else plain, number < len(graph.input)
        taken.add(name)
        way = [value.name, name] if not is_input else [name, value.name]
        graph.node.insert(0 if is_input else len(graph.node), onnx.helper.make_node("Identity", way[:1], way[1:], name))
        value.name = name
    return model


def without_strides(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every Slice that skips or goes backwards said otherwise: onnx2tf 1.29 drops such a Slice, or has it
    leave the axes in another order than it thinks, without a word."""
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    sizes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        picks = picked(node, constants, sizes.get(node.input[0], [])) if node.op_type == "Slice" else {}
        nodes += (
            [node] if not picks else pooling(node, picks, sizes[node.input[0]], graph) or gathering(node, picks, graph)
        )
    del graph.node[:]
    graph.node.extend(nodes)
    return inferred


def picked(node: onnx.NodeProto, constants: Mapping[str, np.ndarray], sizes: Sequence[int]) -> dict[int, range]:
    """By axis, the indices that a Slice with strides picks; empty where it has none, where they are known at run time
    only, or where it picks nothing."""
    given = [constants[name] for name in node.input[1:] if name in constants]
    if not sizes or len(given) < 4 or (given[3] == 1).all() or any(sizes[axis] < 1 for axis in given[2]):
        return {}
    picks: dict[int, range] = {}
    for start, end, axis, step in zip(*(values.tolist() for values in given), strict=True):
        picks[axis % len(sizes)] = clipped(start, end, step, sizes[axis])
    return picks if all(picks.values()) else {}


def clipped(start: int, end: int, step: int, size: int) -> range:
    """As ONNX says: negative ones count from the end, then both are brought to where there is something to pick."""
    start, end = (value + size if value < 0 else value for value in (start, end))
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)


def pooling(
    node: onnx.NodeProto, picks: Mapping[int, range], sizes: Sequence[int], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """For rows and columns of pictures picked at a distance: those from the first to the last, where these are not all there
    are, and of them the maximum of one value each."""
    if len(sizes) != 4 or min(picks) < 2 or any(pick.step < 0 for pick in picks.values()):
        return []
    source, target, nodes = node.input[0], node.output[0], []
    if any(pick != range(0, sizes[axis], pick.step) for axis, pick in picks.items()):
        bounds = [pick[0] for pick in picks.values()], [pick[-1] + 1 for pick in picks.values()], list(picks)
        names = [f"{target}_{what}" for what in ("starts", "ends", "axes")]
        graph.initializer.extend(map(numpy_helper.from_array, map(np.array, bounds), names))
        nodes.append(onnx.helper.make_node("Slice", [source, *names], [f"{target}_cut"], f"{target}_cut"))
        source = f"{target}_cut"
    strides = [picks[axis].step if axis in picks else 1 for axis in (2, 3)]
    pool = onnx.helper.make_node("MaxPool", [source], [target], f"{target}_pool", kernel_shape=[1, 1], strides=strides)
    return [*nodes, pool]


def gathering(node: onnx.NodeProto, picks: Mapping[int, range], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """A Gather for every axis; their indices become constants of the graph."""
    source, nodes = node.input[0], []
    for axis, pick in picks.items():
        target = node.output[0] if axis == list(picks)[-1] else f"{node.output[0]}_{axis}"
        inputs = [source, f"{target}_indices"]
        graph.initializer.append(numpy_helper.from_array(np.array(pick, dtype=np.int64), inputs[1]))
        nodes.append(onnx.helper.make_node("Gather", inputs, [target], f"{target}_gather", axis=axis))
        source = target
    return nodes


def tflite(network: Any, outputs: Sequence[str]) -> bytes:
    """The network in TFLite's own operators, its outputs named as ONNX has them."""
    import tensorflow as tf

    def named(*values: Any) -> dict[str, Any]:
        given = list(values)
        answers = network(given if len(given) > 1 else given[0])
        return dict(zip(outputs, answers if isinstance(answers, list | tuple) else [answers], strict=True))

    specs = [tf.TensorSpec(port.shape, port.dtype, port.name.partition(":")[0]) for port in network.inputs]
    function = tf.function(named, input_signature=specs, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def reason(error: BaseException) -> str:
    """In one line: TensorFlow's converter prints the whole graph, and names the operators that TFLite lacks within."""
    text = str(error)
    if lacking := sorted(set(re.findall(r"tf\.(\w+)' op is neither a custom op nor a flex op", text))):
        return f"TFLite has no operator for what onnx2tf makes of it: {', '.join(lacking)}"
    return f"{type(error).__name__}: {text.strip().splitlines()[0] if text.strip() else 'without a word'}"


def main(given: Path, answer: Path) -> int:
    try:
        convert(json.loads(given.read_bytes()))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the converter's answer; onnx2tf exits where it gives up)
        traceback.print_exc()
        answer.write_text(json.dumps({"problem": reason(error)}), encoding="utf-8")
        return 1
    answer.write_text("{}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
