"""Small nets that are trained in the test: points in a plane as tiny images, so that seconds suffice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CLASSES, SIZE = 4, 8


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 1, 8, 8) with a bright blot in one of four corners, in noise; the corner is the label."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = draw.normal(0, 0.6, (count, 1, SIZE, SIZE)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[0, row : row + 4, column : column + 4] += draw.uniform(0.6, 1.2)
    return images, labels.astype(np.int64)


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))


class Residual(nn.Module):
    """A stem, a residual block, pooling, a classifier."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.block = Block(width)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(width * 16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.block(functional.relu(self.norm(self.stem(x)))))
        return self.head(torch.flatten(x, 1))


class Shifted(nn.Module):
    """A shortcut that pads channels on both sides, as the ResNets of CIFAR-10 have: pruning shifts what it adds."""

    def __init__(self):
        super().__init__()
        self.narrow = nn.Conv2d(1, 16, 3, padding=1)
        self.inner = nn.Conv2d(16, 32, 3, padding=1)
        self.wide = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.narrow(x))
        padded = functional.pad(x, (0, 0, 0, 0, 8, 8))
        x = functional.relu(padded + self.wide(functional.relu(self.inner(x))))
        return self.head(x.mean((2, 3)))


@cache
def learned(make: Callable[[], nn.Module] = Residual, epochs: int = 4) -> dict[str, Any]:
    """The weights of such a net after some training: the same at every call."""
    torch.manual_seed(0)
    net = make()
    images, labels = (torch.from_numpy(a) for a in samples(512, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for at in range(0, len(images), 32):
            optimizer.zero_grad()
            functional.cross_entropy(net(images[at : at + 32]), labels[at : at + 32]).backward()
            optimizer.step()
    return net.eval().state_dict()


def exported(net: nn.Module, path: Path, example: torch.Tensor | None = None) -> Path:
    """Saved as an exported program with an open batch."""
    given = torch.zeros(2, 1, SIZE, SIZE) if example is None else example
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(net.eval(), (given,), dynamic_shapes=shapes), path)
    return path


def trained(path: Path, make: Callable[[], nn.Module] = Residual, epochs: int = 4) -> Path:
    net = make()
    net.load_state_dict(learned(make, epochs))
    return exported(net, path)


def data(path: Path, count: int, seed: int, **changes: Any) -> Path:
    inputs, labels = samples(count, seed)
    np.savez(path, allow_pickle=False, **({"inputs": inputs, "labels": labels} | changes))
    return path
