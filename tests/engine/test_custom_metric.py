"""A metric of the user's own: what it is given, what it may answer, and which file it is."""

from __future__ import annotations

import hashlib
import py_compile
from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing, UserCode
from edgeopt.engine import inspection
from edgeopt.engine.data.dataset import open_dataset
from edgeopt.engine.jobs import Inspect
from edgeopt.engine.measure import custom, user_code
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner

from .small_models import CLASSES, FEATURES, classifier, evaluation_set, make_bench
from .test_validating import World
from .tiny_models import linear, picking

SCORE = "import numpy as np\ndef score(outputs, labels):\n    return outputs['y'].argmax(axis=1) == labels\n"
WHOLE = "def score(outputs, labels):\n    return (outputs['y'].argmax(axis=1) == labels).mean()\n"


def allowed(path: Path, source: str, function: str = "score") -> UserCode:
    path.write_text(source)
    return UserCode(path=str(path), function=function, sha256=hashlib.sha256(source.encode()).hexdigest())


def measured(folder: Path, source: str, samples: int = 60) -> Outcomes:
    code = allowed(folder / "metric.py", source)
    runner = open_runner(classifier(folder / "m.onnx"))
    evaluation_set(folder / "d.npz", samples=samples)
    data = open_dataset(str(folder / "d.npz"), Preprocessing(), runner.inputs, labelled=True)
    return evaluate(runner, data, "custom", lambda _done, _message: None, code)


def refused(folder: Path, source: str, code: str, words: str) -> str:
    with pytest.raises(JobProblem, match=words) as error:
        measured(folder, source)
    assert error.value.problem.code == code
    assert "Traceback" not in error.value.problem.message
    assert "\n" not in error.value.problem.message
    return error.value.problem.message


def test_it_gets_every_sample_and_every_label(tmp_path: Path) -> None:
    source = (
        "def score(outputs, labels):\n"
        f"    assert outputs['y'].shape == (60, {CLASSES}) and labels.shape == (60,)\n"
        "    return outputs['y'].argmax(axis=1) == labels\n"
    )
    outcomes = measured(tmp_path, source)
    top1 = evaluate(
        open_runner(str(tmp_path / "m.onnx")),
        open_dataset(
            str(tmp_path / "d.npz"), Preprocessing(), open_runner(str(tmp_path / "m.onnx")).inputs, labelled=True
        ),
        "top1",
        lambda _done, _message: None,
    )
    assert outcomes.value() == top1.value()
    assert outcomes.decisions[:, 0].tolist() == top1.correct.tolist()
    assert outcomes.implausible() is None


def test_one_number_and_the_mean_of_scores_are_the_same_metric(tmp_path: Path) -> None:
    """The bootstrap draws the same samples for both: one calls the function, one takes means."""
    scores, whole = measured(tmp_path, SCORE), measured(tmp_path, WHOLE)
    assert whole.value() == scores.value()
    assert whole.value_of_unique() == scores.value_of_unique()
    assert len(whole.draws(5000)) == custom.RESAMPLES
    assert whole.draws(200).tolist() == pytest.approx(scores.draws(200).tolist())
    assert whole.accuracy().ci95 == pytest.approx(scores.accuracy().ci95, abs=0.02)


@pytest.mark.parametrize("source", [SCORE, WHOLE])
def test_its_outcomes_survive_the_file(tmp_path: Path, source: str) -> None:
    outcomes = measured(tmp_path, source)
    outcomes.save(tmp_path / "outcomes.npz")
    loaded = Outcomes.load(tmp_path / "outcomes.npz")
    assert loaded.value() == outcomes.value()
    assert np.array_equal(loaded.draws(2000), outcomes.draws(2000))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def score(outputs, labels):\n    return outputs['nothing']\n", "failed on all samples: KeyError: 'nothing'$"),
        ("def score(outputs, labels):\n    raise ValueError('first\\nsecond\\x1b[31m')\n", "ValueError: first second"),
        ("import sys\ndef score(outputs, labels):\n    sys.exit(3)\n", "SystemExit: 3$"),
        ("def score(outputs, labels):\n    return outputs['y']\n", r"gives an array of shape \[60, 4\]"),
        ("def score(outputs, labels):\n    return None\n", "gives NaN|TypeError"),
        ("def score(outputs, labels):\n    return float('nan')\n", "gives NaN or infinity on all samples"),
        ("def score(outputs, labels):\n    return 'good'\n", "ValueError: could not convert"),
        ("def score(outputs, labels):\n    outputs['y'][:] = 0\n    return 1.0\n", "read-only"),
        ("def score(outputs, labels):\n    labels[:] = 0\n    return 1.0\n", "read-only"),
        ("def other(outputs, labels):\n    return 1.0\n", "has no such function"),
        ("score = 3\n", "has no such function"),
        ("def score(outputs, labels)\n    return 1.0\n", "does not load: SyntaxError"),
        ("import no_such_module_anywhere\n", "does not load: ModuleNotFoundError: No module named"),
        (
            "def score(outputs, labels):\n    return 1.0 if not labels.flags.writeable else labels * 1.0\n",
            "gives one number on all samples and 60 on",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said_in_one_line(tmp_path: Path, source: str, words: str) -> None:
    message = refused(tmp_path, source, "INVALID_ARGUMENT", words)
    assert "metric.py:score" in message


def test_another_content_is_another_metric(tmp_path: Path) -> None:
    code = allowed(tmp_path / "metric.py", SCORE)
    user_code.load(code, "metric")
    (tmp_path / "metric.py").write_text(SCORE + "\n")
    for words in ("has changed", "is gone"):
        with pytest.raises(JobProblem, match=words) as error:
            user_code.load(code, "metric")
        assert error.value.problem.code == "SAME_DATASET"
        (tmp_path / "metric.py").unlink(missing_ok=True)


def test_a_compiled_copy_beside_the_file_is_not_believed(tmp_path: Path) -> None:
    code = allowed(tmp_path / "metric.py", SCORE)
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('the copy ran')\n")
    cache = Path(py_compile.compile(str(evil), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH) or "")
    cache.rename(cache.with_name(cache.name.replace("evil", "metric")))
    user_code.load(code, "metric")


def test_its_folder_is_no_place_to_import_from(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "not_allowed_helper.py").write_text("")
    user_code.load(allowed(tmp_path / "metric.py", "import json\n" + SCORE), "metric")
    with pytest.raises(JobProblem, match="not_allowed_helper"):
        user_code.load(allowed(tmp_path / "metric.py", "import not_allowed_helper\n" + SCORE), "metric")


def test_outputs_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom, "MOST_BYTES", 100)
    refused(tmp_path, SCORE, "UNAVAILABLE", "a custom metric gets those of all samples at once")


def judged(folder: Path, source: str, lost: int, *, n: int = 600, alpha: float = 0.0304) -> World:
    """A model that is right about all samples but 100, and a variant that loses some."""
    labels = np.arange(n) % 2
    before, now = labels.copy(), labels.copy()
    before[-100:] = now[-100:] = 1 - labels[-100:]
    now[:lost] = 1 - labels[:lost]
    scale = (1 + np.arange(n) / n)[:, None]
    inputs = np.concatenate([np.eye(2)[before], np.eye(2)[now]], axis=1) * scale
    np.savez(folder / "d.npz", inputs=inputs.astype(np.float32), labels=labels)
    model, variant = picking(folder / "m.onnx", 4, [0, 1]), picking(folder / "v.onnx", 4, [2, 3])
    code = allowed(folder / "metric.py", source)
    runner = open_runner(model)
    data = open_dataset(str(folder / "d.npz"), Preprocessing(), runner.inputs, labelled=True)
    outcomes = evaluate(runner, data, "custom", lambda _done, _message: None, code)
    outcomes.save(folder / "outcomes.npz")
    task = {
        "baseline_path": model,
        "baseline_outcomes": str(folder / "outcomes.npz"),
        "baseline_outcomes_sha256": hashlib.sha256((folder / "outcomes.npz").read_bytes()).hexdigest(),
        "baseline_accuracy": outcomes.value(),
        "variant_path": variant,
        "evaluation": Evaluation(dataset_path=str(folder / "d.npz"), metric="custom"),
        "data_digest": data.info.digest,
        "tolerance": 0.02,
        "tolerance_kind": "relative",
        "evidence": "proven",
        "exact": False,
        "look_number": 1,
        "alpha": alpha,
        "user_code": code,
    }
    return World(folder, task)


@pytest.mark.parametrize(("source", "resamples"), [(SCORE, 2000), (WHOLE, 1000)])
@pytest.mark.parametrize(("lost", "status"), [(0, "PASS"), (2, "PASS"), (8, "INCONCLUSIVE"), (40, "FAIL")])
def test_a_variant_is_judged_by_it(tmp_path: Path, source: str, resamples: int, lost: int, status: str) -> None:
    v = judged(tmp_path, source, lost).validate()
    assert (v.status, v.metric, v.flips, v.classes) == (status, "custom", [], [])
    assert v.delta == pytest.approx(lost / 600)
    assert f"paired bootstrap, {resamples} resamples of 600 samples" in v.method


def test_few_draws_prove_nothing_at_a_small_error(tmp_path: Path) -> None:
    """At a later look's alpha no draw of a thousand lies beyond the percentile: the normal approximation is asked too."""
    early, late = judged(tmp_path, WHOLE, 4, alpha=0.05).validate(), judged(tmp_path, WHOLE, 4, alpha=1e-5).validate()
    assert (early.status, late.status) == ("PASS", "INCONCLUSIVE")


def test_a_changed_metric_does_not_judge_the_variant(tmp_path: Path) -> None:
    w = judged(tmp_path, SCORE, 0)
    (tmp_path / "metric.py").write_text("def score(outputs, labels):\n    return 1.0\n")
    w.refused("SAME_DATASET", "has changed")


def test_an_inspection_loads_it_and_a_constant_model_is_implausible(tmp_path: Path) -> None:
    code = allowed(tmp_path / "metric.py", "raise RuntimeError('at once')\n")
    evaluation = evaluation_set(tmp_path / "d.npz", "custom")
    task = Inspect(
        model_path=classifier(tmp_path / "m.onnx"),
        evaluation=evaluation,
        calibration_path=None,
        roots=[str(tmp_path)],
        user_code=code,
    )
    bench = make_bench(tmp_path)
    with pytest.raises(JobProblem, match="does not load: RuntimeError: at once"):
        inspection.run(task, bench)
    good = task.model_copy(update={"user_code": allowed(tmp_path / "metric.py", SCORE)})
    assert inspection.run(good, bench).evaluation.samples == 60
    constant = open_runner(linear(tmp_path / "z.onnx", np.zeros((FEATURES, CLASSES))))
    data = open_dataset(str(tmp_path / "d.npz"), Preprocessing(), constant.inputs, labelled=True)
    outcomes = evaluate(constant, data, "custom", lambda _done, _message: None, good.user_code)
    assert "the same for every sample" in (outcomes.implausible() or "")
