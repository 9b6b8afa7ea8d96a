"""What every runtime keeps, on the same tiny models in its own format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.measure import inputs, memory, pair_process
from edgeopt.engine.measure.cores import cores_for
from edgeopt.engine.measure.fresh_process import ask
from edgeopt.engine.measure.memory import peak_memory_mb, runtime_memory_mb
from edgeopt.engine.measure.pairing import PairTask, PairTimes
from edgeopt.engine.models.formats import sniff
from edgeopt.engine.models.model_file import ModelFile, open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.catalog import RUNTIMES, missing, version
from edgeopt.engine.runtimes.opening import open_session
from edgeopt.engine.runtimes.runner import Runner, open_runner

from .runtime_models import (
    CONVOLUTION,
    DENSE,
    DENSE_INTERFACE,
    IMAGE_INTERFACE,
    WEIGHT,
    convolved,
    dense,
    images,
    rows,
)

FIXED = 2


@dataclass(frozen=True)
class Tiny:
    """The tiny models of one format, each made once."""

    format: str
    folder: Path

    @cached_property
    def dynamic(self) -> Path:
        return self._made("dynamic", None)

    @cached_property
    def fixed(self) -> Path:
        return self._made("fixed", FIXED)

    @cached_property
    def convolution(self) -> Path:
        (self.folder / "convolution").mkdir()
        return CONVOLUTION[self.format](self.folder / "convolution", None)

    def _made(self, name: str, batch: int | None) -> Path:
        (self.folder / name).mkdir()
        return DENSE[self.format](self.folder / name, batch)


@pytest.fixture(scope="module", params=sorted(DENSE))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    if lacking := missing(request.param):
        pytest.skip(lacking)
    return Tiny(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def runner(tiny: Tiny) -> Runner:
    return open_runner(tiny.dynamic, interface=DENSE_INTERFACE)


def batch_of(runner: Runner) -> int:
    """What the model fixes, else 3."""
    return runner.inputs[0].shape[0] or 3


def arrays(returned: object) -> list[np.ndarray]:
    """What the timed call gives, output by output."""
    values = returned.values() if isinstance(returned, Mapping) else returned
    return [np.asarray(value) for value in values]  # pyright: ignore[reportGeneralTypeIssues]


def test_the_format_is_known_by_the_file(tiny: Tiny):
    assert sniff(tiny.dynamic).format == sniff(tiny.convolution).format == tiny.format
    assert not sniff(tiny.dynamic).pickle


def test_it_names_itself_and_its_version(tiny: Tiny, runner: Runner):
    installed = version(RUNTIMES[tiny.format].distribution)
    assert installed is not None
    assert runner.name.partition(",")[0].split()[-1].split("+")[0] == installed.split("+")[0]


def test_it_says_what_the_model_takes_and_gives(tiny: Tiny):
    own = open_runner(tiny.dynamic)
    (taken,), (given,) = own.inputs, own.outputs
    assert taken.name and given.name
    assert (taken.dtype, given.dtype) == ("float32", "float32")
    assert taken.shape[1:] == [3]
    assert given.shape[1:] in ([2], [])


def test_it_computes_the_model(runner: Runner):
    x = rows(batch_of(runner))
    np.testing.assert_allclose(runner.run({"x": x})["y"], dense(x), rtol=1e-5, atol=1e-6)


def test_it_computes_images_as_the_original_has_them(tiny: Tiny):
    runner = open_runner(tiny.convolution, interface=IMAGE_INTERFACE)
    x = images(batch_of(runner))
    np.testing.assert_allclose(runner.run({"image": x})["map"], convolved(x), rtol=1e-4, atol=1e-5)


def test_the_timed_call_computes_the_same(runner: Runner):
    first, second = rows(batch_of(runner)), rows(batch_of(runner), seed=1)
    calls = [(runner.raw_call({"x": x}), x) for x in (first, second)]
    for call, x in [*calls, *calls]:
        (y,) = arrays(call())
        np.testing.assert_allclose(y, dense(x), rtol=1e-5, atol=1e-6)


def test_outputs_are_copies_and_inputs_are_left_alone(runner: Runner):
    x, other = rows(batch_of(runner)), rows(batch_of(runner), seed=1)
    given, lent = x.copy(), other.copy()
    y = runner.run({"x": x})["y"]
    kept = y.copy()
    runner.run({"x": other})
    runner.raw_call({"x": other})()
    assert np.array_equal(y, kept)
    y[:] = np.nan
    np.testing.assert_array_equal(runner.run({"x": x})["y"], kept)
    np.testing.assert_array_equal(x, given)
    np.testing.assert_array_equal(other, lent)


def test_a_dynamic_batch_takes_any_and_a_fixed_one_only_its_own(tiny: Tiny):
    for path in (tiny.dynamic, tiny.fixed):
        runner = open_runner(path, interface=DENSE_INTERFACE)
        own = runner.inputs[0].shape[0]
        for batch in (3, 1, 4, FIXED):
            x = rows(batch)
            if own in (None, batch):
                np.testing.assert_allclose(runner.run({"x": x})["y"], dense(x), rtol=1e-5, atol=1e-6)
            else:
                refused(runner, {"x": x}, rf"takes shape \[{own}, 3\] and was given \[{batch}, 3\]")
    assert open_runner(tiny.fixed).inputs[0].shape[0] == FIXED


def refused(runner: Runner, feeds: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(JobProblem, match=words) as found:
        runner.run(feeds)
    assert found.value.problem.code == "INVALID_ARGUMENT"


def test_what_does_not_fit_is_said_in_words(tiny: Tiny, runner: Runner):
    batch = batch_of(runner)
    own = open_runner(tiny.dynamic)
    refused(own, {}, r"inputs \['.*'\] got no data")
    refused(own, {own.inputs[0].name: rows(batch), "nobody": rows(batch)}, r"no inputs \['nobody'\]")
    refused(runner, {"nobody": rows(batch)}, "nobody")
    refused(runner, {"x": rows(batch)[:, :2]}, r"takes shape \[.*, 3\] and was given \[\d, 2\]")
    refused(runner, {"x": rows(batch)[0]}, r"takes shape \[.*, 3\] and was given \[3\]")
    refused(runner, {"x": np.array([["a", "b", "c"]] * batch)}, "takes float32 and was given <U1")
    x = rows(batch)
    np.testing.assert_allclose(runner.run({"x": x})["y"], dense(x), rtol=1e-5, atol=1e-6)


def test_what_is_not_a_number_comes_out_and_does_not_stay(tiny: Tiny):
    runner = open_runner(tiny.fixed, interface=DENSE_INTERFACE)
    x = rows(FIXED)
    broken = x.copy()
    broken[0, 1] = np.nan
    y = runner.run({"x": broken})["y"]
    assert np.isnan(y[0]).all()
    np.testing.assert_allclose(y[1], dense(x)[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(runner.run({"x": x})["y"], dense(x), rtol=1e-5, atol=1e-6)


def main_file(path: Path) -> Path:
    return path / "saved_model.pb" if path.is_dir() else path


def copied(path: Path, folder: Path) -> Path:
    """The model and everything that lies beside it, elsewhere."""
    shutil.copytree(path if path.is_dir() else path.parent, folder)
    return folder if path.is_dir() else folder / path.name


BREAKING = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "foreign": lambda whole: b"This is a text about bread.\n" * 40,
    "absent": None,
}


@pytest.mark.parametrize("how", BREAKING)
def test_a_broken_file_is_a_bad_file(tiny: Tiny, tmp_path: Path, how: str):
    path = copied(tiny.convolution, tmp_path / "broken")
    file, broken = main_file(path), BREAKING[how]
    if broken is None:
        file.unlink()
    else:
        file.write_bytes(broken(file.read_bytes()))
    for attempt in (lambda: open_runner(path), lambda: open_file(path).check([])):
        with pytest.raises(JobProblem) as found:
            attempt()
        assert found.value.problem.code == "BAD_FILE"
        assert path.name in found.value.problem.message


def described(file: ModelFile) -> tuple[object, ...]:
    return (file.parameters, file.operators, file.precision, file.weights, file.graph)


def test_the_file_says_the_same_as_the_runtime(tiny: Tiny):
    file, runner = open_file(tiny.convolution), open_runner(tiny.convolution)
    assert file.format == tiny.format
    assert file.check([]) == []
    assert not file.inputs or file.inputs == runner.inputs
    assert not file.outputs or same_ports(file.outputs, runner.outputs)
    assert file.parameters in (78, None)
    assert file.operators.total() > 0
    assert file.precision == "fp32"


def same_ports(of_the_file: list[TensorInfo], of_the_runtime: list[TensorInfo]) -> bool:
    """A runtime may know an axis of an output that the file leaves open, and the reverse."""
    return [(i.name, i.dtype) for i in of_the_file] == [(i.name, i.dtype) for i in of_the_runtime]


def test_a_model_is_known_again_by_its_files_and_digests(tiny: Tiny, tmp_path: Path):
    again = copied(tiny.convolution, tmp_path / "again")
    before, after = open_file(tiny.convolution), open_file(again)
    assert described(before) == described(after)
    assert before.weights
    assert before.graph and before.graph != open_file(tiny.dynamic).graph
    for file in (before, after):
        assert file.files and all(one.is_file() and one == one.resolve() for one in file.files)
    if again.is_file():
        assert after.files[0] == again.resolve()


@pytest.mark.parametrize("threads", [1, 2])
def test_it_runs_on_as_many_threads_as_are_asked_for(tiny: Tiny, threads: int):
    x = rows(FIXED)
    runner = open_runner(tiny.fixed, threads, DENSE_INTERFACE)
    np.testing.assert_allclose(runner.run({"x": x})["y"], dense(x), rtol=1e-5, atol=1e-6)
    with cores_for(threads) as cores:
        session = open_session(tiny.fixed, threads, cores)
        (y,) = session.run({session.inputs[0].name: x})
    assert isinstance(y, np.ndarray)
    assert y.shape == (FIXED, WEIGHT.shape[1])
    np.testing.assert_allclose(y, dense(x), rtol=1e-5, atol=1e-6)


@pytest.fixture
def batches(tiny: Tiny, tmp_path: Path) -> Path:
    runner = open_runner(tiny.fixed, interface=DENSE_INTERFACE)
    inputs.save([runner.native({"x": rows(FIXED, seed)}) for seed in range(3)], tmp_path / "inputs.npz")
    return tmp_path / "inputs.npz"


def test_its_memory_is_weighed(tiny: Tiny, batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "PROCESSES", 1)
    peak = peak_memory_mb(tiny.fixed, batches, 1, tmp_path)
    assert 20 < peak < 3000
    assert runtime_memory_mb(tiny.format, 1, tmp_path) < peak + 3


def test_it_is_timed_in_a_pair(tiny: Tiny, batches: Path, tmp_path: Path):
    one = str(tiny.fixed)
    pair = PairTask(
        baseline=one,
        baseline_inputs=str(batches),
        variant=one,
        variant_inputs=str(batches),
        threads=2,
        index=0,
        least_calls=3,
    )
    times = ask(pair_process.__name__, pair, PairTimes, tmp_path)
    assert len(times.quads) == pair_process.QUADS
    assert min(times.baseline_ms + times.variant_ms) > 0
