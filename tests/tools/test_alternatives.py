"""What else can be tried after a loss: steps that exist, in the variant's own format, gentlest last."""

from __future__ import annotations

import re

import pytest
from edgeopt.contract.measures import Artifact
from edgeopt.contract.steps import MAKES, Step
from edgeopt.tools.alternatives import LADDERS, alternatives
from pydantic import TypeAdapter

from ..state import worlds

STEP: TypeAdapter[Step] = TypeAdapter(Step)


def artifact(technique: str, **parameters: str) -> Artifact:
    changes = {"technique": technique, "parameters": parameters, "format": MAKES.get(technique, "onnx")}
    return worlds.artifact(1).model_copy(update=changes)


@pytest.mark.parametrize(("technique", "choice"), [(t, c) for t, ladder in LADDERS.items() for c in ladder])
def test_what_is_offered_for_other_formats_are_steps_of_the_contract(technique: str, choice: str):
    name = "quantization" if technique == "tflite" else "precision"
    STEP.validate_python({"technique": technique, name: choice})
    found = alternatives(artifact(technique, **{name: choice}), worlds.validation("FAIL"))
    assert found
    for offered in found:
        if chosen := re.match(r"(\w+) with (\w+)='(\w+)'", offered):
            STEP.validate_python({"technique": chosen[1], chosen[2]: chosen[3]})


def test_the_ladder_is_walked_down_from_where_the_variant_stands():
    def steps(choice: str) -> list[str]:
        found = alternatives(artifact("tflite", quantization=choice), worlds.validation("INCONCLUSIVE"))
        return [said.partition(":")[0] for said in found if said.startswith("tflite")]

    gentlest = "tflite with quantization='float32'"
    assert steps("int8") == ["tflite with quantization='dynamic'", "tflite with quantization='float16'", gentlest]
    assert steps("float16") == [gentlest]


def test_onnx_techniques_are_offered_for_onnx_variants_alone():
    for technique, choice in (("tflite", {"quantization": "int8"}), ("openvino", {"precision": "int8"})):
        said = " ".join(alternatives(artifact(technique, **choice), worlds.validation("FAIL")))
        assert "int8_static" not in said
        assert "graph_optimize" not in said
    assert "graph_optimize" in " ".join(alternatives(artifact("float16"), worlds.validation("FAIL")))


def test_nothing_is_offered_after_a_pass():
    assert alternatives(artifact("tflite", quantization="int8"), worlds.validation("PASS")) == []
