"""OpenVINO: files that lie, and the technique that makes its format of others."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation
from edgeopt.contract.measures import Interface
from edgeopt.contract.steps import TAKES, Float16, Int8Static, OpenVINO, claims_exact
from edgeopt.engine import optimizing
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.explaining.kernels import has_bfloat16
from edgeopt.engine.jobs import Optimize, Optimized, Pinned, PinnedFile
from edgeopt.engine.models.formats import sniff
from edgeopt.engine.models.model_file import ModelFile, open_file
from edgeopt.engine.pinned import on_copies
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.catalog import missing, version
from edgeopt.engine.runtimes.runner import open_runner

from .image_models import convnet, evaluation, image_set, save
from .runtime_models import CONVOLUTION, DENSE, images, rows
from .small_models import make_bench
from .tiny_models import real
from .tiny_models import save as save_nodes

if missing("openvino") or version("nncf") is None:
    pytest.skip("openvino and nncf are not both installed: pip install 'edgeopt[openvino]'", allow_module_level=True)

from edgeopt.engine.explaining import openvino_layers
from edgeopt.engine.packaging import infer_openvino
from edgeopt.engine.runtimes.openvino_quietly import ov
from edgeopt.engine.techniques.openvino import convert, settle
from edgeopt.engine.techniques.openvino_quantizing import has_attention
from onnx import TensorProto, helper
from openvino import opset13 as ops

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Workshop:
    """A small ONNX model, its data, and what the technique made of it."""

    folder: Path

    @cached_property
    def parent(self) -> str:
        return save(convnet(), self.folder / "net.onnx")

    @cached_property
    def data(self) -> Evaluation:
        return evaluation(self.folder / "data.npz")

    @cached_property
    def calibration(self) -> str:
        return image_set(self.folder / "calib.npz", 32, seed=8)

    @cached_property
    def interface(self) -> Interface:
        source = open_file(Path(self.parent))
        return Interface(inputs=source.inputs, outputs=source.outputs)

    @cached_property
    def made(self) -> dict[Precision, tuple[Optimized, Path]]:
        kinds: tuple[Precision, ...] = ("fp32", "fp16", "int8")
        return {kind: self.run(OpenVINO(technique="openvino", precision=kind), f"once_{kind}") for kind in kinds}

    def run(
        self, step: OpenVINO | Int8Static | Float16, place: str, parent: str | Path | None = None
    ) -> tuple[Optimized, Path]:
        work = self.folder / place
        work.mkdir()
        task = Optimize(
            parent_path=str(parent or self.parent),
            step=step,
            file_stem="made",
            interface=self.interface,
            evaluation=self.data,
            calibration_path=self.calibration,
        )
        made = optimizing.run(task, make_bench(work))
        return made, work / "files" / made.file.name

    def outputs(self, path: str | Path) -> np.ndarray:
        runner = open_runner(path, interface=self.interface)
        return runner.run(open_evaluation(self.data, self.interface.inputs).feeds(0, 40))["scores"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("openvino"))


KINDS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_is_an_xml_and_its_bin_with_the_parents_interface(shop: Workshop, kind: Precision):
    made, path = shop.made[kind]
    assert (made.format, made.precision, made.changed) == ("openvino", kind, True)
    assert made.file.name == "made.xml"
    assert [file.name for file in made.companions] == ["made.bin"]
    file = open_file(path)
    assert (file.inputs, file.outputs) == (shop.interface.inputs, shop.interface.outputs)
    assert file.check([]) == []
    assert file.framework.startswith(f"OpenVINO {version('openvino')}")
    assert {entry.name for entry in path.parent.iterdir()} - {"progress.jsonl"} == {"made.xml", "made.bin"}


def test_float32_computes_what_the_parent_does(shop: Workshop):
    _, path = shop.made["fp32"]
    np.testing.assert_allclose(shop.outputs(path), shop.outputs(shop.parent), rtol=1e-4, atol=1e-5)


def test_the_others_compute_nearly_what_the_parent_does(shop: Workshop):
    exact = shop.outputs(shop.parent)
    halved, rounded = (shop.outputs(shop.made[kind][1]) for kind in ("fp16", "int8"))
    assert 0 < np.abs(halved - exact).max() < 0.002 * np.abs(exact).max()
    assert np.abs(rounded - exact).max() > 0
    assert np.mean(rounded.argmax(axis=1) == exact.argmax(axis=1)) > 0.9


def test_what_really_runs_is_said(shop: Workshop):
    notes = {kind: " ".join(made.notes) for kind, (made, _) in shop.made.items()}
    assert "float32" in notes["fp32"] and "bfloat16" in notes["fp32"]
    assert "stored in half precision" in notes["fp16"] and "computes in float32" in notes["fp16"]
    assert "of its 3 convolutions and matrix products, 3 run in 8 bits" in notes["int8"]
    assert "32 samples, and all were used (256 asked for)" in notes["int8"]
    for _, path in shop.made.values():
        assert open_runner(path).name.endswith(", f32")


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16_is_asked_for_by_name_and_stays_with_the_file(shop: Workshop, tmp_path: Path):
    made, path = shop.run(OpenVINO(technique="openvino", precision="fp16", float_layers="bfloat16"), "bfloat16")
    assert made.precision == "bf16"
    assert "of its 3 convolutions and matrix products, 3 run in bfloat16 here" in " ".join(made.notes)
    assert open_runner(path).name.endswith(", bf16")
    exact, halved = shop.outputs(shop.parent), shop.outputs(path)
    assert 0.0002 * np.abs(exact).max() < np.abs(halved - exact).max() < 0.05 * np.abs(exact).max()
    for suffix in (".xml", ".bin"):
        shutil.copy(path.with_suffix(suffix), tmp_path / f"model{suffix}")
    session = infer_openvino.Session(tmp_path / "model.xml", 1)
    assert session.runtime.endswith(", bf16")
    assert infer_openvino.Session(shop.made["fp32"][1], 1).runtime.endswith(", f32")


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_8_bits_with_bfloat16_beside_them_are_8_bits(shop: Workshop):
    step = OpenVINO(technique="openvino", precision="int8", float_layers="bfloat16", calibration_samples=8)
    made, path = shop.run(step, "int8_bfloat16")
    assert made.precision == "int8"
    assert "3 run in 8 bits here" in " ".join(made.notes)
    assert open_runner(path).name.endswith(", bf16")
    assert infer_openvino.Session(path, 1).runtime.endswith(", bf16")


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_float32_with_bfloat16_layers_claims_nothing(shop: Workshop):
    step = OpenVINO(technique="openvino", precision="fp32", float_layers="bfloat16")
    assert not claims_exact(step.technique, step.model_dump())
    assert claims_exact("openvino", OpenVINO(technique="openvino", precision="fp32").model_dump())


@pytest.mark.parametrize(("kind", "asked", "runs"), [("int8", "int8", "int8"), ("fp16", "fp16", "fp32")])
def test_the_counters_say_what_runs(shop: Workshop, kind: Precision, asked: Literal["int8", "fp16"], runs: str):
    feeds = open_evaluation(shop.data, shop.interface.inputs).feeds(0, 1)
    path = shop.made[kind][1]
    native = open_runner(path, interface=shop.interface).native(feeds)
    found = openvino_layers.runs_as(path, asked, [native], 1)
    assert found is not None
    assert (found.asked, found.runs) == (asked, runs)


def test_a_half_is_half_the_size_and_eight_bits_a_quarter(shop: Workshop):
    weights = {kind: made.companions[0].bytes for kind, (made, _) in shop.made.items()}
    assert weights["fp16"] < 0.6 * weights["fp32"]
    assert weights["int8"] < 0.6 * weights["fp32"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_input_gives_the_same_bytes(shop: Workshop, kind: Precision):
    """In a process that has made other models before, which OpenVINO counts in the names that it gives."""
    made, path = shop.made[kind]
    again, other = shop.run(OpenVINO(technique="openvino", precision=kind), f"again_{kind}")
    assert path.read_bytes() == other.read_bytes()
    assert (made.file, made.companions) == (again.file, again.companions)


def test_the_xml_answers_for_the_bin(shop: Workshop, tmp_path: Path):
    """Whoever knows a variant by the digest of its .xml alone knows its weights too, and OpenVINO loads it."""
    made, path = shop.made["int8"]
    digest = hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()
    assert f'<weights_sha256 value="{digest}"' in path.read_text()
    assert ov.Core().read_model(path).get_rt_info(["edgeopt", "weights_sha256"]).value == digest
    fewer, other = shop.run(OpenVINO(technique="openvino", precision="int8", calibration_samples=16), "fewer")
    assert fewer.file.sha256 != made.file.sha256
    shopped = tmp_path / "made.xml"
    shopped.write_bytes(path.read_bytes())
    shopped.with_suffix(".bin").write_bytes(other.with_suffix(".bin").read_bytes())
    with pytest.raises(JobProblem, match=r"made\.bin is not the file that made\.xml was written with"):
        open_file(shopped).check([])


@pytest.mark.parametrize("step", [Int8Static(technique="int8_static"), Float16(technique="float16")])
def test_what_is_rounded_is_not_rounded_again(shop: Workshop, step: Int8Static | Float16):
    _, rounded = shop.run(step, step.technique)
    for kind in ("fp16", "int8"):
        with pytest.raises(JobProblem, match="does not apply to a parent that is") as found:
            shop.run(OpenVINO(technique="openvino", precision=kind), f"{step.technique}_{kind}", rounded)
        assert found.value.problem.code == "UNAVAILABLE"


def test_a_quantized_parent_stays_quantized(shop: Workshop):
    _, rounded = shop.run(Int8Static(technique="int8_static"), "static")
    made, path = shop.run(OpenVINO(technique="openvino", precision="fp32"), "of_static", rounded)
    assert made.precision == "int8"
    gap = np.abs(shop.outputs(path) - shop.outputs(rounded)).max()
    assert gap < 0.05 * np.abs(shop.outputs(shop.parent)).max()


def test_a_fixed_batch_stays_fixed(shop: Workshop):
    parent = save(convnet(batch=4), shop.folder / "four.onnx")
    for kind in KINDS:
        _, path = shop.run(OpenVINO(technique="openvino", precision=kind), f"four_{kind}", parent)
        assert open_runner(path).inputs[0].shape == [4, 3, 8, 8]


@pytest.mark.parametrize("format", sorted(set(TAKES["openvino"]) & set(CONVOLUTION)))
def test_whatever_it_takes_computes_the_same(tmp_path: Path, format: str):
    """Names, axes and numbers are those of the source, in each of its formats."""
    if lacking := missing(format):
        pytest.skip(lacking)
    for make, batch in ((DENSE[format], rows(3)), (CONVOLUTION[format], images(3))):
        folder = tmp_path / str(batch.ndim)
        folder.mkdir()
        source = open_file(make(folder, None))
        path = converted(source, folder)
        made = open_file(path)
        assert (made.inputs, made.outputs) == (source.inputs, source.outputs)
        (taken,), (given,) = source.inputs, source.outputs
        values = (batch if taken.shape[1] == batch.shape[1] else batch.transpose(0, 2, 3, 1))[: taken.shape[0]]
        before, now = (open_runner(one).run({taken.name: values})[given.name] for one in (source.path, path))
        np.testing.assert_allclose(now, before, rtol=1e-5, atol=1e-6)


def converted(source: ModelFile, folder: Path) -> Path:
    path = folder / "converted.xml"
    ov.save_model(convert(source, folder), path, compress_to_fp16=False)
    settle(path)
    return path


def attention(path: Path) -> Path:
    """x (N, 4, 8) weighted by the softmax of its own inner products."""
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["queries"]),
        helper.make_node("Transpose", ["x"], ["keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["queries", "keys"], ["products"]),
        helper.make_node("Softmax", ["products"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "x"], ["y"]),
    ]
    shape = (TensorProto.FLOAT, ["N", 4, 8])
    return Path(save_nodes(path, nodes, {"x": shape}, {"y": shape}, {"q": np.eye(8, dtype=np.float32)}))


def ends_in_softmax(path: Path) -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["s"]), helper.make_node("Softmax", ["s"], ["y"], axis=-1)]
    shape = (TensorProto.FLOAT, ["N", 8])
    return Path(save_nodes(path, nodes, {"x": shape}, {"y": shape}, {"w": np.eye(8, dtype=np.float32)}))


def test_a_transformer_is_known_by_its_attention(tmp_path: Path):
    """It is ruined where NNCF is not told."""
    for make, expected in ((attention, True), (ends_in_softmax, False)):
        source = open_file(make(tmp_path / f"{make.__name__}.onnx"))
        assert has_attention(convert(source, tmp_path)) is expected


def test_weights_among_the_graph_inputs_are_no_inputs(tmp_path: Path):
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    shape = (TensorProto.FLOAT, ["N", 2])
    weights = {"w": np.full(2, 3, np.float32)}
    path = save_nodes(tmp_path / "m.onnx", [node], {"x": shape}, {"y": shape}, weights, weights_as_inputs=True)
    made = converted(open_file(Path(path)), tmp_path)
    assert [info.name for info in open_file(made).inputs] == ["x"]
    assert open_runner(made).run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[3, 3]]


@pytest.mark.parametrize(
    "name",
    ["ic_resnet8_cifar10_int8_ref", "vww_mobilenet_96_int8_ref", "kws_dscnn_int8_ref", "ad_autoencoder_int8_ref"],
)
def test_integers_that_stand_for_real_numbers_become_real_numbers(tmp_path: Path, name: str):
    """The source is fed and read as the integers that it holds; the IR has no place for their scale."""
    if lacking := missing("tflite"):
        pytest.skip(lacking)
    source = open_file(Path(real(f"mlperf_tiny/{name}.tflite")))
    path = converted(source, tmp_path)
    made = open_file(path)
    assert made.precision == "int8"
    assert [info.quantization for info in (*made.inputs, *made.outputs)] == [None, None]
    (taken,), (given,) = source.inputs, source.outputs
    assert taken.quantization is not None and given.quantization is not None
    steps = np.random.default_rng(0).uniform(-140, 140, [8, *(size or 1 for size in taken.shape[1:])])
    values = ((steps - taken.quantization.zero_point) * taken.quantization.scale).astype(np.float32)
    before, now = (open_runner(one).run({taken.name: values})[given.name] for one in (source.path, path))
    assert np.ptp(before) > 10 * given.quantization.scale
    assert np.abs(now - before).mean() < 0.02 * np.ptp(before)  # the runtimes round what lies between differently


def test_a_variant_is_copied_with_its_bin_before_it_is_opened(shop: Workshop, tmp_path: Path):
    made, path = shop.made["fp16"]
    files = [(path, made.file.sha256), (path.with_suffix(".bin"), made.companions[0].sha256)]
    pinned = Pinned(code="VARIANT_CHANGED", files=[PinnedFile(path=str(p), sha256=sha) for p, sha in files])
    task = Optimize(
        parent_path=str(path),
        step=OpenVINO(technique="openvino"),
        file_stem="x",
        evaluation=shop.data,
        calibration_path=None,
    )
    copied = on_copies(task, [pinned], tmp_path)
    assert isinstance(copied, Optimize) and copied.parent_path != str(path)
    np.testing.assert_array_equal(shop.outputs(copied.parent_path), shop.outputs(path))


# Files that lie.


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return CONVOLUTION["openvino"](tmp_path, None)


def bad(path: Path, words: str) -> None:
    with pytest.raises(JobProblem, match=words) as found:
        open_file(path).check([])
    assert found.value.problem.code == "BAD_FILE"


def test_a_bin_that_is_absent_or_cut_is_named(model: Path):
    weights = model.with_suffix(".bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    bad(model, r"needs \d+ bytes and convolution\.bin holds \d+")
    weights.write_bytes(b"")
    bad(model, r"needs \d+ bytes and convolution\.bin holds 0")
    weights.unlink()
    bad(model, r"keeps its weights in convolution\.bin beside it, and that file is missing")
    for read in (lambda: open_file(model).weights, lambda: open_file(model).graph):
        with pytest.raises(JobProblem, match="missing"):
            read()
    with pytest.raises(JobProblem, match=r"convolution\.xml") as found:
        open_runner(model)
    assert found.value.problem.code == "BAD_FILE"


def test_a_bin_that_a_link_leads_elsewhere_is_not_read(model: Path, tmp_path: Path):
    place = tmp_path / "elsewhere"
    place.mkdir()
    weights = model.with_suffix(".bin")
    (place / "convolution.bin").write_bytes(weights.read_bytes())
    weights.unlink()
    inner = tmp_path / "inner"
    inner.mkdir()
    moved = inner / model.name
    moved.write_bytes(model.read_bytes())
    moved.with_suffix(".bin").symlink_to(place / "convolution.bin")
    with pytest.raises(JobProblem, match="outside the allowed roots") as found:
        open_file(moved).check([])
    assert found.value.problem.code == "PATH_NOT_ALLOWED"
    assert open_file(moved).check([str(place)]) == []


BOMB = '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa">{}]><net name="&z;" version="11"><layers/><edges/></net>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            BOMB.format(
                "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghz", strict=True))
            ),
            "document type",
        ),
        ('<?xml version="1.0"?><!DOCTYPE net SYSTEM "file:///etc/hostname"><net version="11"></net>', "document type"),
        ('<?xml version="1.0"?><note>a <net </note>', "not a whole OpenVINO IR"),
        ('<?xml version="1.0"?><note><net version="11"><layers/><edges/></net></note>', "holds no graph"),
        ('<?xml version="1.0"?><net version="11"><layers/></net>', "holds no graph"),
        (
            '<?xml version="1.0" encoding="no-such"?><net version="11"><layers/><edges/></net>',
            "not a whole OpenVINO IR",
        ),
        ('<?xml version="1.0"?><net version="11"><layers/><edges/></net>', "has no inputs"),
        ('<?xml version="1.0"?><project><target/></project>', "without the <net>"),
    ],
)
def test_other_xml_is_refused_in_words(tmp_path: Path, text: str, words: str):
    path = tmp_path / "m.xml"
    path.write_text(text)
    bad(path, words)


BROKEN: dict[str, Callable[[str], str]] = {
    "is no number": lambda text: text.replace('size="', 'size="many', 1),
    "negative": lambda text: text.replace('offset="', 'offset="-1', 1),
    "connected to nothing": lambda text: text[: text.index("<edges>")] + "<edges></edges></net>",
    "says nothing of its data": lambda text: text.replace("<data element_type", "<date element_type", 1),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_graph_that_makes_no_sense_is_refused_in_words(model: Path, words: str):
    model.write_text(BROKEN[words](model.read_text()))
    with pytest.raises(JobProblem, match=words) as found:
        file = open_file(model)
        assert file.check([]) or file.outputs
    assert found.value.problem.code == "BAD_FILE"


def test_an_ir_is_known_by_its_content(model: Path, tmp_path: Path):
    other = tmp_path / "renamed.dat"
    other.write_bytes(model.read_bytes())
    assert sniff(other).format == "openvino"
    (tmp_path / "pom.xml").write_text("<project/>")
    assert sniff(tmp_path / "pom.xml").format == "unknown"


def test_comments_and_places_do_not_change_what_is_computed(model: Path, tmp_path: Path):
    again = tmp_path / "again.xml"
    text = model.read_text().replace('<net name="', '<net name="another ').replace("</net>", "<!-- a note --></net>")
    again.write_text(text)
    again.with_suffix(".bin").write_bytes(model.with_suffix(".bin").read_bytes())
    assert open_file(again).graph == open_file(model).graph
    turned = bytearray(again.with_suffix(".bin").read_bytes())
    turned[3] ^= 1
    again.with_suffix(".bin").write_bytes(turned)
    assert open_file(again).graph != open_file(model).graph
    assert open_file(again).weights != open_file(model).weights


def save_ir(results: list[Any], parameters: list[Any], path: Path) -> None:
    ov.save_model(ov.Model(results, parameters, "made by hand"), path)  # pyright: ignore[reportGeneralTypeIssues]


def test_without_constants_there_is_no_bin(tmp_path: Path):
    x = ops.parameter([-1, 3], ov.Type.f32, name="x")
    save_ir([ops.relu(x)], [x], tmp_path / "m.xml")
    (tmp_path / "m.bin").unlink()
    file = open_file(tmp_path / "m.xml")
    assert file.check([]) == []
    assert (file.parameters, file.weights, file.files) == (0, "", [(tmp_path / "m.xml").resolve()])


def test_ports_are_read_as_the_runtime_has_them(tmp_path: Path):
    count = ops.parameter([-1, 2], ov.Type.u8, name="count")
    count.output(0).get_tensor().set_names({"b,1", "c d"})
    bounded = ops.parameter(ov.PartialShape([ov.Dimension(1, 8), 3]), ov.Type.f32)
    sums = ops.add(bounded, ops.constant(np.ones((1, 3), np.float32)))
    wide = ops.convert(count, "f64")
    save_ir([sums, wide, ops.greater(count, count)], [count, bounded], tmp_path / "m.xml")
    file, runner = open_file(tmp_path / "m.xml"), open_runner(tmp_path / "m.xml")
    assert file.inputs == runner.inputs
    assert file.outputs == runner.outputs
    assert [info.dtype for info in file.outputs] == ["float32", "float64", "bool"]
    assert file.inputs[0].name == "b,1"


def test_a_process_that_runs_openvino_tells_nobody():
    code = "import edgeopt.engine.techniques.openvino_quantizing, sys; print([m for m in sys.modules if 'telemetry.' in m])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in ast.literal_eval(said.stdout) if name.startswith("openvino_telemetry")] == []


def test_threads_on_cores_of_their_own_compute_the_same(tmp_path: Path):
    path = DENSE["openvino"](tmp_path, 2)
    one, two = (open_runner(path, threads).run({"x": rows(2)})["y"] for threads in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_there_are_two_threads_though_the_caller_is_held_to_one_core(tmp_path: Path):
    """As the measuring processes hold it: OpenVINO by itself would compute in one thread then, and say nothing."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process may use one core only")
    path = DENSE["openvino"](tmp_path, 2)
    said = subprocess.run([sys.executable, "-c", THREADS, str(path)], capture_output=True, text=True, check=True)
    first, _, caller, threads = ast.literal_eval(said.stdout)
    assert (caller, threads) == ([first], 2)


THREADS = """
import os, sys
from pathlib import Path
import numpy as np
from edgeopt.engine.measure.cores import cores_for
from edgeopt.engine.runtimes import openvino
with cores_for(2) as cores:
    session = openvino.open_session(Path(sys.argv[1]), 2, cores)
    session.run({session.inputs[0].name: np.ones((2, 3), np.float32)})
    session.call({session.inputs[0].name: np.ones((2, 3), np.float32)})()
    says = session._request.get_compiled_model().get_property
    caller = sorted(os.sched_getaffinity(0))
    print([*cores, caller, says("INFERENCE_NUM_THREADS")])
"""
