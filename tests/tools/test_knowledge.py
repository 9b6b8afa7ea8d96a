"""search_knowledge: any text is answered, the right page comes first, and the answer stays small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from edgeopt.tools.knowledge import BUDGET, fitted, shortened
from edgeopt.tools.library import Found, collections, index, match_expression, pages
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from .agents import ERAS, Agent, at, settings

# 2,000 tokens of o200k are over 6,400 characters, of code and JSON too.
LONGEST = 6_400
ASKED = {
    "int8 accuracy collapse on mobilenet": "edge_ai/garbage-output.md",
    "TensorRT 11 fp16 flag removed": "edge_ai/tensorrt.md",
    "AttributeError: type object 'tensorrt.BuilderFlag' has no attribute 'FP16'": "edge_ai/tensorrt.md",
    "why is my INT8 model slower than float32?": "edge_ai/int8-is-not-faster.md",
    "latency target not met after all optimizations": "edge_ai/int8-is-not-faster.md",
    "how many calibration samples do I need": "edge_ai/calibration.md",
    "random noise calibration data": "edge_ai/calibration.md",
    "is my raspberry pi throttling": "edge_ai/raspberry-pi.md",
    "nvpmodel jetson_clocks power mode": "edge_ai/jetson.md",
    "unstructured pruning gives no speedup": "edge_ai/pruning.md",
    "fp16 NaN layernorm overflow": "edge_ai/float16-and-bfloat16.md",
    "u8s8 saturation without VNNI reduce_range": "edge_ai/cpu-with-and-without-vnni.md",
    "edge tpu compiler part of the model runs on the CPU": "edge_ai/coral-edge-tpu.md",
    "P99 with 100 iterations": "edge_ai/benchmarking.md",
    "INCONCLUSIVE more samples needed": "edge_ai/accuracy-statistics.md",
    "torch.export constraint violated dynamic batch": "edge_ai/invalid-export-and-format-errors.md",
    "engine build device memory is insufficient": "edge_ai/engine-build-failure.md",
    "NNCF accuracy control max_drop": "edge_ai/sensitivity-and-mixed-precision.md",
    "ai-edge-quantizer renamed litert-quantizer": "edge_ai/conversion-pipelines.md",
    "BGR RGB mean std wrong preprocessing": "python/preprocessing-with-numpy.md",
    "intra_op_num_threads spinning": "python/onnxruntime-sessions.md",
    "picamera2 newest frame queue drop": "code_examples/camera-loop.md",
    "knowledge distillation temperature": "edge_ai/distillation.md",
    "QAT catastrophic forgetting learning rate": "edge_ai/quantization-aware-training.md",
}


@pytest.mark.parametrize(("question", "page"), ASKED.items())
def test_real_questions_find_the_page_that_answers_them(question: str, page: str):
    assert page in [found.page.path for found in index().search(question, limit=3)]


def test_most_real_questions_find_it_first():
    first = [index().search(question, limit=1)[0].page.path == page for question, page in ASKED.items()]
    assert sum(first) >= 0.75 * len(first)


@given(
    query=st.text(min_size=1, max_size=500), collection=st.sampled_from([None, "edge_ai", "python", "code_examples"])
)
@example(query='"', collection=None)
@example(query="a AND (b OR NEAR(c d, 2)) NOT e* ^f {g h} : i - j", collection=None)
@example(query="heading : x OR collection:edge_ai", collection=None)
@example(query="'; DROP TABLE sections; --", collection="python")
@example(query="the of and", collection=None)
@example(query="\x00\ud800 INT8 \u0345", collection=None)
@example(query="量化 квантование كمي", collection=None)
@example(query="___", collection=None)
def test_any_text_is_answered(query: str, collection: str | None):
    found = index().search(query, collection, 20)
    assert len(found) <= 20
    assert all(collection in (None, f.page.collection) for f in found)
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert sum(len(p.text) + len(p.source) + len(p.heading) for p in fitted(found)) <= BUDGET


@given(text=st.text(max_size=3000), room=st.integers(min_value=160, max_value=2000))
def test_a_cut_text_is_the_beginning_of_the_whole(text: str, room: int):
    short = shortened(text, room)
    assert len(short) <= room
    assert short == text or text.startswith(short.removesuffix(" … (cut)"))


def test_words_are_stemmed_and_names_are_phrases():
    quantizing, quantized = (index().search(word, limit=20) for word in ("quantizing", "quantized"))
    assert [f[:2] for f in quantizing] == [f[:2] for f in quantized] != []
    assert '"int8_static"' in match_expression("int8_static?")
    assert match_expression(" ?!\n") == ""


def test_cut_passages_say_so():
    page = next(iter(pages().values()))
    long = [Found(page, "heading", "word " * 2000, 1.0)] * 3
    assert all(p.text.endswith("… (cut)") for p in fitted(long))


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ERAS)
async def test_passages_cite_page_and_heading_and_stay_within_the_budget(
    tmp_path: Path, mode: Literal["auto", "legacy"]
):
    async with at(settings(tmp_path), mode=mode) as agent:
        for limit in (1, 5, 20):
            for question in ASKED:
                answer = await agent.call("search_knowledge", query=question, limit=limit)
                passages = answer.ok()["passages"]
                assert 1 <= len(passages) <= limit
                assert all(p["text"] and p["source"] in pages() and p["heading"] in answer.text for p in passages)
                assert len(json.dumps(answer.data)) <= LONGEST
                assert len(answer.text) <= LONGEST


@pytest.mark.anyio
async def test_a_collection_is_searched_alone_and_an_unknown_one_refused(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        for collection in collections():
            found = (await agent.call("search_knowledge", query="onnx quantization", collection=collection)).ok()[
                "passages"
            ]
            assert found and all(p["source"].startswith(f"{collection}/") for p in found)
        refusal = (await agent.call("search_knowledge", query="onnx", collection="cooking")).refused("INVALID_ARGUMENT")
        assert all(name in refusal["message"] for name in collections())
        assert refusal["next_calls"][0]["arguments"] == {"query": "onnx"}


@pytest.mark.anyio
async def test_nothing_found_says_what_to_try(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        for query in ("zzzyx qqqq", "?!", "日本語"):
            answer = await agent.call("search_knowledge", query=query)
            assert answer.ok()["passages"] == []
            assert "edgeopt://knowledge" in answer.data["message"]


@pytest.mark.anyio
async def test_pages_are_resources(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        contents = await read(agent, "edgeopt://knowledge")
        for page in pages().values():
            assert page.uri in contents
            assert await read(agent, page.uri) == page.text
        for uri in ("edgeopt://knowledge/edge_ai/nothing", "edgeopt://knowledge/cooking/calibration"):
            with pytest.raises(MCPError, match="no such page"):
                await read(agent, uri)


async def read(agent: Agent, uri: str) -> str:
    (content,) = (await agent.client.read_resource(uri)).contents
    text = getattr(content, "text", "")
    assert isinstance(text, str)
    return text
