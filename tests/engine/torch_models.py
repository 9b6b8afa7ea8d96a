"""Small PyTorch modules whose outputs a test can plan. Imported where PyTorch is installed alone; a test also hands the file
itself to workers, as a user's loader: it imports nothing of the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn


def save_program(module: nn.Module, example: np.ndarray, path: Path, batch: int | None = None) -> Path:
    """torch.export's archive of the module; `batch` None leaves its batch axis open."""
    samples = torch.from_numpy(np.concatenate([example] * (2 if batch is None else batch)))
    shapes = ({0: torch.export.Dim.DYNAMIC if batch is None else torch.export.Dim.STATIC},)
    torch.export.save(torch.export.export(module.eval(), (samples,), dynamic_shapes=shapes), path)
    return path


class Dense(nn.Module):
    """y = x @ weight + bias on x (N, d)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor(weight)), nn.Parameter(torch.tensor(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class Convolution(nn.Module):
    """A convolution without padding on images (N, channels, height, width)."""

    def __init__(self, kernel: np.ndarray, offset: np.ndarray):
        super().__init__()
        self.kernel, self.offset = nn.Parameter(torch.tensor(kernel)), nn.Parameter(torch.tensor(offset))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.conv2d(image, self.kernel, self.offset)


class Pixels(nn.Module):
    """Two classes of images (N, 3, 4, 4): batch norm and dropout, so that evaluation mode matters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.norm(self.conv(image)))
        return self.head(self.drop(features).mean((2, 3)))


class Signal(nn.Module):
    """Takes one channel of any length, in batches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return self.conv(signal).mean(dim=-1)


class Several(nn.Module):
    """Two inputs, of which one may be left out, and a dict with a tuple in it."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, object]:
        kept = ids.float() if mask is None else ids * mask
        return {"sum": kept.sum(1), "parts": (kept + 1, kept * 2)}


class Undecided(nn.Module):
    """Goes by its data: no graph without a branch is this model."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) if bool(x.sum() > 0) else -self.head(x)


class OneAtATime(nn.Module):
    """Takes a batch of one alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x).reshape(1, 2)


def with_examples() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return Undecided(), (torch.zeros(1, 3),)


def no_module() -> int:
    return 3
