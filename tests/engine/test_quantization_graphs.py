"""What static quantization does to graphs: Q/DQ pairs, equalized weights, corrected biases, and the choice of a calibrator."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.dataset import open_dataset, open_evaluation
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.models import onnx_file
from edgeopt.engine.quantization.equalization import equalize, pairs_of
from edgeopt.engine.quantization.graph import Wiring
from edgeopt.engine.quantization.judging import Judge
from edgeopt.engine.quantization.observing import observe
from edgeopt.engine.quantization.qdq import EVERY_OPERATOR
from edgeopt.engine.quantization.samples import Feeds, Samples
from edgeopt.engine.quantization.schemes import TENSORRT, Scheme, scheme_for
from edgeopt.engine.quantization.static import AUTO, Recipe, quantize, split
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.techniques.preparing import prepare
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from .image_models import convnet, save
from .mobile_models import Builder, dense, mobile, noise, samples_of
from .small_models import make_bench
from .tiny_models import CIFAR, real

U8S8 = scheme_for("x86_64", frozenset({"avx512_vnni"}))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def run(model: ModelProto, x: np.ndarray, name: str = "x") -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {name: x})[0])


def made(
    model: ModelProto, values: np.ndarray, recipe: Recipe, bench: Bench, excluded: frozenset[str] = frozenset()
) -> tuple[ModelProto, list[str]]:
    prepared = prepare(model, bench.tmp)
    return quantize(prepared, recipe, samples_of(model, values, bench.tmp), excluded, bench)


def decibels(model: ModelProto, other: ModelProto, x: np.ndarray) -> float:
    expected = run(model, x)
    return float(10 * np.log10(np.sum(expected**2) / np.sum((run(other, x) - expected) ** 2)))


def constants(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, values: np.ndarray):
        self.feeds: Iterator[dict[str, np.ndarray]] = iter([{name: value[None]} for value in values])

    def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return next(self.feeds, None)


def plain(
    model: ModelProto, name: str, values: np.ndarray, scheme: Scheme, folder: Path, **options: bool
) -> ModelProto:
    """By ONNX Runtime's own road."""
    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    source, target = folder / "plain.onnx", folder / "plain_int8.onnx"
    onnx.save(prepare(model, folder), source)
    quantize_static(
        source,
        target,
        _Reader(name, values),
        quant_format=QuantFormat.QDQ,
        activation_type=types[scheme.activations],
        weight_type=types[scheme.weights],
        extra_options=options,
        per_channel=True,
    )
    return onnx.load(target)


@pytest.mark.parametrize("build", [mobile, convnet], ids=["mobile", "convnet"])
@pytest.mark.parametrize("scheme", [U8S8, TENSORRT], ids=lambda scheme: scheme.name)
def test_minmax_and_nothing_else_is_what_onnx_runtime_makes(build, scheme: Scheme, tmp_path: Path, bench: Bench):
    model = build()
    values = noise(12, side=12 if build is mobile else 8)
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True} if scheme.symmetric else {}
    theirs = plain(model, model.graph.input[0].name, values, scheme, tmp_path, **symmetric)
    data = {model.graph.input[0].name: values}
    ours, _ = quantize(
        prepare(model, bench.tmp), Recipe(scheme, samples=12), _samples(model, data, bench), frozenset(), bench
    )
    assert [(node.op_type, list(node.input), list(node.output)) for node in ours.graph.node] == [
        (node.op_type, list(node.input), list(node.output)) for node in theirs.graph.node
    ]
    expected, found = constants(theirs), constants(ours)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name


def _samples(model: ModelProto, data: dict[str, Any], bench: Bench) -> Samples:
    path = bench.tmp / "fed.onnx"
    path.write_bytes(model.SerializeToString())
    np.savez(bench.tmp / "data.npz", allow_pickle=False, **data)
    runner = open_runner(path)
    dataset = open_dataset(str(bench.tmp / "data.npz"), Preprocessing(), runner.inputs, labelled=False)
    return Samples(dataset, runner)


def feeds(values: np.ndarray) -> list[Feeds]:
    return [{"x": value[None]} for value in values]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    activation=st.sampled_from(["Relu", "LeakyRelu", ""]),
    per_channel=st.booleans(),
    biases=st.booleans(),
)
def test_an_equalized_network_computes_the_same(seed: int, activation: str, per_channel: bool, biases: bool):
    model = mobile(seed=seed, activation=activation, spread=10, biases=biases)
    values = noise(6, seed)
    before = run(model, values)
    said = equalize(model, feeds(noise(4, seed + 1)), per_channel=per_channel)
    assert not said.startswith("equalization: 0 of")
    np.testing.assert_allclose(run(model, values), before, rtol=1e-4, atol=1e-4 * np.ptp(before))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), per_channel=st.booleans())
def test_a_capped_network_computes_the_same_on_what_was_seen(seed: int, per_channel: bool):
    model = mobile(seed=seed, activation="Clip", spread=10)
    values = noise(6, seed)
    before = run(model, values)
    equalize(model, feeds(values), per_channel=per_channel)
    np.testing.assert_allclose(run(model, values), before, rtol=1e-4, atol=1e-4 * np.ptp(before))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), widths=st.lists(st.integers(2, 24), min_size=3, max_size=5))
def test_an_equalized_dense_network_computes_the_same(seed: int, widths: list[int]):
    model = dense(widths, seed=seed, spread=10)
    x = np.random.default_rng(seed).standard_normal((8, widths[0])).astype(np.float32)
    before = run(model, x)
    equalize(model, feeds(x), per_channel=False)
    np.testing.assert_allclose(run(model, x), before, rtol=1e-4, atol=1e-4 * np.ptp(before))


def unevenness(model: ModelProto) -> float:
    """Of the first pair's weights: the largest channel over the middle one."""
    pair = pairs_of(Wiring(model))[0]
    sizes = np.abs(constants(model)[pair.first.input[1]]).max(axis=(1, 2, 3))
    return float(sizes.max() / np.median(sizes))


def test_equalization_makes_channels_alike():
    model = mobile(activation="Relu", spread=30)
    before = unevenness(model)
    equalize(model, feeds(noise(4)), per_channel=False)
    assert unevenness(model) < before / 3


def test_channels_that_reach_a_cap_are_left_alone():
    model = mobile(activation="Clip", spread=30)
    pair = pairs_of(Wiring(model))[0]
    before, values = constants(model)[pair.first.input[1]], noise(8)
    tapped = ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.insert(0, onnx.ValueInfoProto(name=pair.between))
    peaks = run(tapped, values).max(axis=(0, 2, 3))
    assert 0 < np.count_nonzero(peaks == 6) < len(peaks)
    equalize(model, feeds(values), per_channel=False)
    after = constants(model)[pair.first.input[1]]
    assert np.array_equal(before[peaks == 6], after[peaks == 6])
    assert not np.array_equal(before[peaks < 5], after[peaks < 5])


def test_what_is_used_twice_is_left_alone():
    model = mobile(activation="Relu")
    wiring = Wiring(model)
    for pair in pairs_of(wiring):
        assert len(wiring.users[pair.first.output[0]]) == 1
        assert "Add" not in {user.op_type for user in wiring.users[pair.between]}


def test_equalization_helps_where_a_tensor_has_one_scale(bench: Bench):
    model, values = mobile(activation="Relu", spread=10), noise(40)
    recipe = Recipe(U8S8, per_channel=False, samples=40)
    plainly, _ = made(model, values, recipe, bench)
    evenly, notes = made(model, values, Recipe(U8S8, per_channel=False, samples=40, equalize=True), bench)
    fresh = noise(64, seed=9)
    assert decibels(model, evenly, fresh) > decibels(model, plainly, fresh) + 3
    assert any(note.startswith("equalization: ") for note in notes)


def channel_errors(model: ModelProto, other: ModelProto, node: str, values: np.ndarray) -> np.ndarray:
    means = []
    for one in (model, other):
        tapped = ModelProto()
        tapped.CopyFrom(one)
        output = next(each.output[0] for each in one.graph.node if each.name == node)
        tapped.graph.output.insert(0, onnx.ValueInfoProto(name=output))
        means.append(run(tapped, values).mean(axis=(0, 2, 3)))
    return np.abs(means[0] - means[1])


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("scheme", [U8S8, TENSORRT], ids=lambda scheme: scheme.name)
def test_corrected_biases_take_off_the_mean_error_of_every_layer(biases: bool, scheme: Scheme, bench: Bench):
    model, values = mobile(spread=4, biases=biases), noise(60)
    options = {"QuantizeBias": False} if scheme.symmetric else {}
    with_it = Recipe(scheme, per_channel=False, samples=60, bias_correction=True, options=options)
    plainly, _ = made(model, values, Recipe(scheme, per_channel=False, samples=60, options=options), bench)
    corrected, notes = made(model, values, with_it, bench)
    layers = [node.name for node in model.graph.node if node.op_type == "Conv"]
    before = np.concatenate([channel_errors(model, plainly, layer, values) for layer in layers])
    after = np.concatenate([channel_errors(model, corrected, layer, values) for layer in layers])
    assert np.median(after) < np.median(before) / 5
    assert any(note.startswith(f"bias correction: {len(layers) + 1} layers") for note in notes)
    fresh = noise(64, seed=9)
    assert decibels(model, corrected, fresh) > decibels(model, plainly, fresh)


@pytest.mark.parametrize("calibrator", ["entropy", "percentile", "mse"])
def test_every_calibrator_makes_a_network_in_8_bits(calibrator: str, bench: Bench):
    model, values = mobile(), noise(20)
    quantized, _ = made(model, values, Recipe(U8S8, calibrator=calibrator, samples=20), bench)
    assert onnx_file.precision(quantized) == "int8"
    assert decibels(model, quantized, noise(32, seed=9)) > 15


def test_auto_takes_what_is_best_on_samples_that_calibration_did_not_see(bench: Bench):
    model, values = mobile(), noise(50)
    values[8] *= 40  # one sample that min-max gives nearly all of its range to
    chosen, notes = made(model, values, Recipe(U8S8, calibrator=AUTO, samples=50), bench)
    note = next(note for note in notes if note.startswith("calibrator: "))
    assert not note.startswith("calibrator: minmax")
    assert "on 10 calibration samples that calibration did not use" in note
    assert all(name in note for name in ("minmax", "entropy", "percentile", "mse"))
    plainly, _ = made(model, values, Recipe(U8S8, samples=50), bench)
    fresh = noise(64, seed=9)
    assert decibels(model, chosen, fresh) > decibels(model, plainly, fresh) + 3


def test_auto_falls_back_to_minmax_where_there_is_nothing_to_compare_on(bench: Bench):
    _, notes = made(mobile(), noise(6), Recipe(U8S8, calibrator=AUTO, samples=6), bench)
    assert any(note.startswith("calibrator: minmax, for 6 samples are too few") for note in notes)


@settings(deadline=None)
@given(size=st.integers(1, 2000), count=st.integers(1, 2000))
def test_what_is_held_out_was_not_calibrated_on(size: int, count: int):
    used, held_out = split(size, count, hold_out=True)
    assert not set(used) & set(held_out)
    assert used and len(set(used)) == len(used) <= count
    assert len(set(held_out)) == len(held_out)
    assert bool(held_out) == (size >= 10 and (len(used) < size))
    assert split(size, count, hold_out=False) == (split(size, count, hold_out=False)[0], [])


def test_the_memory_of_a_pass_does_not_grow_with_its_samples():
    model = mobile(side=32)

    def peak(samples: int) -> int:
        values = ({"x": noise(1, seed, side=32)} for seed in range(samples))
        tracemalloc.start()
        observe(model, values, operators=EVERY_OPERATOR, excluded=(), histograms=True, progress=lambda done: None)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(60) < 1.2 * peak(5)


def test_ours_is_as_near_to_the_float_model_as_nncfs(bench: Bench):
    nncf = pytest.importorskip("nncf")
    model, values = mobile(activation="Relu"), noise(40)
    data = nncf.Dataset(feeds(values))
    theirs = nncf.quantize(model, data, subset_size=40)
    ours, _ = made(model, values, Recipe(U8S8, calibrator=AUTO, samples=40, bias_correction=True), bench)
    judge = Judge(model, lambda: feeds(noise(64, seed=9)))
    assert judge.closeness(ours).decibels > judge.closeness(theirs).decibels - 1


@pytest.mark.slow
def test_a_fragile_network_keeps_its_accuracy(bench: Bench):
    path = Path(real("cifar10/mobilenetv2_cifar10_probe.onnx"))
    test = Evaluation(
        dataset_path=real("cifar10/test_png_dev.npz"), metric="top1", preprocessing=Preprocessing(**CIFAR)
    )
    runner = open_runner(path)
    data = open_evaluation(test, runner.inputs)
    images = open_dataset(real("cifar10/calib_png.npz"), data.preprocessing, runner.inputs, labelled=False)
    recipe = Recipe(U8S8, calibrator=AUTO, equalize=True, bias_correction=True)
    prepared = prepare(onnx_file.load(path), bench.tmp)
    quantized, _ = quantize(prepared, recipe, Samples(images, runner), frozenset(), bench)
    saved = save(quantized, bench.tmp / "int8.onnx")
    before, after = (
        evaluate(open_runner(model), data, "top1", lambda done, message: None).accuracy().value
        for model in (path, saved)
    )
    assert after > 0.98 * before
    assert not float_layers(quantized)


def float_layers(model: ModelProto) -> set[str]:
    """The convolutions and dense layers whose weights are not dequantized."""
    maker = {name: node.op_type for node in model.graph.node for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return {node.name for node in layers if maker.get(node.input[1]) != "DequantizeLinear"}


def attention() -> ModelProto:
    """`x` (N, 6, 8) to (N, 6, 8): dot-product attention that a mask keeps from the last two places."""
    built = Builder(3, "")
    query, key, value = (
        built.node("MatMul", "x", built.constant(built.rng.standard_normal((8, 8)) / 2)) for _ in range(3)
    )
    scores = built.node("MatMul", query, built.node("Transpose", key, perm=[0, 2, 1]))
    mask = np.where(np.arange(6) < 4, 0, np.finfo(np.float32).min)
    weights = built.node("Softmax", built.node("Add", scores, built.constant(mask)), axis=-1)
    return built.model((6, 8), built.node("MatMul", weights, value), (6, 8))


def test_masked_scores_stay_in_float_unless_minmax_alone_is_asked_for(bench: Bench):
    model = attention()
    values = np.random.default_rng(4).standard_normal((40, 6, 8)).astype(np.float32)
    fresh = np.random.default_rng(5).standard_normal((40, 6, 8)).astype(np.float32)
    kept, notes = made(model, values, Recipe(U8S8, calibrator=AUTO, samples=40), bench)
    assert any("2 nodes around masked scores" in note and "kept in float" in note for note in notes)
    assert decibels(model, kept, fresh) > 25
    plainly, notes = made(model, values, Recipe(U8S8, samples=40), bench)
    assert any(note.startswith("risk: 2 nodes around masked scores") for note in notes)
    assert decibels(model, plainly, fresh) < 15
