"""The audit of calibration sets: what is not fit is refused with its evidence, what is honest is let through."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.steps import Int8Static
from edgeopt.engine import optimizing
from edgeopt.engine.calibration import audit as auditing
from edgeopt.engine.jobs import Optimize, Optimized
from edgeopt.engine.problems import JobProblem
from PIL import Image

from .calibration_worlds import (
    LENGTH,
    TABLES,
    WORDS,
    Arrays,
    Table,
    World,
    film,
    kinds,
    picture_world,
    pictures,
    sentence_world,
    sentences,
    signal_world,
    signals,
    told,
    unfit,
)
from .small_models import make_bench
from .tiny_models import CIFAR, linear, picking, real

IMAGES, LABELS = pictures(300, seed=2)
SEEN = pictures(200, seed=1)[0]  # the evaluation set's own
DEMO = Path(__file__).parents[2] / "server" / "demo"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return picture_world(tmp_path)


def noise(kind: str) -> np.ndarray:
    dice = np.random.default_rng(5)
    if kind == "uniform":
        return dice.integers(0, 256, IMAGES.shape, dtype=np.uint8)
    if kind == "gaussian":
        return np.clip(dice.normal(IMAGES.mean(), IMAGES.std(), IMAGES.shape), 0, 255).astype(np.uint8)
    return dice.permuted(IMAGES.reshape(len(IMAGES), -1, 3), axis=1).reshape(IMAGES.shape)


def trembling(images: np.ndarray, by: float = 4) -> np.ndarray:
    return np.clip(images + np.random.default_rng(6).normal(0, by, images.shape), 0, 255).astype(np.uint8)


BAD: dict[str, tuple[str, Arrays]] = {
    "uniform noise": ("noise", {"inputs": noise("uniform"), "labels": LABELS}),
    "gaussian noise": ("noise", {"inputs": noise("gaussian")}),
    "real pixels in another order": ("noise", {"inputs": noise("shuffled")}),
    "half of it noise": ("noise", {"inputs": np.concatenate([IMAGES[:150], noise("uniform")[:150]])}),
    "ten samples": ("count", {"inputs": IMAGES[:10], "labels": LABELS[:10]}),
    "ten samples and their trembling copies": ("copies", {"inputs": trembling(np.repeat(IMAGES[:10], 30, axis=0))}),
    "ten samples and their mirror images": (
        "copies",
        {"inputs": np.concatenate([IMAGES[:10], IMAGES[:10, :, ::-1]] * 5)},
    ),
    "samples six times over": ("copies", {"inputs": np.repeat(IMAGES[:50], 6, axis=0)}),
    "evaluation samples": ("leakage", {"inputs": SEEN}),
    "one in ten an evaluation sample": ("leakage", {"inputs": np.concatenate([IMAGES[:180], SEEN[:20]])}),
    "evaluation samples, brighter": ("leakage", {"inputs": (SEEN * 0.8 + 40).astype(np.uint8)}),
    "evaluation samples, trembling": ("leakage", {"inputs": trembling(SEEN)}),
    "evaluation samples, mirrored": ("leakage", {"inputs": SEEN[:, :, ::-1]}),
    "evaluation samples, shifted": ("leakage", {"inputs": np.roll(SEEN, 1, axis=2)}),
    "one class": ("classes", {"inputs": IMAGES[LABELS == 2], "labels": LABELS[LABELS == 2]}),
    "one class, unlabelled": ("classes", {"inputs": IMAGES[LABELS == 2]}),
    "two of four classes": ("classes", {"inputs": IMAGES[LABELS < 2], "labels": LABELS[LABELS < 2]}),
    "an eighth of the contrast": ("ranges", {"inputs": (IMAGES / 8 + 100).astype(np.uint8)}),
    "shifted into the light": ("ranges", {"inputs": (IMAGES / 2 + 127).astype(np.uint8)}),
    "pixels from 0 to 1": ("ranges", {"inputs": (IMAGES / 255).astype(np.float32)}),
    "black": ("copies", {"inputs": np.zeros_like(IMAGES)}),
}


@pytest.mark.parametrize(("kind", "arrays"), BAD.values(), ids=BAD.keys())
def test_an_unfit_set_is_found_out(world: World, kind: str, arrays: Arrays):
    assert kind in unfit(world.audit(**arrays))


GOOD: dict[str, Arrays] = {
    "labelled": {"inputs": IMAGES, "labels": LABELS},
    "unlabelled": {"inputs": IMAGES},
    "sorted by class": {"inputs": IMAGES[np.argsort(LABELS)], "labels": np.sort(LABELS)},
    "32 samples": {"inputs": IMAGES[:32], "labels": LABELS[:32]},
    "one class rarer": {"inputs": np.concatenate([IMAGES[:60], IMAGES[60:][LABELS[60:] != 0]])},
    "one evaluation sample in it": {"inputs": np.concatenate([IMAGES, SEEN[:1]])},
    "a little noisier": {"inputs": trembling(IMAGES, 3)},
    "darker": {"inputs": (IMAGES * 0.8).astype(np.uint8)},
    "brighter": {"inputs": np.clip(IMAGES * 1.1 + 10.0, 0, 255).astype(np.uint8)},
    "of less contrast": {"inputs": (IMAGES * 0.6 + 50).astype(np.uint8)},
    "every sample twice, and enough of them": {"inputs": np.concatenate([pictures(240, seed=3)[0]] * 2)},
    "some of it blank": {"inputs": np.concatenate([IMAGES, IMAGES[:60] * 0])},
}


@pytest.mark.parametrize("arrays", GOOD.values(), ids=GOOD.keys())
def test_an_honest_set_is_let_through(world: World, arrays: Arrays):
    findings = world.audit(**arrays)
    assert unfit(findings) == []
    assert set(told(findings)) <= {"count", "ranges", "leakage", "copies"}


@pytest.mark.parametrize("seed", range(10, 22))
@pytest.mark.parametrize("samples", [(40, 40), (120, 60)], ids=str)
def test_halves_of_one_source_are_never_refused(tmp_path: Path, seed: int, samples: tuple[int, int]):
    ours, theirs = samples
    images, labels = pictures(ours + theirs, seed)
    world = picture_world(tmp_path)
    np.savez(world.evaluation.dataset_path, inputs=images[ours:], labels=labels[ours:])
    findings = world.audit(inputs=images[:ours], labels=labels[:ours])
    assert unfit(findings) == []
    assert set(told(findings)) <= {"count", "ranges", "classes"}


def test_each_finding_says_how_much_and_what_to_do(world: World):
    (count,) = [f.text for f in world.audit(inputs=IMAGES[:10]) if f.unfit]
    assert "10 samples, at least 32" in count
    assert "18 %" in count
    assert "Add different samples" in count
    (copies,) = [f.text for f in world.audit(inputs=np.repeat(IMAGES[:50], 6, axis=0)) if f.unfit]
    assert "of 200 samples 50 differ, and 50 by more" in copies
    assert "in the evaluation set 200 and 200" in copies
    (leak,) = [f.text for f in world.audit(inputs=np.concatenate([IMAGES[:180], SEEN[:20]])) if f.unfit]
    assert "20 of 200 samples" in leak
    assert "20 identical" in leak
    assert "the first at 180, 181" in leak
    assert "10 % of the calibration set" in leak
    (noisy,) = [f.text for f in world.audit(inputs=BAD["half of it noise"][1]["inputs"]) if f.unfit]
    assert "50 % of the samples" in noisy
    (scaled,) = [
        f.text for f in world.audit(inputs=(IMAGES / 255).astype(np.float32)) if f.text.startswith("ranges: 1")
    ]
    assert "100 % that of an input" in scaled
    labels = LABELS[LABELS != 3]
    (classes,) = [
        f.text for f in world.audit(inputs=IMAGES[LABELS != 3], labels=labels) if f.text.startswith("classes")
    ]
    assert "missing: 3." in classes


def test_the_settling_of_the_ranges_is_always_told(world: World):
    (text,) = [f.text for f in world.audit(inputs=IMAGES) if f.text.startswith("ranges")]
    assert re.fullmatch(
        r"ranges: with 64 samples the scales still move [\d.]+ %, with 256 [\d.]+ % \(.*median of \d tensors\).*", text
    )


def test_whether_the_model_is_right_is_never_looked_at(world: World):
    """The labels of the evaluation set in another order: the same classes, other answers right."""
    before = world.audit(inputs=IMAGES, labels=LABELS)
    images, labels = pictures(200, seed=1)
    np.savez(world.evaluation.dataset_path, inputs=images, labels=np.random.default_rng(0).permutation(labels))
    assert world.audit(inputs=IMAGES, labels=LABELS) == before


def test_placeholder_labels_are_told_and_not_held_against_the_set(world: World):
    findings = world.audit(inputs=IMAGES, labels=np.zeros_like(LABELS))
    assert unfit(findings) == []
    assert any("placeholders" in finding.text for finding in findings)


def test_fewer_samples_than_classes_are_told(tmp_path: Path):
    dice = np.random.default_rng(0)
    x = dice.standard_normal((400, 20)).astype(np.float32)
    model = picking(tmp_path / "many.onnx", 20, [at % 20 for at in range(100)])
    world = World(tmp_path, model, {"inputs": x[:300], "labels": np.arange(300) % 100})
    findings = world.audit(inputs=x[300:350], labels=np.arange(50))
    assert unfit(findings) == []
    assert any("50 samples for 100 classes" in finding.text for finding in findings)
    seventh = dice.standard_normal((80, 20)).astype(np.float32) + 4 * np.eye(20, dtype=np.float32)[7]
    assert "classes" in unfit(world.audit(inputs=seventh, labels=np.full(80, 7)))


def test_rotated_images_are_told(world: World):
    cornered = IMAGES.copy()
    for corner in (np.s_[:, :3, :3], np.s_[:, -3:, -3:]):
        cornered[corner] = 0
    assert "augmentation" in told(world.audit(inputs=cornered))


def test_taking_too_few_of_a_good_set_is_told(world: World):
    findings = world.audit(inputs=IMAGES, used=8)
    assert unfit(findings) == []
    assert any("takes 8 of 300" in finding.text for finding in findings)


def test_one_huge_sample_is_told(tmp_path: Path):
    """It may be right: only what makes every sample too large is held against a set."""
    x = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    model = linear(tmp_path / "linear.onnx", np.random.default_rng(1).standard_normal((16, 4)))
    world = World(tmp_path, model, {"inputs": x[:150], "labels": np.arange(150) % 4})
    assert unfit(world.audit(inputs=x[150:])) == []
    spoiled = x[150:].copy()
    spoiled[7] *= 1000
    findings = world.audit(inputs=spoiled)
    assert unfit(findings) == []
    assert any("a few samples make the ranges" in finding.text for finding in findings)
    assert "ranges" in unfit(world.audit(inputs=x[150:] * 1000))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_honest_tables_are_let_through_and_wrong_ones_are_not(tmp_path: Path, table: Table):
    dice = np.random.default_rng(4)
    theirs, ours = table(dice, 300), table(dice, 200)
    weight = np.random.default_rng(1).standard_normal((ours.shape[1], 4)) / theirs.std(axis=0)[:, np.newaxis]
    world = World(tmp_path, linear(tmp_path / "linear.onnx", weight), {"inputs": theirs, "labels": np.arange(300) % 4})
    findings = world.audit(inputs=ours)
    assert unfit(findings) == []
    assert set(told(findings)) <= {"count", "leakage", "ranges"}
    assert "ranges" in unfit(world.audit(inputs=ours / 1000))
    assert "copies" in unfit(world.audit(inputs=np.repeat(ours[:1], 200, axis=0)))


@pytest.mark.parametrize("name", ["of two values", "of small numbers", "of different units"])
def test_tables_that_repeat_by_nature_are_let_through_each_time(tmp_path: Path, name: str):
    for seed in range(8):
        dice = np.random.default_rng(seed)
        ours, theirs = ((40, 300), (300, 40), (150, 150))[seed % 3]
        x = TABLES[name](dice, ours + theirs)
        model = linear(tmp_path / "linear.onnx", np.eye(x.shape[1]))
        world = World(tmp_path, model, {"inputs": x[ours:], "labels": np.arange(theirs) % 4}, metric="rmse")
        assert unfit(world.audit(inputs=x[:ours])) == []


def test_features_that_do_not_hang_together_are_noise(tmp_path: Path):
    dice = np.random.default_rng(4)
    theirs, ours = (TABLES["of different units"](dice, n) for n in (300, 200))
    model = linear(tmp_path / "linear.onnx", np.diag(1 / theirs.std(axis=0)))
    world = World(tmp_path, model, {"inputs": theirs, "labels": np.arange(300) % 4}, metric="rmse")
    drawn = (theirs.mean(axis=0) + theirs.std(axis=0) * dice.standard_normal((200, 4))).astype(np.float32)
    assert "noise" in unfit(world.audit(inputs=drawn))
    assert "noise" in unfit(world.audit(inputs=dice.permuted(ours, axis=0)))
    assert "leakage" in unfit(world.audit(inputs=theirs[:200]))
    assert "leakage" in unfit(world.audit(inputs=theirs[:200] * np.float32(1.001)))


def test_frames_of_films_are_let_through(tmp_path: Path):
    """Neighbouring frames are near copies of one another, in one set or in both."""
    frames = film(480, seed=3)
    order = np.random.default_rng(0).permutation(480)
    for ours, theirs in (
        (frames[order[:240]], frames[order[240:]]),
        (frames[::2], frames[1::2]),
        (frames[:240], frames[240:]),
        (frames[:240], SEEN),
        (IMAGES, frames),
    ):
        world = picture_world(tmp_path)
        np.savez(world.evaluation.dataset_path, inputs=theirs, labels=np.arange(len(theirs)) % 4)
        assert unfit(world.audit(inputs=ours)) == []


def test_a_model_with_a_fixed_batch_is_watched_too(tmp_path: Path):
    world = picture_world(tmp_path, batch=3)
    assert unfit(world.audit(inputs=IMAGES, labels=LABELS)) == []
    assert "classes" in unfit(world.audit(inputs=IMAGES[LABELS == 2]))


def test_a_model_that_cannot_be_watched_is_no_fault_of_the_set(world: World):
    model = onnx.load(world.model)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, world.model)
    findings = world.audit(inputs=IMAGES)
    assert unfit(findings) == []
    assert any("NoSuchOperator" in finding.text for finding in findings)
    assert "noise" in unfit(world.audit(inputs=noise("uniform")))


def test_a_leak_is_found_though_only_a_part_is_looked_at(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auditing, "_MOST", 80)
    (text,) = [f.text for f in world.audit(inputs=SEEN) if f.unfit and f.text.startswith("leakage")]
    assert "looking at 80 of its 200" in text
    assert "leakage" not in unfit(world.audit(inputs=IMAGES))


def test_sentences(tmp_path: Path):
    world = sentence_world(tmp_path)
    honest = world.audit(**sentences(220, seed=2))
    assert unfit(honest) == []
    assert "leakage" in told(honest), "a sentence recurs within the evaluation set as well"
    assert "leakage" in unfit(world.audit(**{name: value[:150] for name, value in sentences(200, seed=1).items()}))
    drawn = np.random.default_rng(7).integers(0, WORDS, (220, LENGTH))
    assert "foreign" in unfit(world.audit(ids=drawn, mask=np.ones_like(drawn)))


@pytest.mark.parametrize("length", [300, 270], ids=["as long", "shorter"])
def test_signals_of_any_length(tmp_path: Path, length: int):
    world = signal_world(tmp_path)
    honest = signals(220, seed=2, length=length)
    assert unfit(world.audit(inputs=honest)) == []
    white = np.random.default_rng(8).standard_normal(honest.shape).astype(np.float32)
    assert "noise" in unfit(world.audit(inputs=white))
    assert "ranges" in unfit(world.audit(inputs=honest * 80 + 400))


def test_handwritten_digits_look_alike_and_are_not_taken_for_copies(tmp_path: Path):
    preprocessing = Preprocessing(scale=1 / 255, mean=[0.5], std=[0.5], layout="NCHW")
    with np.load(DEMO / "digits_test.npz") as file:
        evaluation = {name: file[name] for name in ("inputs", "labels")}
    world = World(tmp_path, str(DEMO / "digits_net.onnx"), evaluation, preprocessing=preprocessing)
    assert kinds(world.audit(str(DEMO / "digits_calibration.npz"))) == ["ranges"]
    assert "leakage" in unfit(world.audit(inputs=trembling(evaluation["inputs"][:200], 8)))


def optimize(world: World, folder: Path, calibration: str) -> Optimized:
    task = Optimize(
        parent_path=str(world.model),
        step=Int8Static(technique="int8_static"),
        file_stem="made",
        evaluation=world.evaluation,
        calibration_path=calibration,
    )
    return optimizing.run(task, make_bench(folder))


def test_an_int8_step_is_refused_before_anything_is_made(world: World, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(JobProblem) as caught:
        optimize(world, work, world.write(inputs=noise("uniform")[:10]))
    problem = caught.value.problem
    assert problem.code == "CALIBRATION_UNFIT"
    assert "int8_static" in problem.message
    assert "calibration_path" in problem.message
    assert {text.partition(":")[0] for text in problem.missing} >= {"count", "noise"}
    assert not list((work / "files").glob("*.onnx"))


def test_what_is_not_refused_is_in_the_notes(world: World, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    made = optimize(world, work, world.write(inputs=IMAGES[:40]))
    said = [note for note in made.notes if note.startswith("calibration set, ")]
    assert any("count: 40 samples, 200 or more" in note for note in said)
    assert any("with 40 samples the scales still move" in note for note in said)


def recompressed(images: np.ndarray) -> np.ndarray:
    found = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=70)
        found.append(np.asarray(Image.open(file)))
    return np.stack(found)


def cifar(folder: Path, model: str, test: str) -> World:
    with np.load(real(f"cifar10/{test}.npz")) as file:
        evaluation = {name: file[name] for name in ("inputs", "labels")}
    return World(folder, real(f"cifar10/{model}.onnx"), evaluation, preprocessing=Preprocessing(**CIFAR))


@pytest.mark.parametrize("test", ["test_png_dev", "test_jpg_dev"])
@pytest.mark.parametrize("model", ["resnet20_cifar10", "mobilenetv2_cifar10_probe"])
def test_real_training_images_are_fit(tmp_path: Path, model: str, test: str):
    findings = cifar(tmp_path, model, test).audit(real("cifar10/calib_png.npz"))
    assert unfit(findings) == []
    assert told(findings) == ["ranges"]


def test_real_images_misused_are_refused(tmp_path: Path):
    world = cifar(tmp_path, "resnet20_cifar10", "test_png_dev")
    with np.load(real("cifar10/calib_png.npz")) as file:
        images, labels = file["inputs"], file["labels"]
    with np.load(world.evaluation.dataset_path) as file:
        seen = file["inputs"][:300]
    cats = np.repeat(images[labels == 3], 6, axis=0)
    drawn = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    bad: list[tuple[Arrays, set[str]]] = [
        ({"inputs": drawn, "labels": np.arange(500) % 10}, {"noise", "classes"}),
        ({"inputs": images[:10], "labels": labels[:10]}, {"count"}),
        ({"inputs": seen}, {"leakage"}),
        ({"inputs": cats, "labels": np.full(300, 3)}, {"copies", "classes"}),
        ({"inputs": np.roll(seen, 2, axis=2)}, {"leakage"}),
        ({"inputs": recompressed(seen)}, {"leakage"}),
        ({"inputs": np.concatenate([images[:270], seen[:30, :, ::-1]])}, {"leakage"}),
        ({"inputs": (images / 8).astype(np.uint8)}, {"ranges", "classes"}),
    ]
    for arrays, expected in bad:
        assert set(unfit(world.audit(**arrays))) == expected


def test_fifty_real_images_of_a_thousand_classes_are_told_and_let_through(tmp_path: Path):
    world = World(
        tmp_path, real("imagenet/squeezenet1_1_imagenet.onnx"), {"inputs": np.zeros(1), "labels": np.zeros(1)}
    )
    world.evaluation = Evaluation(
        dataset_path=real("imagenet/test_dev_300"), metric="top1", preprocessing=Preprocessing(**CIFAR)
    )
    findings = world.audit(real("imagenet/calib_50"))
    assert unfit(findings) == []
    assert told(findings) == ["count", "ranges", "classes"]


def test_real_sentences_are_fit(tmp_path: Path):
    def tokens(name: str, width: int) -> Arrays:
        with np.load(real(f"text/{name}.npz")) as file:
            ids, mask = (np.concatenate([file[f"{part}_a"], file[f"{part}_b"]]) for part in ("ids", "mask"))
        filled = [np.pad(part, ((0, 0), (0, width - part.shape[1]))).astype(np.int64) for part in (ids, mask)]
        return {"input_ids": filled[0], "attention_mask": filled[1]}

    some = np.random.default_rng(0).permutation(3000)[:600]  # they are sorted by where they come from
    evaluation = {name: values[some] for name, values in tokens("stsb_dev_1500", 53).items()}
    model = real("text/minilm_l6_v2_stsbvocab.onnx")
    world = World(tmp_path, model, evaluation | {"labels": np.zeros(600)}, metric="spearman")
    assert unfit(world.audit(**tokens("calib_stsb_train_250pairs", 53))) == []


def test_real_signals_are_fit(tmp_path: Path):
    with np.load(real("nanopore/calib_chunks_160x1x3000.npz")) as file:
        chunks = file["chunks"].astype(np.float32)
    evaluation = {"inputs": chunks[:80], "labels": np.zeros(80)}
    world = World(tmp_path, real("nanopore/squigglenet_gru48.onnx"), evaluation, metric="rmse")
    assert unfit(world.audit(inputs=chunks[80:])) == []
    dice = np.random.default_rng(0)
    assert "noise" in unfit(world.audit(inputs=dice.standard_normal((80, 1, 3000)).astype(np.float32)))
