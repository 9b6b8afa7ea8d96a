"""PyTorch's files: what each is, what an exported program says of itself, and what may not be loaded."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.engine.models.formats import EXPORTED_PROGRAM, TORCHSCRIPT, is_only_a_source, sniff
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner

from .runtime_models import BIAS, WEIGHT, dense, rows
from .tiny_models import real

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from edgeopt.engine.models.exported_program import ExportedArchive  # noqa: E402

from . import torch_models  # noqa: E402


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "dense.pt2"
    return torch_models.save_program(torch_models.Dense(WEIGHT, BIAS), rows(1), path)


# What a file is


def _save(name: str, content: Any, **how: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(content, folder / name, **how)
        return folder / name

    return write


def _script(folder: Path) -> Path:
    torch.jit.script(torch_models.Undecided()).save(folder / "net.pt")
    return folder / "net.pt"


def _cut(folder: Path) -> Path:
    whole = _script(folder).read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    return folder / "cut.pt"


def _tar_of_old(folder: Path) -> Path:
    (folder / "old.pth").write_bytes(b"sys_info\0".ljust(512, b"\0"))
    return folder / "old.pth"


WEIGHTS = torch.nn.Linear(3, 2).state_dict()
OLD = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize(
    ("make", "pickled"),
    [
        (_save("weights.pt", WEIGHTS), True),
        (_save("weights.bin", WEIGHTS), True),
        (_save("weights.th", WEIGHTS, **OLD), True),
        (_save("module.pt", torch.nn.Linear(3, 2)), True),
        (_save("module.model", torch.nn.Linear(3, 2), **OLD), True),
        (_script, False),
        (_cut, True),
        (_tar_of_old, True),
    ],
)
def test_weights_pickles_and_torchscript_are_told_apart_by_their_bytes(
    tmp_path: Path, make: Callable[[Path], Path], pickled: bool
):
    found = sniff(make(tmp_path))
    assert (found.format, found.pickle, is_only_a_source(found)) == ("pytorch", pickled, True)
    assert (found == TORCHSCRIPT) == (make is _script)


def test_an_exported_program_is_known_under_any_name(program: Path, tmp_path: Path):
    other = tmp_path / "model.bin"
    other.write_bytes(program.read_bytes())
    assert sniff(program) == sniff(other) == EXPORTED_PROGRAM
    assert not is_only_a_source(EXPORTED_PROGRAM)


# What an exported program says of itself


def test_inputs_and_outputs_have_names_that_stay(tmp_path: Path):
    ids, mask = torch.arange(6).reshape(2, 3), torch.ones(2, 3)
    open_axis = {0: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(
        torch_models.Several(), (ids,), {"mask": mask}, dynamic_shapes={"ids": open_axis, "mask": open_axis}
    )
    torch.export.save(exported, tmp_path / "several.pt2")
    runner = open_runner(tmp_path / "several.pt2")
    assert [(i.name, i.dtype, i.shape) for i in runner.inputs] == [
        ("ids", "int64", [None, 3]),
        ("mask", "float32", [None, 3]),
    ]
    given = {"ids": np.array([[1, 2, 3]]), "mask": np.array([[1, 0, 2]], np.float32)}
    outputs = runner.run(given)
    assert list(outputs) == ["sum", "parts.0", "parts.1"]
    np.testing.assert_array_equal(outputs["sum"], [7])
    np.testing.assert_array_equal(outputs["parts.1"], [[2, 0, 12]])
    file = open_file(tmp_path / "several.pt2")
    assert (file.inputs, file.outputs) == (runner.inputs, runner.outputs)
    ExportedArchive(tmp_path / "several.pt2").refuse_code()


def test_an_input_that_was_left_out_is_not_asked_for(tmp_path: Path):
    torch.export.save(torch.export.export(torch_models.Several(), (torch.ones(2, 3), None)), tmp_path / "one.pt2")
    runner = open_runner(tmp_path / "one.pt2")
    assert [info.name for info in runner.inputs] == ["ids"]
    np.testing.assert_array_equal(runner.run({"ids": np.ones((2, 3), np.float32)})["sum"], [3, 3])


def test_half_floats_that_numpy_has_not_are_fed_and_read_as_float32(tmp_path: Path):
    module = torch_models.Dense(WEIGHT, BIAS).to(torch.bfloat16)
    torch.export.save(torch.export.export(module, (torch.ones(2, 3, dtype=torch.bfloat16),)), tmp_path / "bf16.pt2")
    runner = open_runner(tmp_path / "bf16.pt2")
    assert [info.dtype for info in (*runner.inputs, *runner.outputs)] == ["float32", "float32"]
    np.testing.assert_allclose(runner.run({"x": rows(2)})["output_0"], dense(rows(2)), rtol=0.05, atol=0.05)
    assert open_file(tmp_path / "bf16.pt2").precision == "fp16"


def test_a_fixed_batch_and_training_mode_are_noted(tmp_path: Path):
    fixed = torch_models.save_program(torch_models.Dense(WEIGHT, BIAS), rows(1), tmp_path / "fixed.pt2", batch=4)
    assert "batch axis is fixed at 4" in open_file(fixed).check([])[0]
    torch.export.save(
        torch.export.export(torch_models.Pixels().train(), (torch.ones(2, 3, 4, 4),)), tmp_path / "training.pt2"
    )
    assert any("training mode" in note for note in open_file(tmp_path / "training.pt2").check([]))


@pytest.mark.parametrize(
    "name",
    ["cifar10/resnet20_cifar10.pt2", "imagenet/squeezenet1_1_imagenet.pt2", "nanopore/squigglenet_gru48.pt2"],
)
def test_real_programs_hold_nothing_but_data(name: str):
    path = Path(real(name))
    ExportedArchive(path).refuse_code()
    file = open_file(path)
    assert file.check([]) == []
    assert file.inputs[0].shape[0] is None
    assert (file.parameters or 0) > 50_000


# What may not be loaded


class _Evil:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(members: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _member(members: dict[str, bytes], end: str) -> str:
    return next(name for name in members if name.endswith(end))


def _edited(members: dict[str, bytes], end: str, edit: Callable[[Any], None]) -> dict[str, bytes]:
    """The archive with one of its JSON members changed."""
    name = _member(members, end)
    content = json.loads(members[name])
    edit(content)
    return members | {name: json.dumps(content).encode()}


def _sample_inputs(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    return members | {_member(members, "sample_inputs/model.pt"): pickle.dumps(_Evil(marker), protocol=2)}


def _symbol(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    def edit(program: Any) -> None:
        size = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]["as_expr"]
        size["expr_str"] = (
            f"__import__('pathlib').Path({str(marker)!r}).touch() or Symbol('s77', positive=True, integer=True)"
        )

    return _edited(members, "model.json", edit)


def _pickled_weight(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    def edit(config: Any) -> None:
        config["config"]["weight"]["use_pickle"] = True

    weight = next(name for name in members if name.endswith("weight_0"))
    return _edited(members, "model_weights_config.json", edit) | {weight: pickle.dumps(_Evil(marker), protocol=2)}


def _opaque_constant(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    def edit(config: Any) -> None:
        config["config"]["c"] = {
            "path_name": "opaque_obj_0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }

    constants = _member(members, "model_constants_config.json")
    hidden = constants.replace("model_constants_config.json", "opaque_obj_0")
    return _edited(members, "model_constants_config.json", edit) | {hidden: pickle.dumps(_Evil(marker))}


def _node(key: str, value: Any) -> Callable[[dict[str, bytes], Path], dict[str, bytes]]:
    def change(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
        def edit(program: Any) -> None:
            program["graph_module"]["graph"]["nodes"][0][key] = value

        return _edited(members, "model.json", edit)

    return change


def _structure(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    spec = {
        "type": "builtins.dict",
        "context": '[{"__enum__": true, "fqn": "antigravity:x", "name": "y"}]',
        "children_spec": [],
    }

    def edit(program: Any) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, spec])

    return _edited(members, "model.json", edit)


def _guard(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    return _edited(
        members, "model.json", lambda program: program.update(guards_code=["open('/etc/passwd').read() == 1"])
    )


def _compiled(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    root = next(iter(members)).split("/")[0]
    return members | {f"{root}/data/aotinductor/model/x.so": b"\x7fELF"}


def _twins(members: dict[str, bytes], marker: Path) -> dict[str, bytes]:
    name = _member(members, "models/model.json")
    return members | {name.replace("model.json", "MODEL.json"): members[name]}


# That these run in PyTorch 2.13 is shown below; the others are refused for what they could reach.
RUN_WHEN_LOADED = [_sample_inputs, _symbol, _pickled_weight, _opaque_constant]
ATTACKS = [
    *RUN_WHEN_LOADED,
    _node("target", "torch.os.system"),
    _node("target", "torch.ops.aten.from_file.default"),
    _node("target", "torch.ops.load_library"),
    _node("target", "_operator.attrgetter"),
    _node("name", "x\nimport os"),
    _structure,
    _guard,
    _compiled,
    _twins,
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_program_that_could_run_its_authors_code_is_refused(
    program: Path, tmp_path: Path, attack: Callable[[dict[str, bytes], Path], dict[str, bytes]]
):
    marker = tmp_path / "ran"
    hostile = _write(attack(_members(program), marker), tmp_path / "hostile.pt2")
    with pytest.raises(JobProblem) as found:
        ExportedArchive(hostile).refuse_code()
    assert found.value.problem.code == "UNTRUSTED_CODE"
    assert "--allow-pickle" in found.value.problem.message
    assert not marker.exists()


@pytest.mark.parametrize("attack", RUN_WHEN_LOADED)
def test_these_attacks_are_real(
    program: Path, tmp_path: Path, attack: Callable[[dict[str, bytes], Path], dict[str, bytes]]
):
    marker = tmp_path / "ran"
    hostile = _write(attack(_members(program), marker), tmp_path / "hostile.pt2")
    try:
        torch.export.load(str(hostile))
    except Exception as error:  # noqa: BLE001 (what loading ends in is not the point)
        assert str(error)
    assert marker.exists()


def test_an_archive_that_was_only_written_anew_is_let_through(program: Path, tmp_path: Path):
    again = _write(_members(program), tmp_path / "again.pt2")
    ExportedArchive(again).refuse_code()
    np.testing.assert_allclose(open_runner(again).run({"x": rows(3)})["output_0"], dense(rows(3)), rtol=1e-5)


@pytest.mark.parametrize("drop", ["models/model.json", "model_weights_config.json", "weight_0"])
def test_an_archive_that_lacks_a_member_is_a_bad_file(program: Path, tmp_path: Path, drop: str):
    members = _members(program)
    del members[_member(members, drop)]
    broken = _write(members, tmp_path / "broken.pt2")
    with pytest.raises(JobProblem) as found:
        ExportedArchive(broken).refuse_code()
        open_file(broken)
    assert found.value.problem.code == "BAD_FILE"
    assert "broken.pt2" in found.value.problem.message
