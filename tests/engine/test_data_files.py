"""Data sets of which every sample is a file: class folders and CSV."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.evaluation import Preprocessing
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.data.dataset import Dataset, open_dataset
from edgeopt.engine.data.images import read_image
from edgeopt.engine.problems import JobProblem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

IMAGE = [TensorInfo(name="image", dtype="float32", shape=[None, 3, 4, 5])]
AS_IMAGE = Preprocessing(scale=1.0, layout="NCHW", dtype="float32")
VECTOR = [TensorInfo(name="x", dtype="float32", shape=[None, 3])]


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (4, 5), mode: str = "RGB") -> np.ndarray:
    """Writes random pixels as PNG or JPEG and returns them as they were."""
    shape = (*size, 3) if mode == "RGB" else size
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def opened(path: Path, *, labelled: bool = True, roots: list[str] | None = None) -> Dataset:
    return open_dataset(str(path), AS_IMAGE, IMAGE, labelled=labelled, roots=roots)


def refused(path: Path, words: str, code: str = "BAD_FILE", roots: list[str] | None = None) -> None:
    with pytest.raises(JobProblem, match=words) as error:
        data = opened(path, roots=roots)
        data.feeds(0, len(data))
    assert error.value.problem.code == code


def test_class_folders_in_sorted_order_are_the_classes(tmp_path: Path) -> None:
    pixels = [picture(tmp_path / name, seed) for seed, name in enumerate(["ant/b.png", "ant/a.png", "bee/a.png"])]
    data = opened(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.ordered_classes == 2
    assert (data.info.kind, data.info.samples, data.info.classes) == ("folder", 3, 2)
    assert np.array_equal(data.raw(0, 3)["inputs"], np.stack([pixels[1], pixels[0], pixels[2]]))
    assert np.array_equal(data.feeds(2, 3)["image"][0], pixels[2].transpose(2, 0, 1))


def test_folders_named_by_numbers_have_these_as_classes(tmp_path: Path) -> None:
    for name in ("0007", "0010", "0900"):
        picture(tmp_path / name / "a.png")
    data = opened(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [7, 10, 900]
    assert data.ordered_classes is None


def test_hidden_entries_and_loose_files_beside_the_folders_do_not_count(tmp_path: Path) -> None:
    picture(tmp_path / "0" / "a.png")
    picture(tmp_path / ".cache" / "b.png")
    (tmp_path / "0" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "README.md").write_text("about")
    assert len(opened(tmp_path)) == 1


def test_calibration_images_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    data = opened(tmp_path, labelled=False)
    assert (len(data), data.labels) == (1, None)
    refused(tmp_path, "no class folders")


def test_bad_folders_are_refused_with_the_name(tmp_path: Path) -> None:
    picture(tmp_path / "empty class" / "ant" / "a.png")
    (tmp_path / "empty class" / "bee").mkdir()
    refused(tmp_path / "empty class", "bee holds no images")
    picture(tmp_path / "foreign" / "0" / "a.png")
    (tmp_path / "foreign" / "0" / "notes.txt").write_text("x")
    refused(tmp_path / "foreign", r"notes\.txt.* is no sample")
    picture(tmp_path / "nested" / "0" / "deeper.png" / "a.png")
    refused(tmp_path / "nested", r"deeper\.png is not a file")
    picture(tmp_path / "twice" / "1" / "a.png")
    picture(tmp_path / "twice" / "01" / "a.png")
    refused(tmp_path / "twice", "the same number")
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", "no class folders")


def test_images_of_unequal_size_need_a_resize(tmp_path: Path) -> None:
    picture(tmp_path / "0" / "a.png", size=(4, 5))
    picture(tmp_path / "0" / "b.png", size=(8, 10))
    refused(tmp_path, r"differ in size.*resize")
    resized = AS_IMAGE.model_copy(update={"resize": (4, 5)})
    data = open_dataset(str(tmp_path), resized, IMAGE, labelled=True)
    assert data.feeds(0, 2)["image"].shape == (2, 3, 4, 5)
    assert data.raw(1, 2)["inputs"].shape == (1, 8, 10, 3)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "good" / "0" / "a.png", size=(64, 64))
    whole = (tmp_path / "good" / "0" / "a.png").read_bytes()
    for name, content in {
        "cut": whole[:200],
        "foreign": b"GIF89a" + bytes(50),
        "text": b"hello",
    }.items():
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / "0" / f"{name}.png").write_bytes(content)
        refused(tmp_path / name, rf"{name}\.png cannot be read")
    Image.fromarray(np.full((4, 5), 60_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(JobProblem, match="more than 8 bits"):
        read_image(tmp_path / "deep.png")


def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    refused(tmp_path, r"bomb\.png")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(suffix=st.sampled_from(["png", "jpg"]), at=st.integers(0, 700), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_image_is_read_or_named_never_a_crash(
    tmp_path: Path, suffix: str, at: int, byte: int, cut: bool
) -> None:
    path = tmp_path / f"a.{suffix}"
    picture(path, size=(12, 12))
    content = bytearray(path.read_bytes())
    at %= len(content)
    path.write_bytes(content[:at] if cut else bytes(content[:at]) + bytes([byte]) + bytes(content[at + 1 :]))
    try:
        assert read_image(path).shape[2] == 3
    except JobProblem as problem:
        assert problem.problem.code == "BAD_FILE"
        assert path.name in problem.problem.message


def test_gray_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    gray = picture(tmp_path / "gray.png", mode="L")
    assert np.array_equal(read_image(tmp_path / "gray.png"), np.repeat(gray[..., None], 3, axis=2))
    Image.new("RGBA", (5, 4), (1, 2, 3, 128)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png")[0, 0].tolist() == [1, 2, 3]


def test_links_out_of_the_roots_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    picture(inside / "files" / "0" / "a.png")
    picture(outside / "secret.png")
    picture(outside / "folder" / "b.png")
    opened(inside / "files", roots=[str(inside)])
    (inside / "files" / "0" / "b.png").symlink_to(outside / "secret.png")
    refused(inside / "files", "outside the allowed roots", "PATH_NOT_ALLOWED", [str(inside)])
    (inside / "folders").mkdir()
    (inside / "folders" / "0").symlink_to(outside / "folder")
    refused(inside / "folders", "outside the allowed roots", "PATH_NOT_ALLOWED", [str(inside)])
    for name, row in {"up": "../out/secret.png", "absolute": str(outside / "secret.png")}.items():
        (inside / f"{name}.csv").write_text(f"{row},0\n")
        refused(inside / f"{name}.csv", "outside the allowed roots", "PATH_NOT_ALLOWED", [str(inside)])


def test_the_digest_of_a_folder_is_of_names_and_bytes(tmp_path: Path) -> None:
    picture(tmp_path / "0" / "a.png", 1)
    first = opened(tmp_path).info.digest
    assert opened(tmp_path).info.digest == first
    (tmp_path / "0" / "a.png").rename(tmp_path / "0" / "b.png")
    renamed = opened(tmp_path).info.digest
    picture(tmp_path / "0" / "b.png", 2)
    redrawn = opened(tmp_path).info.digest
    (tmp_path / "0").rename(tmp_path / "1")
    assert len({first, renamed, redrawn, opened(tmp_path).info.digest}) == 4


@pytest.mark.parametrize("header", ["", "path,label\n", "file,class\n"])
def test_a_csv_of_images_with_or_without_a_header(tmp_path: Path, header: str) -> None:
    pixels = [picture(tmp_path / "images" / name, seed) for seed, name in enumerate(["a.png", "b, c.png"])]
    (tmp_path / "d.csv").write_text(f'\ufeff{header}images/a.png,3\n\n"images/b, c.png", 1\n', encoding="utf-8")
    data = opened(tmp_path / "d.csv")
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [3, 1]
    assert (data.info.kind, data.info.classes) == ("csv", 2)
    assert np.array_equal(data.raw(0, 2)["inputs"], np.stack(pixels))


def test_a_csv_of_arrays_with_labels_that_are_not_whole(tmp_path: Path) -> None:
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", np.full(3, index, np.float32))
    (tmp_path / "d.csv").write_text("path,label\n0.npy,1\n1.npy,2.5\n2.npy,-1e-3\n")
    data = open_dataset(str(tmp_path / "d.csv"), Preprocessing(), VECTOR, labelled=True)
    assert data.labels is not None
    assert data.labels.tolist() == [1.0, 2.5, -0.001]
    assert data.info.classes is None
    assert data.feeds(0, 3)["x"].tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


def test_a_csv_of_paths_alone_serves_for_calibration(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text("path\na.png\n")
    assert opened(tmp_path / "d.csv", labelled=False).labels is None
    refused(tmp_path / "d.csv", "expected path,label")


BAD_CSV = {
    "": "is empty",
    "path,label\n": "no samples",
    "a.png,0\ngone.png,1\n": r"line 2: .*gone\.png does not exist",
    "a.png,0\na.png,cat\n": "line 2: the label 'cat'",
    "a.png,0\na.png,nan\n": "line 2: the label 'nan'",
    "a.png,0\na.png\n": "line 2: 1 columns",
    "a.png,0,x\n": "expected path,label",
    "a.png,0\n,1\n": "line 2: no path",
    'a.png,0\n"a.png,1\n': "not a CSV",
    "a.png,0\nsub.png,1\n": r"sub\.png is not a file",
    "a.png,0\nd.csv,1\n": "'d.csv' is no sample",
}


@pytest.mark.parametrize("content", BAD_CSV)
def test_a_bad_csv_is_refused_with_the_line(tmp_path: Path, content: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "d.csv").write_text(content)
    refused(tmp_path / "d.csv", BAD_CSV[content])


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes("ä.png,0\n".encode("utf-16"))
    refused(tmp_path / "d.csv", "UTF-8")


def test_bad_arrays_of_a_csv_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.array([1.0, np.nan, 0.0]))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00v")
    for name in ("nan", "object", "cut"):
        (tmp_path / "d.csv").write_text(f"{name}.npy,0\n")
        refused(tmp_path / "d.csv", rf"{name}\.npy")


def test_a_model_of_several_inputs_needs_named_arrays(tmp_path: Path) -> None:
    picture(tmp_path / "0" / "a.png")
    with pytest.raises(JobProblem, match="arrays of these names"):
        open_dataset(str(tmp_path), Preprocessing(), IMAGE + VECTOR, labelled=True)
