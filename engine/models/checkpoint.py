"""Modules of PyTorch out of files that hold weights, a pickled module or TorchScript. The user's code runs here: only in a
process that measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import nn

from ...contract.text import untrusted
from ..jobs import Source
from ..measure.user_code import load
from ..problems import JobProblem
from ..runtimes.pytorch import TORCH_ERRORS
from .formats import SAFETENSORS, TORCHSCRIPT, sniff

# Where training loops put the weights, when they save more than these.
_NESTED = ("state_dict", "model_state_dict", "model")
_MOST_NAMES = 5

Weights = Mapping[str, torch.Tensor]


class Loaded(NamedTuple):
    """A module in evaluation mode. `examples`: inputs that came with it, in the order of its parameters."""

    module: nn.Module
    examples: Sequence[torch.Tensor]
    script: bool


def load_module(file: Path, source: Source) -> Loaded:
    """Raises JobProblem: BAD_FILE where the file is not whole, or its weights are not those of the module; INVALID_ARGUMENT
    where the loader fails; SAME_DATASET where it has changed."""
    found = sniff(file)
    if found == TORCHSCRIPT:
        return _script(file)
    if source.loader is None:
        return Loaded(_unpickled(file), (), script=False)
    module, examples = _build(source)
    weights = _safetensors(file) if found == SAFETENSORS else _state_dict(file)
    _fill(module, weights, file)
    return Loaded(module.eval(), examples, script=False)


def _build(source: Source) -> tuple[nn.Module, Sequence[torch.Tensor]]:
    """What the loader makes: a module, or a module and examples of its inputs."""
    loader = load(source.loader, "loader")
    made = loader.made()
    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, ())
    examples = (examples,) if isinstance(examples, torch.Tensor) else examples
    if not isinstance(module, nn.Module):
        raise loader.wrong(f"gives a {type(module).__name__}", "a torch.nn.Module, or a pair of one and example inputs")
    if not isinstance(examples, tuple | list) or not all(isinstance(e, torch.Tensor) for e in examples):
        raise loader.wrong("gives other examples", "example inputs as a tuple of tensors, in the order of forward()")
    return module, examples


def _state_dict(file: Path) -> Weights:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise JobProblem(
            "BAD_FILE",
            f"{untrusted(file.name)} holds more than weights, and only weights are loaded (weights_only): save"
            f" model.state_dict() alone. {_first_line(error)}",
        ) from error
    except TORCH_ERRORS as error:
        raise _broken(file, error) from error
    if isinstance(content, dict) and not _is_weights(content):
        nested = [key for key in _NESTED if _is_weights(content.get(key))]
        content = content[nested[0]] if len(nested) == 1 else content
    if not _is_weights(content):
        kind = type(content).__name__
        raise JobProblem("BAD_FILE", f"{untrusted(file.name)} holds no state dict (names and tensors), but a {kind}")
    # As a module in nn.DataParallel names its weights.
    return {key.removeprefix("module."): t for key, t in content.items()} if _all_prefixed(content) else content


def _all_prefixed(weights: Weights) -> bool:
    return all(name.startswith("module.") for name in weights)


def _is_weights(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())
    )


def _safetensors(file: Path) -> Weights:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise JobProblem(
            "UNAVAILABLE", "safetensors is not installed, which reads these weights: pip install safetensors"
        ) from error
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise _broken(file, error) from error


def _fill(module: nn.Module, weights: Weights, file: Path) -> None:
    """Loads the weights, all of them and none but them, as load_state_dict sees it: it knows what old files lack."""
    try:
        missing, unexpected = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).splitlines()[1 : 1 + _MOST_NAMES]]
        raise _other_weights(file, module, "; ".join(untrusted(line, 300) for line in shapes)) from error
    if missing or unexpected:
        wrong = [_named("it lacks", missing), _named("it has, and the module has not,", unexpected)]
        raise _other_weights(file, module, "; ".join(part for part in wrong if part))


def _other_weights(file: Path, module: nn.Module, how: str) -> JobProblem:
    return JobProblem(
        "BAD_FILE",
        f"the weights of {untrusted(file.name)} are not those of {untrusted(type(module).__name__)}, which the loader makes:"
        f" {how}. Give the loader of the module that they were saved from",
    )


def _named(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{what} {', '.join(untrusted(name) for name in names[:_MOST_NAMES])}{more}"


def _unpickled(file: Path) -> nn.Module:
    """A whole module. Whatever code its author put there runs now: it is for whoever has the operator's leave."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=False)
    except (UnpicklingError, ImportError, *TORCH_ERRORS) as error:
        raise _broken(
            file,
            error,
            ". Its classes must be importable; a state dict and loader='file.py:function' need no such thing",
        ) from error
    if not isinstance(content, nn.Module):
        raise JobProblem(
            "BAD_FILE",
            f"{untrusted(file.name)} holds no module, but a {type(content).__name__}: which module do its weights go into? Give"
            " loader='file.py:function'",
            ["loader"],
        )
    return content.eval()


def _script(file: Path) -> Loaded:
    try:
        module = torch.jit.load(str(file), map_location="cpu")
    except TORCH_ERRORS as error:
        raise _broken(file, error) from error
    return Loaded(module.eval(), (), script=True)


def _broken(file: Path, error: Exception, more: str = "") -> JobProblem:
    return JobProblem("BAD_FILE", f"{untrusted(file.name)} does not load in PyTorch: {_first_line(error)}{more}")


def _first_line(error: Exception) -> str:
    return untrusted(next(iter(str(error).splitlines()), type(error).__name__), 300)
