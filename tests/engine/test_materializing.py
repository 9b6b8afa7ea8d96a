"""Models made of weights, pickles and TorchScript: by the user's loader, from the session's data, in a process apart."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, UserCode
from edgeopt.engine.jobs import Inspect, Source
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import Runner, open_runner

from .runtime_models import rows
from .small_models import make_bench

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from edgeopt.engine.models.materialize import materialized  # noqa: E402

from . import torch_models  # noqa: E402
from .torch_sources import images, made, tensors, trained  # noqa: E402

LOADERS = Path(torch_models.__file__)


def code(function: str, file: Path = LOADERS) -> UserCode:
    return UserCode(path=str(file), function=function, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def saved(module: Any, path: Path, content: Any = None) -> Path:
    torch.save(module.state_dict() if content is None else content, path)
    return path


def runner_of(file: Path, evaluation: Evaluation, **source: Any) -> Runner:
    return open_runner(made(file, evaluation, **source).path)


def refused(code_: str, words: str, file: Path, evaluation: Evaluation, **source: Any) -> None:
    with pytest.raises(JobProblem, match=words) as found:
        made(file, evaluation, **source)
    assert found.value.problem.code == code_


def computes(runner: Runner, module: Any, x: np.ndarray) -> None:
    with torch.no_grad():
        wanted = module(torch.from_numpy(x)).numpy()
    (name,) = [info.name for info in runner.inputs]
    np.testing.assert_allclose(runner.run({name: x})["output_0"], wanted, rtol=1e-4, atol=1e-5)


# By a worker's own road


def test_a_task_works_on_a_model_that_was_made_of_weights_and_loader(tmp_path: Path):
    pixels, bench = trained(torch_models.Pixels()), make_bench(tmp_path)
    file = saved(pixels, tmp_path / "pixels.pt")
    task = Inspect(model_path=str(file), evaluation=images(tmp_path), calibration_path=None, roots=[str(tmp_path)])
    changed = materialized(task, Source(loader=code("Pixels")), bench)
    assert isinstance(changed, Inspect)
    made_of = Path(changed.model_path)
    assert made_of.is_relative_to(bench.tmp)
    assert (made_of.name, bench.source_of(made_of)) == ("pixels.pt2", file)
    assert open_file(made_of).inputs[0].shape == [None, 3, 4, 4]
    computes(open_runner(made_of), pixels, np.random.default_rng(1).random((3, 3, 4, 4), np.float32))


def test_without_leave_nothing_runs(tmp_path: Path):
    marker, bench = tmp_path / "ran", make_bench(tmp_path)

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    task = Inspect(
        model_path=str(tmp_path / "evil.pt"), evaluation=tensors(tmp_path), calibration_path=None, roots=[str(tmp_path)]
    )
    for source in (None, Source()):
        with pytest.raises(JobProblem, match="--allow-user-code") as found:
            materialized(task, source, bench)
        assert found.value.problem.code == "UNTRUSTED_CODE"
    refused(
        "BAD_FILE", "does not load|more than weights", tmp_path / "evil.pt", tensors(tmp_path), loader=code("Undecided")
    )
    assert not marker.exists()


def test_a_loader_that_ends_the_process_is_a_problem_and_no_crash(tmp_path: Path):
    (tmp_path / "loader.py").write_text("import os\n\ndef leave():\n    os._exit(3)\n")
    file = saved(torch.nn.Linear(3, 2), tmp_path / "net.pt")
    task = Inspect(model_path=str(file), evaluation=tensors(tmp_path), calibration_path=None, roots=[str(tmp_path)])
    with pytest.raises(JobProblem, match="exit status 3") as found:
        materialized(task, Source(loader=code("leave", tmp_path / "loader.py")), make_bench(tmp_path))
    assert found.value.problem.code == "BAD_FILE"


# Weights and loaders


def test_samples_of_several_rows_are_taken_apart_for_a_module_that_takes_rows(tmp_path: Path):
    signal = trained(torch_models.Signal())
    windows = np.random.default_rng(0).random((5, 6, 1, 12), np.float32)
    np.savez(tmp_path / "reads.npz", inputs=windows, labels=np.arange(5))
    evaluation = Evaluation(dataset_path=str(tmp_path / "reads.npz"), metric="top1", adapter="code.py:join")
    file = saved(signal, tmp_path / "signal.pt")
    runner = runner_of(file, evaluation, loader=code("Signal"))
    assert runner.inputs[0].shape == [None, 1, 12]
    computes(runner, signal, windows[2])
    alone = evaluation.model_copy(update={"adapter": None})
    refused("INVALID_ARGUMENT", "does not run on the evaluation data", file, alone, loader=code("Signal"))


def test_weights_are_found_where_training_loops_put_them(tmp_path: Path):
    pixels, evaluation = trained(torch_models.Pixels()), images(tmp_path)
    weights = pixels.state_dict()
    parallel = OrderedDict((f"module.{name}", tensor) for name, tensor in weights.items())
    x = np.random.default_rng(1).random((2, 3, 4, 4), np.float32)
    for number, content in enumerate(({"state_dict": weights, "epoch": 3}, {"model": parallel, "lr": 0.1}, parallel)):
        file = saved(None, tmp_path / f"{number}.pt", content)
        computes(runner_of(file, evaluation, loader=code("Pixels")), pixels, x)


def test_safetensors_hold_weights_too(tmp_path: Path):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    pixels = trained(torch_models.Pixels())
    safetensors.save_file(pixels.state_dict(), tmp_path / "net.safetensors")
    x = np.random.default_rng(1).random((2, 3, 4, 4), np.float32)
    computes(runner_of(tmp_path / "net.safetensors", images(tmp_path), loader=code("Pixels")), pixels, x)


def test_weights_of_another_module_are_named(tmp_path: Path):
    pixels = torch_models.Pixels().state_dict()
    file = saved(None, tmp_path / "net.pt", {name: t for name, t in pixels.items() if name != "head.bias"})
    refused("BAD_FILE", "lacks head.bias", file, images(tmp_path), loader=code("Pixels"))
    file = saved(None, tmp_path / "net.pt", pixels | {"extra": torch.ones(1)})
    refused("BAD_FILE", "the module has not, extra", file, images(tmp_path), loader=code("Pixels"))
    file = saved(None, tmp_path / "net.pt", pixels | {"head.weight": torch.ones(5, 8)})
    refused("BAD_FILE", r"head.weight.*\[5, 8\]", file, images(tmp_path), loader=code("Pixels"))


def test_loaders_that_give_something_else_are_at_fault(tmp_path: Path):
    file, evaluation = saved(torch.nn.Linear(3, 2), tmp_path / "net.pt"), tensors(tmp_path)
    refused("INVALID_ARGUMENT", "gives a int", file, evaluation, loader=code("no_module"))
    refused("INVALID_ARGUMENT", "no such function", file, evaluation, loader=code("nobody"))
    refused("INVALID_ARGUMENT", "missing 2 required positional", file, evaluation, loader=code("Dense"))
    other = code("Undecided").model_copy(update={"sha256": "0" * 64})
    refused("SAME_DATASET", "has changed", file, evaluation, loader=other)


def test_a_whole_module_is_unpickled_by_leave(tmp_path: Path):
    module = trained(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()))
    torch.save(module, tmp_path / "whole.pt")
    computes(runner_of(tmp_path / "whole.pt", tensors(tmp_path), allow_pickle=True), module, rows(4))
    file = saved(module, tmp_path / "weights.pt")
    refused("BAD_FILE", "loader='file.py:function'", file, tensors(tmp_path), allow_pickle=True)


# What it is fed


def test_inputs_are_those_that_forward_names_and_the_data_has(tmp_path: Path):
    torch.save(torch_models.Several(), tmp_path / "several.pt")
    ids, mask = np.arange(24).reshape(8, 3), np.ones((8, 3), np.float32)
    for arrays in ({"ids": ids}, {"ids": ids, "mask": mask}):
        np.savez(tmp_path / "data.npz", allow_pickle=False, **arrays, labels=np.zeros(8), other=np.zeros(8))
        evaluation = Evaluation(dataset_path=str(tmp_path / "data.npz"), metric="top1")
        runner = runner_of(tmp_path / "several.pt", evaluation, allow_pickle=True)
        assert {info.name: info.dtype for info in runner.inputs} == {n: a.dtype.name for n, a in arrays.items()}
    np.savez(tmp_path / "data.npz", other=ids, labels=np.zeros(8))
    refused("BAD_FILE", "arrays named after the model's inputs", tmp_path / "several.pt", evaluation, allow_pickle=True)


def test_data_that_the_model_does_not_take_is_a_question(tmp_path: Path):
    file = saved(torch_models.Undecided(), tmp_path / "net.pt")
    refused(
        "INVALID_ARGUMENT", "float32 .1, 3, 4, 4.*What does it take", file, images(tmp_path), loader=code("Undecided")
    )
    unscaled = images(tmp_path).model_copy(update={"preprocessing": None})
    file = saved(torch_models.Pixels(), tmp_path / "net.pt")
    refused("INVALID_ARGUMENT", "are pixels scaled by 1/255", file, unscaled, loader=code("Pixels"))


def test_a_later_job_goes_by_the_recorded_interface(tmp_path: Path):
    pixels, evaluation = trained(torch_models.Pixels()), images(tmp_path)
    file = saved(pixels, tmp_path / "net.pt")
    first = open_file(Path(made(file, evaluation, loader=code("Pixels")).path))
    interface: Any = {"inputs": first.inputs, "outputs": first.outputs}
    second = open_file(Path(made(file, evaluation, loader=code("Pixels"), interface=interface).path))
    assert (first.inputs, first.outputs, first.graph) == (second.inputs, second.outputs, second.graph)


# What cannot be exported


def test_a_model_that_goes_by_its_data_is_not_passed_off_as_a_trace(tmp_path: Path):
    file = saved(torch_models.Undecided(), tmp_path / "net.pt")
    refused("OUTPUTS_DIFFER", "decides by its data", file, tensors(tmp_path), loader=code("with_examples"))


def test_a_model_of_one_sample_is_exported_with_that_batch_and_says_so(tmp_path: Path):
    module = trained(torch_models.OneAtATime())
    answer = made(saved(module, tmp_path / "net.pt"), tensors(tmp_path), loader=code("OneAtATime"))
    assert "batch axis is fixed at 1" in answer.notes[0]
    computes(open_runner(answer.path), module, rows(1))


# TorchScript


def test_torchscript_learns_what_it_is_fed_and_keeps_its_branches(tmp_path: Path):
    module = trained(torch_models.Undecided())
    torch.jit.script(module).save(tmp_path / "net.pt")
    answer = made(tmp_path / "net.pt", tensors(tmp_path))
    runner, file = open_runner(answer.path), open_file(Path(answer.path))
    assert [(i.name, i.dtype, i.shape) for i in runner.inputs] == [("x", "float32", [None, 3])]
    assert [(o.name, o.shape) for o in runner.outputs] == [("output_0", [None, 2])]
    assert (file.inputs, file.outputs, file.parameters) == (runner.inputs, runner.outputs, 8)
    assert file.operators["aten::linear"] == 2
    for x in (rows(1), -rows(1), rows(5)):
        computes(runner, module, x)


def test_torchscript_that_says_nothing_of_its_inputs_is_not_fed(tmp_path: Path):
    torch.jit.script(torch_models.Undecided()).save(tmp_path / "net.pt")
    assert open_file(tmp_path / "net.pt").inputs == []
    with pytest.raises(JobProblem, match="does not record what it is fed"):
        open_runner(tmp_path / "net.pt")
