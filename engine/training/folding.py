"""Batch norm folded into the layer before it, as it is when a trained model runs."""

from __future__ import annotations

from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_norms(module: fx.GraphModule) -> int:
    """Folds in place every batch norm that alone reads a convolution or a linear layer; how many there were."""
    module.eval()
    folded = 0
    for node in list(module.graph.nodes):
        norm, before = _layer(module, node), node.args[0] if node.args else None
        if not isinstance(norm, _NORMS) or not isinstance(before, fx.Node) or len(before.users) != 1:
            continue
        layer: Any = _layer(module, before)
        if isinstance(layer, _CONVOLUTIONS):
            fused: nn.Module = fuse_conv_bn_eval(layer, norm)  # pyright: ignore[reportArgumentType, reportAssignmentType]
        elif isinstance(layer, nn.Linear):
            fused = fuse_linear_bn_eval(layer, norm)  # pyright: ignore[reportArgumentType]
        else:
            continue
        module.set_submodule(str(before.target), fused)
        node.replace_all_uses_with(before)
        module.graph.erase_node(node)
        folded += 1
    module.delete_all_unused_submodules()
    module.recompile()
    return folded


def _layer(module: nn.Module, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None
