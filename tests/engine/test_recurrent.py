"""Recurrent layers are exported without being run step by step, and as what they are."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from edgeopt.engine.models.recurrent import teach_shapes  # noqa: E402
from torch._subclasses import FakeTensorMode  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _taught() -> None:
    teach_shapes()
    teach_shapes()


LAYERS = {
    "gru": lambda **how: torch.nn.GRU(5, 7, **how),
    "lstm": lambda **how: torch.nn.LSTM(5, 7, **how),
    "lstm with projections": lambda **how: torch.nn.LSTM(5, 7, proj_size=3, **how),
    "rnn": lambda **how: torch.nn.RNN(5, 7, nonlinearity="relu", **how),
}


def laid_out(outputs: Any) -> list[tuple[Any, ...]]:
    return [(t.shape, t.stride(), t.dtype) for t in torch.utils._pytree.tree_leaves(outputs)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("how", [{}, {"batch_first": True}, {"bidirectional": True, "num_layers": 2}])
def test_stand_ins_have_the_shapes_and_strides_of_the_real_outputs(layer: str, how: dict[str, Any]):
    module = LAYERS[layer](**how).eval()
    x = torch.randn(4, 6, 5)
    with torch.no_grad():
        wanted = laid_out(module(x))
        with FakeTensorMode() as mode:
            stand_in = LAYERS[layer](**how).eval()
            assert laid_out(stand_in(mode.from_tensor(x))) == wanted


@pytest.mark.parametrize("layer", LAYERS)
def test_an_export_keeps_the_layer_whole_and_computes_the_same(layer: str):
    module = LAYERS[layer](batch_first=True).eval()
    x = torch.randn(3, 50, 5)
    with torch.no_grad():
        program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        operators = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        assert [name.split(".")[1] for name in operators if name.endswith(".input")] in (
            ["gru"],
            ["lstm"],
            ["rnn_relu"],
        )
        other = torch.randn(2, 50, 5)
        torch.testing.assert_close(program.module()(other)[0], module(other)[0])
