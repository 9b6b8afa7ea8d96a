"""Unstructured pruning: single weights set to zero, where they are smallest in the whole model.

It makes a file that compresses better, and by dense kernels nothing faster: they multiply by zeros as by anything.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from torch import nn

from ...contract.measures import Interface
from ...contract.steps import PruneUnstructured
from ..bench import Bench
from ..problems import JobProblem
from ..training.loop import Course, Recipe, fit
from ..training.network import Tensors, open_network
from .base import Made

LEARNING_RATE = 1e-4

_PRUNED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def train(
    parent: Path, step: PruneUnstructured, out: Path, course: Course | None, interface: Interface, bench: Bench
) -> Made:
    """Zeroes the step's share of the weights of convolutions and linear layers, by magnitude over all of them (Han et al.
    2015, arXiv:1506.02626), trains the others where the step says so, and writes an exported program.

    Raises JobProblem UNAVAILABLE where the model cannot be trained, or has no such layer.
    """
    network = open_network(parent, step.technique)
    layers = [module for module in network.module.modules() if isinstance(module, _PRUNED)]
    if not layers:
        raise JobProblem(
            "UNAVAILABLE", "prune_unstructured zeroes weights of convolutions and linear layers; this model has none"
        )
    weights = [layer.weight for layer in layers]
    before = _compressed(weights)
    masks = _masks(weights, step.sparsity)

    def hold() -> None:
        with torch.no_grad():
            for weight, mask in zip(weights, masks, strict=True):
                weight.mul_(mask)

    hold()
    notes = _sizes(weights, before)
    if course is not None and step.finetune_epochs:
        fitted = fit(network.module, course, Recipe(step.finetune_epochs, LEARNING_RATE), after_step=hold)
        notes += fitted.notes(step.finetune_epochs)
    network.saved(out, course.example() if course else network.anything())
    return Made("fp32", notes)


def _masks(weights: Tensors, sparsity: float) -> list[torch.Tensor]:
    """1 for what stays: of all weights together the smallest go, exactly as many as asked."""
    sizes = torch.cat([weight.detach().abs().ravel() for weight in weights])
    mask = torch.ones_like(sizes)
    mask[torch.argsort(sizes, stable=True)[: round(sparsity * len(sizes))]] = 0
    parts = mask.split([weight.numel() for weight in weights])
    return [part.reshape(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def _compressed(weights: Tensors) -> int:
    """Bytes, as an archive (zlib) would hold them."""
    return sum(len(zlib.compress(weight.detach().numpy().tobytes(), 6)) for weight in weights)


def _sizes(weights: Tensors, before: int) -> list[str]:
    zeros, total = sum(int((weight == 0).sum()) for weight in weights), sum(weight.numel() for weight in weights)
    return [
        f"{zeros:,} of {total:,} weights of convolutions and linear layers are zero ({zeros / total:.1%})",
        f"compressed (zlib) these weights take {_compressed(weights):,} bytes instead of {before:,}; the file itself is as"
        " large as before",
        "no faster: the kernels here are dense and multiply by zeros too. For speed take prune_structured",
    ]
