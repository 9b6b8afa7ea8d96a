"""Detectors measured and judged: on drawings, and on real photographs where they are present."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Grid, Metric, Preprocessing, UserCode
from edgeopt.contract.measures import Validation
from edgeopt.engine import inspection
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.jobs import Inspect
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner

from .detectors import GRID, detector, drawings, evaluation
from .small_models import classifier, evaluation_set, make_bench
from .test_validating import World
from .tiny_models import real

# The decoding of the drawings' detector, as user code.
ADAPTER = """
import numpy as np
def boxes(outputs, size):
    head = outputs["head"][0]
    rows = []
    for y, x in np.argwhere(head[0] > 0.04):
        obj, cls = head[0, y, x], np.clip(head[5:, y, x], 0, 1)
        score = min(obj, 1) ** 0.6 * cls.max() ** 0.4
        h, w = size[0] / 8, size[1] / 8
        if score >= 0.2:
            rows.append([x * w + w / 2 - w / 2, y * h, x * w + w, y * h + h, score, cls.argmax()])
    return rows
"""


def user_code(path: Path, source: str, function: str) -> UserCode:
    path.write_text(source)
    return UserCode(path=str(path), function=function, sha256=hashlib.sha256(source.encode()).hexdigest())


def measured(model: str, e: Evaluation, adapter: UserCode | None = None) -> Outcomes:
    runner = open_runner(model)
    data = open_evaluation(e, runner.inputs)
    decoding = None if adapter else e.decoding
    return evaluate(runner, data, e.metric, lambda _done, _message: None, adapter=adapter, decoding=decoding)


def compared(folder: Path, images: int, variant: str, metric: Metric = "map", **options: Any) -> Validation:
    """The drawings' detector as the baseline, against another."""
    e = evaluation(drawings(folder, images), metric)
    model = detector(folder / "m.onnx")
    outcomes = measured(model, e)
    outcomes.save(folder / "outcomes.npz")
    task = {
        "baseline_path": model,
        "baseline_outcomes": str(folder / "outcomes.npz"),
        "baseline_outcomes_sha256": hashlib.sha256((folder / "outcomes.npz").read_bytes()).hexdigest(),
        "baseline_accuracy": outcomes.value(),
        "variant_path": variant,
        "evaluation": e,
        "data_digest": open_evaluation(e, open_runner(model).inputs).info.digest,
        "tolerance": 0.02,
        "tolerance_kind": "relative",
        "evidence": "proven",
        "exact": False,
        "look_number": 1,
        "alpha": 0.0304,
    }
    return World(folder, task | options).validate()


def test_a_detector_that_finds_nearly_everything_has_a_high_precision(tmp_path: Path) -> None:
    outcomes = measured(detector(tmp_path / "m.onnx"), evaluation(drawings(tmp_path)))
    accuracy = outcomes.accuracy()
    assert 0.5 < accuracy.value < 0.95
    assert accuracy.ci95[0] < accuracy.value < accuracy.ci95[1]
    assert accuracy.n == 12
    assert outcomes.implausible() is None
    assert outcomes.chance < 0.1
    coarse = measured(detector(tmp_path / "m.onnx"), evaluation(drawings(tmp_path), "map50"))
    assert coarse.value() > accuracy.value


def test_a_fixed_batch_gives_the_same_detections(tmp_path: Path) -> None:
    e = evaluation(drawings(tmp_path, images=7))
    one, four = measured(detector(tmp_path / "m.onnx"), e), measured(detector(tmp_path / "b.onnx", batch=4), e)
    assert np.allclose(one.decisions, four.decisions, atol=1e-6)


def test_its_outcomes_survive_the_file(tmp_path: Path) -> None:
    outcomes = measured(detector(tmp_path / "m.onnx"), evaluation(drawings(tmp_path)))
    outcomes.save(tmp_path / "o.npz")
    loaded = Outcomes.load(tmp_path / "o.npz")
    assert loaded.value() == outcomes.value()
    assert np.array_equal(loaded.draws(300), outcomes.draws(300))
    assert np.array_equal(loaded.draws(300)[:100], loaded.draws(100))


def test_an_image_that_comes_twice_counts_once_in_the_proof(tmp_path: Path) -> None:
    path = Path(drawings(tmp_path, images=6))
    content = json.loads(path.read_text())
    copied = content["images"] + [image | {"id": image["id"] + 50} for image in content["images"]]
    again = [one | {"image_id": one["image_id"] + 50} for one in content["annotations"]]
    path.write_text(json.dumps(content | {"images": copied, "annotations": content["annotations"] + again}))
    outcomes = measured(detector(tmp_path / "m.onnx"), evaluation(str(path)))
    assert (len(outcomes), outcomes.rests_on()) == (12, 6)
    assert outcomes.value() == pytest.approx(outcomes.value_of_unique())


@pytest.mark.parametrize(
    "changes",
    [
        {"decoding": Grid(score_threshold=0.2, objectness_power=0.6, category_ids=[7, 3])},
        {"decoding": Grid(score_threshold=0.2, center="sigmoid", category_ids=[7, 3])},
        {"preprocessing": Preprocessing(resize=(64, 64), scale=1 / 65025)},
    ],
)
def test_a_wrong_reading_is_no_baseline(tmp_path: Path, changes: dict[str, Any]) -> None:
    e = evaluation(drawings(tmp_path)).model_copy(update=changes)
    reason = measured(detector(tmp_path / "m.onnx"), e).implausible()
    assert reason is not None
    assert "boxes may be in another format" in reason


def test_the_same_function_passes_by_parity_on_few_images(tmp_path: Path) -> None:
    v = compared(tmp_path, 8, detector(tmp_path / "v.onnx"), exact=True)
    assert (v.status, v.changed_decisions, v.delta, v.flips) == ("PASS", 0, 0, [])
    assert compared(tmp_path, 8, detector(tmp_path / "v.onnx")).status == "INCONCLUSIVE"


def test_identical_detections_on_enough_images_are_proven(tmp_path: Path) -> None:
    v = compared(tmp_path, 200, detector(tmp_path / "v.onnx"), "map50")
    assert (v.status, v.metric, v.samples) == ("PASS", "map50", 200)
    assert "paired bootstrap" in v.method


def test_a_detector_that_loses_a_class_fails_and_its_worst_images_are_listed(tmp_path: Path) -> None:
    v = compared(tmp_path, 40, detector(tmp_path / "v.onnx", green=0.0), exact=True)
    assert v.status == "FAIL"
    assert v.relative_drop == pytest.approx(0.5, abs=0.2)
    assert v.changed_decisions is not None and v.changed_decisions > 20
    assert len(v.flips) == 10
    assert all(flip.variant < flip.baseline and flip.label == 4 for flip in v.flips)
    losses = [flip.baseline - flip.variant for flip in v.flips]
    assert losses == sorted(losses, reverse=True)


def test_an_adapter_says_the_same_as_the_decoding(tmp_path: Path) -> None:
    e = evaluation(drawings(tmp_path))
    model = detector(tmp_path / "m.onnx")
    spec = measured(model, e.model_copy(update={"decoding": GRID.model_copy(update={"clip": False, "nms_iou": 1.0})}))
    own = measured(model, e, user_code(tmp_path / "adapter.py", ADAPTER, "boxes"))
    assert own.value() == pytest.approx(spec.value(), abs=1e-9)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def boxes(outputs, size):\n    return outputs['nothing']\n", "failed on sample 0: KeyError: 'nothing'"),
        ("def boxes(outputs, size):\n    return [[1, 2, 3]]\n", r"gives an array of shape \[1, 3\] on sample 0"),
        ("def boxes(outputs, size):\n    return [[1, 2, 3, 4, 0.5, 2]]\n", "answers class 2"),
        ("def boxes(outputs):\n    return []\n", "failed on sample 0: TypeError"),
        ("def boxes(outputs, size):\n    outputs['head'][:] = 0\n", "read-only"),
        ("raise ValueError('x')\n", "does not load: ValueError: x"),
    ],
)
def test_what_is_wrong_with_an_adapter_is_said(tmp_path: Path, source: str, words: str) -> None:
    code = user_code(tmp_path / "adapter.py", source, "boxes")
    with pytest.raises(JobProblem, match=words) as error:
        measured(detector(tmp_path / "m.onnx"), evaluation(drawings(tmp_path)), code)
    assert error.value.problem.code == "INVALID_ARGUMENT"
    assert "the adapter adapter.py:boxes" in error.value.problem.message or "class 2" in words


def test_an_adapter_gives_what_any_metric_reads(tmp_path: Path) -> None:
    model, e = classifier(tmp_path / "m.onnx"), evaluation_set(tmp_path / "d.npz")
    plain = measured(model, e)
    turned = user_code(tmp_path / "a.py", "def turn(outputs):\n    return 3 * outputs['y'][0]\n", "turn")
    upside_down = user_code(tmp_path / "b.py", "def turn(outputs):\n    return -outputs['y'][0]\n", "turn")
    assert np.array_equal(measured(model, e, turned).decisions, plain.decisions)
    assert measured(model, e, upside_down).value() < 0.5
    ragged = user_code(
        tmp_path / "c.py", "def turn(outputs):\n    return outputs['y'][0][outputs['y'][0] > 0]\n", "turn"
    )
    with pytest.raises(JobProblem, match="it must give an array of one shape for every sample"):
        measured(model, e, ragged)
    words = user_code(tmp_path / "d.py", "def turn(outputs):\n    return 'cat'\n", "turn")
    with pytest.raises(JobProblem, match="it must give numbers"):
        measured(model, e, words)


def inspected(folder: Path, e: Evaluation, **more: Any) -> None:
    task = Inspect(
        model_path=detector(folder / "m.onnx"), evaluation=e, calibration_path=None, roots=[str(folder)], **more
    )
    inspection.run(task, make_bench(folder))


def test_what_does_not_decode_is_said_when_the_session_opens(tmp_path: Path) -> None:
    e = evaluation(drawings(tmp_path))
    with pytest.raises(JobProblem, match="scores 2 classes, and 3 are known"):
        inspected(tmp_path, e.model_copy(update={"decoding": Grid(category_ids=[1, 3, 7])}))


def test_a_set_of_boxes_has_no_labels(tmp_path: Path) -> None:
    with pytest.raises(JobProblem, match="the data set holds boxes: the metrics map and map50"):
        inspected(tmp_path, evaluation(drawings(tmp_path), "map").model_copy(update={"metric": "top1"}))


def test_a_real_detector_has_its_published_precision() -> None:
    e = Evaluation(
        dataset_path=real("coco/val2017_dev_64/annotations.json"),
        metric="map",
        preprocessing=Preprocessing(color="BGR", scale=1 / 255, resize=(352, 352)),
        decoding=Grid(clip=False),
    )
    outcomes = measured(real("coco/fastestdet_352_bs1.onnx"), e)
    assert outcomes.value() == pytest.approx(0.189, abs=0.01)
    assert outcomes.implausible() is None
    coarse = measured(real("coco/fastestdet_352.onnx"), e.model_copy(update={"metric": "map50"}))
    assert coarse.value() == pytest.approx(0.341, abs=0.015)
