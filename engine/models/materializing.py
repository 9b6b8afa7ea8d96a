"""`python -P -m edgeopt.engine.models.materializing TASK ANSWER`: a process that makes a model which says what it is fed of a
PyTorch file that does not (`materialize` starts it).

Of a module torch.export makes an exported program, with an open batch where the module has one; of one that it cannot
export, torch.jit.trace makes TorchScript. Either is held against the module itself on real samples.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..data.dataset import Dataset, open_evaluation
from ..data.guessing import guessed, stored_arrays
from ..measure.accuracy import batch_size
from ..problems import JobProblem
from ..runtimes.pytorch import PORTS_FILE, TORCH_ERRORS, as_array, numpy_name, open_session, output_names, tensor_leaves
from .checkpoint import Loaded, load_module
from .materialize import Made, Making
from .recurrent import teach_shapes

# Two, because torch.export takes an axis of one for fixed.
_TRACED = 2
_CHECKED = 8
# Of the largest output: what other kernels for the same arithmetic differ by, and no branch not taken.
_BOUND = 1e-4

Tensors = Sequence[torch.Tensor]


def make(task: Making) -> Made:
    """Writes the model beside `task.out`. Raises JobProblem."""
    file = Path(task.file)
    loaded = load_module(file, task.source)
    torch.set_num_threads(1)
    teach_shapes()
    with torch.no_grad():
        inputs, dataset = _fed(loaded, task)
        if loaded.script:
            return Made(path=str(_save_script(loaded.module, inputs, dataset, Path(f"{task.out}.pt"))))
        return _converted(loaded.module, inputs, dataset, task.out)


def _converted(module: nn.Module, inputs: list[TensorInfo], dataset: Dataset, out: str) -> Made:
    program, why_fixed = _exported(module, inputs, dataset)
    if program is not None:
        path = Path(f"{out}.pt2")
        torch.export.save(program, path)
        _check_same(module, path, inputs, dataset, "torch.export")
        note = f"the batch axis is fixed at 1: with another the model cannot be exported ({why_fixed})"
        return Made(path=str(path), notes=[note] if why_fixed else [])
    try:
        script: Any = torch.jit.trace(
            module, tuple(_samples(dataset, inputs, 0, _TRACED)), strict=False, check_trace=False
        )
    except Exception as error:
        raise JobProblem(
            "BAD_FILE",
            f"{untrusted(type(module).__name__)} can neither be exported nor traced, so it cannot be opened here. torch.export:"
            f" {why_fixed}. torch.jit.trace: {_reason(error)}. Export it yourself (torch.export.save) and open the .pt2",
        ) from error
    path = _save_script(script, inputs, dataset, Path(f"{out}.pt"))
    _check_same(module, path, inputs, dataset, "torch.jit.trace")
    return Made(
        path=str(path),
        notes=[f"the model was traced (torch.jit.trace), for torch.export cannot export it: {why_fixed}"],
    )


def _fed(loaded: Loaded, task: Making) -> tuple[list[TensorInfo], Dataset]:
    """What the module takes, and the data for it, once it has run on a sample. Raises JobProblem."""
    known = task.source.interface or loaded.examples
    inputs = task.source.interface.inputs if task.source.interface else _inputs(loaded, task)
    try:
        return inputs, _run_on(loaded.module, inputs, task)
    except JobProblem:
        # Inputs as the data have them: of samples that an adapter makes one value of, the second axis may be their rows.
        if known or not task.evaluation.adapter or any(len(info.shape) < 3 for info in inputs):
            raise
        of_rows = [info.model_copy(update={"shape": [info.shape[0], *info.shape[2:]]}) for info in inputs]
        with suppress(JobProblem):  # what is said of the samples as they are stands
            return of_rows, _run_on(loaded.module, of_rows, task)
        raise


def _run_on(module: nn.Module, inputs: list[TensorInfo], task: Making) -> Dataset:
    dataset = open_evaluation(task.evaluation, inputs, task.roots)
    _check_runs(module, _samples(dataset, inputs, 0, 1), [info.name for info in inputs])
    return dataset


def _inputs(loaded: Loaded, task: Making) -> list[TensorInfo]:
    """What the module takes, by the examples that came with it, else by the data."""
    required, optional = _parameters(loaded)
    if loaded.examples:
        names = [*required, *optional][: len(loaded.examples)]
        return [_info(name, example) for name, example in zip(names, loaded.examples, strict=True)]
    arrays = stored_arrays(task.evaluation.dataset_path)
    names = [*required, *(name for name in optional if name in arrays)]
    if not names:
        raise JobProblem(
            "BAD_FILE", f"{untrusted(type(loaded.module).__name__)}.forward() takes no inputs: nothing to feed it"
        )
    floats = next((t.dtype for t in loaded.module.parameters() if t.dtype.is_floating_point), torch.float32)
    return guessed(names, task.evaluation, task.roots, numpy_name(floats))


def _parameters(loaded: Loaded) -> tuple[list[str], list[str]]:
    """The names of forward()'s parameters: those that must be given, and those that may."""
    if loaded.script:
        arguments = list(loaded.module.forward.schema.arguments)[1:]  # pyright: ignore[reportFunctionMemberAccess]
        required = [a.name for a in arguments if not a.has_default_value()]
        return required, [a.name for a in arguments if a.has_default_value()]
    found = inspect.signature(loaded.module.forward).parameters.values()
    if any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in found):
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"{untrusted(type(loaded.module).__name__)}.forward() does not name its inputs: wrap it in a module whose forward()"
            " names each, and have the loader return that",
        )
    named = [p for p in found if p.kind != p.VAR_KEYWORD]
    return [p.name for p in named if p.default is p.empty], [p.name for p in named if p.default is not p.empty]


def _info(name: str, example: torch.Tensor) -> TensorInfo:
    shape: list[int | None] = [None, *example.shape[1:]] if example.ndim else []
    return TensorInfo(name=name, dtype=numpy_name(example.dtype), shape=shape)


def _samples(dataset: Dataset, inputs: list[TensorInfo], start: int, count: int) -> list[torch.Tensor]:
    """Feeds in the inputs' order; a set that is too small gives its samples more than once."""
    count = batch_size(inputs) if any(info.shape and info.shape[0] for info in inputs) else count
    rows = [dataset.feeds(index % len(dataset), index % len(dataset) + 1) for index in range(start, start + count)]
    return [torch.from_numpy(np.concatenate([row[info.name] for row in rows])) for info in inputs]


def _check_runs(module: nn.Module, samples: Tensors, names: list[str]) -> None:
    """JobProblem INVALID_ARGUMENT where the module does not take the data as it was prepared."""
    try:
        module(**dict(zip(names, samples, strict=True)))
    except Exception as error:
        fed = ", ".join(
            f"{untrusted(name)}: {numpy_name(s.dtype)} {list(s.shape)}" for name, s in zip(names, samples, strict=True)
        )
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"the model does not run on the evaluation data, fed as {fed}: {_reason(error)}. What does it take? Pass"
            " evaluation.preprocessing (resize, center_crop, layout, dtype) that makes it so, or have the loader return"
            " (module, (example input, ...))",
            ["evaluation.preprocessing"],
        ) from error


def _exported(module: nn.Module, inputs: list[TensorInfo], dataset: Dataset) -> tuple[ExportedProgram | None, str]:
    """The program with an open batch, else with one that is fixed, else None; and why not the first."""
    batches = [_TRACED, 1] if all(info.shape and info.shape[0] is None for info in inputs) else [1]
    why = ""
    for batch in batches:
        samples = _samples(dataset, inputs, 0, batch)
        shapes = {info.name: {0: Dim.DYNAMIC} if batch > 1 else None for info in inputs}
        try:
            return _export(module, samples, shapes), why
        except Exception as error:  # noqa: BLE001 (a stranger's module, and PyTorch's compilers, raise anything)
            why = why or _reason(error)
    return None, why


def _export(module: nn.Module, samples: Tensors, shapes: dict[str, Any]) -> ExportedProgram:
    positional = list(inspect.signature(module.forward).parameters)[: len(shapes)]
    if positional == list(shapes):
        return torch.export.export(module, tuple(samples), dynamic_shapes=shapes)
    return torch.export.export(module, (), dict(zip(shapes, samples, strict=True)), dynamic_shapes=shapes)


def _check_same(module: nn.Module, made: Path, inputs: list[TensorInfo], dataset: Dataset, how: str) -> None:
    """JobProblem OUTPUTS_DIFFER where what was made of the module computes something else: a trace has one branch of each."""
    names = [info.name for info in inputs]
    session = open_session(made, threads=1)
    for start in range(min(_CHECKED, len(dataset))):
        samples = _samples(dataset, inputs, start, 1)
        before = [as_array(tensor) for tensor in tensor_leaves(module(**dict(zip(names, samples, strict=True))))]
        if not _alike(before, session.run({name: s.numpy() for name, s in zip(names, samples, strict=True)})):
            raise JobProblem(
                "OUTPUTS_DIFFER",
                f"what {how} makes of {untrusted(type(module).__name__)} gives other outputs than the module itself on sample"
                f" {start}: it decides by its data, or is not in evaluation mode. Open an export of your own (.pt2)",
            )


def _alike(before: Sequence[np.ndarray], after: Sequence[Any]) -> bool:
    if [a.shape for a in before] != [a.shape for a in after]:
        return False
    for old, new in zip(before, after, strict=True):
        scale = float(np.max(np.abs(old), initial=0.0)) if old.dtype.kind == "f" else 0.0
        if not np.allclose(old, new, rtol=0, atol=_BOUND * scale, equal_nan=True):
            return False
    return True


def _save_script(module: Any, inputs: list[TensorInfo], dataset: Dataset, out: Path) -> Path:
    """TorchScript with its ports in the archive. Axes of outputs that follow the batch are open."""
    one = module(*_samples(dataset, inputs, 0, 1))
    shapes: list[list[int | None]] = [list(t.shape) for t in tensor_leaves(one)]
    try:
        more: list[list[int | None]] = [
            list(t.shape) for t in tensor_leaves(module(*_samples(dataset, inputs, 0, _TRACED)))
        ]
    except TORCH_ERRORS:
        more = []
    if len(more) == len(shapes):
        shapes = [
            [a if a == b else None for a, b in zip(*pair, strict=False)] for pair in zip(shapes, more, strict=True)
        ]
    else:
        inputs = [info.model_copy(update={"shape": [1, *info.shape[1:]]}) for info in inputs]
    names = output_names(pytree.tree_structure(one))
    dtypes = [numpy_name(t.dtype) for t in tensor_leaves(one)]
    outputs = [TensorInfo(name=n, dtype=d, shape=s) for n, d, s in zip(names, dtypes, shapes, strict=True)]
    ports = {"inputs": [i.model_dump() for i in inputs], "outputs": [o.model_dump() for o in outputs]}
    torch.jit.save(module, str(out), _extra_files={PORTS_FILE: json.dumps(ports)})
    return out


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # TorchScript says what failed below where it failed.
    return untrusted(lines[-1] if "TorchScript interpreter" in lines[0] else lines[0], 200)


def main(task: Path, answer: Path) -> None:
    try:
        made = make(Making.model_validate_json(task.read_bytes()))
    except JobProblem as found:
        made = Made(problem=found.problem)
    answer.write_text(made.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
