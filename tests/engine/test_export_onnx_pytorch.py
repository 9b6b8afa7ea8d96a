"""ONNX of PyTorch's models: the same names, an open batch, the same numbers, and nothing of the machine that wrote it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.measures import Interface
from edgeopt.contract.steps import ExportOnnx
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner

from .runtime_models import BIAS, WEIGHT, rows
from .small_models import make_bench

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("onnxscript", reason="the extra torch is not installed")

from edgeopt.engine.techniques import export_onnx  # noqa: E402

from . import torch_models  # noqa: E402
from .torch_sources import made, tensors, trained  # noqa: E402


def export(parent: Path, folder: Path, opset: int | None = None) -> Path:
    (folder / "job").mkdir()
    file = open_file(parent)
    step, interface = (
        ExportOnnx(technique="export_onnx", opset=opset),
        Interface(inputs=file.inputs, outputs=file.outputs),
    )
    out = folder / "out.onnx"
    assert export_onnx.run(parent, step, out, None, interface, make_bench(folder / "job")).precision == "fp32"
    return out


def same(parent: Path, out: Path, x: np.ndarray) -> None:
    (name,) = [info.name for info in open_file(parent).inputs]
    before, after = open_runner(parent).run({name: x}), open_runner(out).run({name: x})
    assert list(before) == list(after)
    for output in before:
        np.testing.assert_allclose(after[output], before[output], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = np.random.default_rng(0).random((1, 3, 4, 4), np.float32)
    path = tmp_path_factory.mktemp("pixels") / "pixels.pt2"
    return torch_models.save_program(trained(torch_models.Pixels()), image, path)


@pytest.fixture(scope="module")
def exported(pixels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(pixels, tmp_path_factory.mktemp("exported"))


def test_the_interface_stays_and_so_do_the_numbers(pixels: Path, exported: Path):
    source, made_of_it = open_file(pixels), open_file(exported)
    assert (made_of_it.inputs, made_of_it.outputs) == (source.inputs, source.outputs)
    assert made_of_it.inputs[0].shape == [None, 3, 4, 4]
    assert made_of_it.check([]) == []
    for batch in (1, 2, 5):
        same(pixels, exported, np.random.default_rng(batch).random((batch, 3, 4, 4), np.float32))


def test_the_same_program_gives_the_same_bytes_and_none_of_its_authors_paths(
    pixels: Path, exported: Path, tmp_path: Path
):
    content = exported.read_bytes()
    assert export(pixels, tmp_path).read_bytes() == content
    for trace in (b"site-packages", b"torch_models", b".py", str(Path.home()).encode()):
        assert trace not in content
    model = onnx.load(exported)
    assert not model.metadata_props and not any(node.metadata_props for node in model.graph.node)


def test_the_opset_is_the_one_that_was_asked_for_or_is_refused(tmp_path: Path):
    parent = torch_models.save_program(torch_models.Dense(WEIGHT, BIAS), rows(1), tmp_path / "dense.pt2")
    for opset in (18, 21):
        (tmp_path / str(opset)).mkdir()
        out = export(parent, tmp_path / str(opset), opset)
        assert open_file(out).opset == opset
        same(parent, out, rows(3))
    for opset in (11, 99):
        (tmp_path / str(opset)).mkdir()
        with pytest.raises(JobProblem, match="opsets 18 to") as found:
            export(parent, tmp_path / str(opset), opset)
        assert found.value.problem.code == "UNAVAILABLE"


def test_torchscript_keeps_its_branches_in_onnx(tmp_path: Path):
    torch.jit.script(trained(torch_models.Undecided())).save(tmp_path / "net.pt")
    parent = Path(made(tmp_path / "net.pt", tensors(tmp_path)).path)
    out = export(parent, tmp_path)
    assert "If" in open_file(out).operators
    for x in (rows(1), -rows(1), rows(4)):
        same(parent, out, x)
    (tmp_path / "new").mkdir()
    with pytest.raises(JobProblem, match="opsets 1 to 20"):
        export(parent, tmp_path / "new", 21)
