from __future__ import annotations

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.data.preprocessing import apply, resized
from edgeopt.engine.data.resolving import resolve
from edgeopt.engine.problems import JobProblem
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

CIFAR = Preprocessing(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
PIXELS = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)

images = npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def info(*shape: int | None, dtype: str = "float32") -> list[TensorInfo]:
    return [TensorInfo(name="x", dtype=dtype, shape=[None, *shape])]


def resolved(sample: np.ndarray, inputs: list[TensorInfo], p: Preprocessing | None = None) -> Preprocessing:
    return resolve(Evaluation(dataset_path="d.npz", metric="top1", preprocessing=p), inputs, sample)


def asked(sample: np.ndarray, inputs: list[TensorInfo], words: str, p: Preprocessing | None = None) -> None:
    with pytest.raises(JobProblem, match=words) as error:
        resolved(sample, inputs, p)
    assert error.value.problem.code == "INVALID_ARGUMENT"


@given(images)
def test_normalisation_is_the_formula_per_channel(image: np.ndarray) -> None:
    done = apply(image[np.newaxis], CIFAR.model_copy(update={"layout": "NCHW", "dtype": "float32"}))
    assert CIFAR.mean is not None and CIFAR.std is not None
    for c in range(3):
        expected = (image[..., c] / 255 - CIFAR.mean[c]) / CIFAR.std[c]
        assert np.allclose(done[0, c], expected, atol=1e-5)
    assert done.dtype == np.float32
    assert done.flags.c_contiguous


@given(images)
def test_gray_is_what_pillow_calls_gray(image: np.ndarray) -> None:
    gray = apply(image[np.newaxis], Preprocessing(color="GRAY"))
    assert np.array_equal(gray[0, ..., 0], np.asarray(Image.fromarray(image).convert("L")))


def test_bgr_turns_the_channels_round() -> None:
    assert np.array_equal(apply(PIXELS[np.newaxis], Preprocessing(color="BGR"))[0], PIXELS[..., ::-1])


@given(images, st.integers(1, 12), st.integers(1, 12))
def test_resize_is_pillows_bilinear(image: np.ndarray, height: int, width: int) -> None:
    done = apply(image[np.newaxis], Preprocessing(resize=(height, width)))
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(done[0], np.asarray(expected))


@pytest.mark.parametrize(
    ("shape", "after"), [((480, 640), (256, 341)), ((640, 480), (341, 256)), ((300, 300), (256, 256))]
)
def test_one_number_is_the_short_side(shape: tuple[int, int], after: tuple[int, int]) -> None:
    assert resized(shape, 256) == after


def test_the_crop_is_taken_from_the_centre() -> None:
    done = apply(PIXELS[np.newaxis], Preprocessing(center_crop=(4, 2)))
    assert np.array_equal(done[0], PIXELS[1:5, 3:5])


def test_images_of_unequal_size_meet_in_one_batch() -> None:
    done = apply([PIXELS, PIXELS[:5]], Preprocessing(resize=5, center_crop=4, scale=1.0, layout="NCHW"))
    assert done.shape == (2, 3, 4, 4)


def test_a_crop_that_does_not_fit_is_refused() -> None:
    with pytest.raises(JobProblem, match="center_crop") as error:
        apply(PIXELS[np.newaxis], Preprocessing(center_crop=7))
    assert error.value.problem.code == "INVALID_ARGUMENT"


def test_integers_are_rounded_and_clipped() -> None:
    batch = np.array([[0, 1, 3, 127, 128, 255]], np.uint8)
    assert apply(batch, Preprocessing(scale=0.5, dtype="uint8")).tolist() == [[0, 0, 2, 64, 64, 128]]
    assert apply(batch, Preprocessing(mean=[100], dtype="int8")).tolist() == [[-100, -99, -97, 27, 28, 127]]


def test_images_without_a_channel_axis_get_one() -> None:
    p = resolved(PIXELS[..., 0], info(1, 6, 8), Preprocessing(scale=1.0))
    assert apply(PIXELS[np.newaxis, ..., 0], p).shape == (1, 1, 6, 8)


def test_layout_and_dtype_are_derived_from_the_input() -> None:
    assert resolved(PIXELS, info(3, 6, 8), CIFAR) == CIFAR.model_copy(update={"layout": "NCHW", "dtype": "float32"})
    assert resolved(PIXELS, info(6, 8, 3), CIFAR) == CIFAR.model_copy(update={"layout": "NHWC", "dtype": "float32"})
    assert resolved(PIXELS, info(3, None, None), CIFAR).layout == "NCHW"
    assert resolved(PIXELS, info(None, None, 3), CIFAR).layout == "NHWC"


def test_tensors_that_fit_stay_as_they_are() -> None:
    ready = np.ones((3, 6, 8), np.float32)
    done = resolved(ready, info(3, 6, 8))
    assert done == Preprocessing(dtype="float32")
    assert np.array_equal(apply(ready[np.newaxis], done)[0], ready)
    assert resolved(np.ones(7, np.int64), info(7, dtype="int64")) == Preprocessing()
    assert resolved(np.ones(7, np.uint8), info(7)) == Preprocessing(dtype="float32")


def test_a_uint8_model_takes_the_pixels() -> None:
    done = resolved(PIXELS, info(6, 8, 3, dtype="uint8"))
    assert np.array_equal(apply(PIXELS[np.newaxis], done)[0], PIXELS)


@pytest.mark.parametrize(
    "p", [None, Preprocessing(), Preprocessing(layout="NCHW"), Preprocessing(mean=[0.5], std=[0.5])]
)
def test_how_pixels_are_scaled_is_asked_and_not_guessed(p: Preprocessing | None) -> None:
    asked(PIXELS, info(3, 6, 8), r"scaled by 1/255, and with which mean and std\?", p)


def test_the_question_has_an_example_that_fits_the_images() -> None:
    asked(PIXELS, info(3, 6, 8), r'"mean": \[0\.485, 0\.456, 0\.406\]')
    for gray in (PIXELS[..., :1], PIXELS[..., 0]):
        asked(gray, info(1, 6, 8), r'"mean": \[0\.1307\]')


@pytest.mark.parametrize("p", [Preprocessing(scale=1.0), Preprocessing(mean=[104.0, 117.0, 123.0])])
def test_pixel_values_as_they_are_can_be_asked_for(p: Preprocessing) -> None:
    assert resolved(PIXELS, info(3, 6, 8), p).scale == p.scale


@pytest.mark.parametrize(
    ("p", "shape", "words"),
    [
        (
            CIFAR,
            (3, 6, 9),
            r"takes float32 \[\?, 3, 6, 9\], but a sample of the data is uint8 \[6, 8, 3\].*resize.*\[6, 9\]",
        ),
        (CIFAR.model_copy(update={"center_crop": 4}), (3, 6, 8), r"\[4, 4, 3\] after colour, resize and crop"),
        (CIFAR.model_copy(update={"layout": "NHWC"}), (3, 6, 8), "'NHWC' does not make it fit"),
        (CIFAR.model_copy(update={"mean": [0.1, 0.2]}), (3, 6, 8), "mean has 2 values, and the images have 3 channels"),
        (CIFAR.model_copy(update={"dtype": "uint8"}), (3, 6, 8), "dtype='uint8', but .* takes float32"),
        (Preprocessing(scale=1.0), (1, 6, 8), "GRAY"),
    ],
)
def test_a_preprocessing_that_does_not_fit_is_refused_in_words(
    p: Preprocessing, shape: tuple[int, ...], words: str
) -> None:
    asked(PIXELS, info(*shape), words, p)


def test_image_steps_are_refused_where_there_are_no_images() -> None:
    floats = PIXELS.astype(np.float32)
    asked(floats, info(3, 6, 8), "resize works on uint8 images", Preprocessing(resize=(6, 8)))
    asked(np.ones(4), info(4), "layout is for images", Preprocessing(layout="NCHW"))
    asked(PIXELS[..., :2], info(2, 6, 8), "color='BGR' takes RGB", Preprocessing(color="BGR", scale=1.0))
    stored_first = np.ones((3, 6, 8), np.float32)
    asked(stored_first, info(3, 6, 8), "mean is per channel", Preprocessing(mean=[0.1, 0.2, 0.3]))


def test_a_cube_leaves_the_layout_open() -> None:
    asked(np.zeros((3, 3, 3), np.uint8), info(3, 3, 3), "channels first or last", Preprocessing(scale=1.0))


def test_several_inputs_take_ready_tensors() -> None:
    two = [*info(3), TensorInfo(name="y", dtype="int64", shape=[None, 2])]
    assert resolved(np.ones(3), two) == Preprocessing()
    asked(np.ones(3), two, "leave evaluation.preprocessing out", Preprocessing(scale=1.0))


preprocessings = st.builds(
    Preprocessing,
    resize=st.sampled_from([None, 6, (6, 8)]),
    center_crop=st.sampled_from([None, 4, (6, 8), 20]),
    color=st.sampled_from([None, "RGB", "BGR", "GRAY"]),
    scale=st.sampled_from([None, 1 / 255]),
    mean=st.sampled_from([None, [0.5], [0.1, 0.2, 0.3], [104.0, 117.0, 123.0]]),
    std=st.sampled_from([None, [2.0], [0.5, 0.6, 0.7]]),
    layout=st.sampled_from([None, "NCHW", "NHWC"]),
    dtype=st.sampled_from([None, "float32", "uint8"]),
)


@given(
    preprocessings,
    st.sampled_from([(3, 6, 8), (6, 8, 3), (1, 6, 8), (3, None, None), (3, 4, 4), (3, 20, 20)]),
    st.sampled_from(["float32", "float16", "uint8", "int8"]),
    st.sampled_from([PIXELS, PIXELS.astype(np.float32), PIXELS.transpose(2, 0, 1).astype(np.float32)]),
)
def test_what_is_resolved_fits_the_model_and_stays_resolved(
    p: Preprocessing, shape: tuple[int, ...], dtype: str, sample: np.ndarray
) -> None:
    inputs = info(*shape, dtype=dtype)
    try:
        done = resolved(sample, inputs, p)
    except JobProblem as problem:
        assert problem.problem.code == "INVALID_ARGUMENT"
        return
    assert resolved(sample, inputs, done) == done
    fed = apply(sample[np.newaxis], done)
    assert all(wanted in (None, have) for wanted, have in zip(shape, fed.shape[1:], strict=True))
