from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.data.dataset import Dataset, open_dataset, open_evaluation
from edgeopt.engine.problems import JobProblem

X = [TensorInfo(name="x", dtype="float32", shape=[None, 3])]
TWO = [
    TensorInfo(name="ids", dtype="int64", shape=[None, None]),
    TensorInfo(name="mask", dtype="int64", shape=[None, None]),
]
IMAGE = [TensorInfo(name="image", dtype="float32", shape=[None, 3, 4, 5])]
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def npz(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, allow_pickle=True, **arrays)
    return str(path)


def opened(path: str, inputs: list[TensorInfo] = X, *, labelled: bool = True) -> Dataset:
    return open_dataset(path, Preprocessing(), inputs, labelled=labelled)


def refused(path: str, words: str, inputs: list[TensorInfo] = X, code: str = "BAD_FILE") -> None:
    with pytest.raises(JobProblem, match=words) as error:
        opened(path, inputs)
    assert error.value.problem.code == code


def test_ready_tensors_come_out_by_the_name_of_the_input(tmp_path: Path) -> None:
    data = opened(npz(tmp_path / "d.npz", inputs=ROWS, labels=np.array([0, 1, 1, 5])))
    assert (len(data), data.info.samples, data.info.classes, data.info.kind) == (4, 4, 3, "npz")
    assert np.array_equal(data.feeds(1, 3)["x"], ROWS[1:3])
    assert np.array_equal(data.raw(1, 3)["inputs"], ROWS[1:3])
    assert len(data.feeds(3, 99)["x"]) == 1


def test_images_are_preprocessed_and_raw_stays_raw(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    path = npz(tmp_path / "d.npz", inputs=pixels, labels=np.array([0, 1]))
    data = open_evaluation(Evaluation(dataset_path=path, metric="top1", preprocessing=Preprocessing(scale=0.5)), IMAGE)
    fed = data.feeds(0, 2)["image"]
    assert fed.dtype == np.float32
    assert np.array_equal(fed, pixels.transpose(0, 3, 1, 2) * np.float32(0.5))
    assert np.array_equal(data.raw(0, 2)["inputs"], pixels)
    assert data.preprocessing.layout == "NCHW"


def test_arrays_named_after_the_inputs_feed_several_inputs_and_foreign_arrays_are_left_alone(tmp_path: Path) -> None:
    ids = np.arange(6, dtype=np.int32).reshape(2, 3)
    path = npz(
        tmp_path / "d.npz",
        ids=ids,
        mask=np.ones((2, 3), np.int8),
        labels=np.array([0.5, 2.5]),
        text=np.array([object(), None]),
    )
    data = opened(path, TWO)
    assert data.info.kind == "npz_named"
    assert data.info.classes is None
    feeds = data.feeds(0, 2)
    assert feeds["ids"].dtype == feeds["mask"].dtype == np.int64
    assert np.array_equal(feeds["ids"], ids)


def test_an_array_named_after_the_only_input_is_the_data_set_too(tmp_path: Path) -> None:
    data = opened(npz(tmp_path / "d.npz", x=ROWS, labels=np.arange(4)))
    assert data.info.kind == "npz_named"
    assert np.array_equal(data.feeds(0, 4)["x"], ROWS)


def test_labels_may_be_absent_only_where_none_are_needed(tmp_path: Path) -> None:
    path = npz(tmp_path / "d.npz", inputs=ROWS)
    assert opened(path, labelled=False).labels is None
    refused(path, "no array 'labels'")


BAD = {
    "no expected array": ({"pixels": ROWS, "labels": np.arange(4)}, r"holds the arrays \['labels', 'pixels'\]"),
    "lengths differ": ({"inputs": ROWS, "labels": np.arange(3)}, "differ in length"),
    "a scalar": ({"inputs": ROWS, "labels": np.array(1)}, "differ in length"),
    "no samples": ({"inputs": ROWS[:0], "labels": np.arange(0)}, "no samples"),
    "NaN": ({"inputs": np.where(ROWS == 7, np.nan, ROWS), "labels": np.arange(4)}, "NaN or infinity, first in row 2"),
    "infinity in the labels": ({"inputs": ROWS, "labels": np.array([0, np.inf, 1, 1])}, "'labels'.*row 1"),
    "text": ({"inputs": np.array(list("abcd")), "labels": np.arange(4)}, "holds <U1; it must hold numbers"),
    "objects": ({"inputs": np.array([{}, [], 1, 2], object), "labels": np.arange(4)}, "allow_pickle"),
    "pickled labels": ({"inputs": ROWS, "labels": np.array([{}, [], 1, 2], object)}, "allow_pickle"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    arrays, words = BAD[case]
    refused(npz(tmp_path / "d.npz", **arrays), words)


def test_a_model_of_several_inputs_needs_all_of_them(tmp_path: Path) -> None:
    path = npz(tmp_path / "d.npz", ids=np.ones((2, 3), np.int64), inputs=np.ones(2), labels=np.arange(2))
    with pytest.raises(JobProblem) as error:
        opened(path, TWO)
    assert error.value.problem.missing == ["mask"]


def test_files_that_are_no_npz_are_refused_with_the_reason(tmp_path: Path) -> None:
    whole = Path(npz(tmp_path / "whole.npz", inputs=ROWS, labels=np.arange(4))).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "other.npz").write_bytes(b"not a zip")
    (tmp_path / "damaged.npz").write_bytes(whole.replace(ROWS.tobytes(), b"\xff" * ROWS.nbytes))
    for name, words in [
        ("cut", "cut or something else"),
        ("empty", "is empty"),
        ("other", "cut or"),
        ("damaged", "CRC"),
    ]:
        refused(str(tmp_path / f"{name}.npz"), words)
    refused(str(tmp_path / "absent.npz"), "does not exist")
    (tmp_path / "data.txt").write_text("1,2")
    refused(str(tmp_path / "data.txt"), "is not an .npz, a folder of class folders, a .csv")
    (tmp_path / "annotations.json").write_text("{}")
    refused(str(tmp_path / "annotations.json"), "is not a COCO JSON of boxes: images: Field required")


def test_the_digest_is_of_samples_and_labels_not_of_the_file(tmp_path: Path) -> None:
    labels = np.arange(4)
    first = opened(npz(tmp_path / "a.npz", inputs=ROWS, labels=labels)).info.digest
    np.savez_compressed(tmp_path / "b.npz", inputs=ROWS, labels=labels, source=np.arange(9))
    assert opened(str(tmp_path / "b.npz")).info.digest == first
    others = {
        "value": {"inputs": ROWS + 1, "labels": labels},
        "label": {"inputs": ROWS, "labels": labels[::-1]},
        "order": {"inputs": ROWS[::-1], "labels": labels},
        "shape": {"inputs": ROWS.reshape(4, 3, 1), "labels": labels},
        "dtype": {"inputs": ROWS.astype(np.float64), "labels": labels},
    }
    digests = {opened(npz(tmp_path / f"{name}.npz", **arrays)).info.digest for name, arrays in others.items()}
    assert len(digests | {first}) == 6


def test_shared_samples_have_equal_digests_across_kinds_of_sets(tmp_path: Path) -> None:
    plain = opened(npz(tmp_path / "a.npz", inputs=ROWS, labels=np.arange(4))).sample_digests()
    named = opened(npz(tmp_path / "b.npz", x=ROWS[2:], labels=np.zeros(2, int))).sample_digests()
    assert len(set(plain)) == 4
    assert named == plain[2:]


def test_a_link_out_of_the_roots_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = npz(tmp_path / "d.npz", inputs=ROWS, labels=np.arange(4))
    (tmp_path / "in" / "link.npz").symlink_to(path)
    with pytest.raises(JobProblem) as error:
        open_dataset(str(tmp_path / "in" / "link.npz"), Preprocessing(), X, labelled=True, roots=[str(tmp_path / "in")])
    assert error.value.problem.code == "PATH_NOT_ALLOWED"
