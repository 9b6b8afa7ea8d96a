"""Networks that can be trained, what pruning may cut, and the loop that all techniques share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation
from edgeopt.contract.measures import Interface
from edgeopt.contract.steps import PruneStructured, Step
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.jobs import Optimize
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("torch_pruning", reason="the extra torch is not installed")
from edgeopt.engine.techniques import prune_structured  # noqa: E402
from edgeopt.engine.training.channels import prune_channels, remaining  # noqa: E402
from edgeopt.engine.training.course import open_course  # noqa: E402
from edgeopt.engine.training.folding import fold_norms  # noqa: E402
from edgeopt.engine.training.loop import Course, Recipe, fit  # noqa: E402
from edgeopt.engine.training.network import Network, leaves, open_network  # noqa: E402
from edgeopt.engine.training.teaching import taught_by  # noqa: E402

from . import trained_models  # noqa: E402

nn = torch.nn
PRUNE: Step = PruneStructured(technique="prune_structured")


def fed(count: int = 8) -> list[Any]:
    return [torch.from_numpy(trained_models.samples(count, 5)[0])]


def opened(net: Any, path: Path, example: Any = None) -> Network:
    return open_network(trained_models.exported(net, path, example), "prune_structured")


@given(channels=st.integers(1, 2048), ratio=st.floats(0.01, 0.99))
def test_what_remains_is_what_kernels_like_and_near_what_was_asked(channels: int, ratio: float):
    keep = remaining(channels, ratio)
    assert 1 <= keep <= channels
    assert keep == channels or keep % 8 == 0
    assert keep in (channels, 8) or abs(keep - channels * (1 - ratio)) <= 4


@pytest.mark.parametrize("decomposed", [False, True])
def test_layers_become_modules_again_and_compute_the_same(tmp_path: Path, *, decomposed: bool):
    net = trained_models.Residual().eval()
    path = trained_models.exported(net, tmp_path / "net.pt2")
    if decomposed:  # as other tools save programs: core operators alone
        torch.export.save(torch.export.load(path).run_decompositions(), path)
    network = open_network(path, "prune_structured")
    kinds = [type(layer) for layer in network.module.modules()]
    assert kinds.count(nn.Conv2d) == 3
    assert kinds.count(nn.BatchNorm2d) == 3
    assert isinstance(network.module.get_submodule("block.conv1"), nn.Conv2d)
    torch.testing.assert_close(network.module(*fed()), net(*fed()))
    assert fold_norms(network.module) == 3
    torch.testing.assert_close(network.module(*fed()), net(*fed()), rtol=1e-4, atol=1e-4)


def test_what_is_saved_again_is_fed_and_answers_alike(tmp_path: Path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = trained_models.Residual()

        def forward(self, picture: Any) -> dict[str, Any]:
            return {"scores": self.net(picture)}

    network = opened(Named(), tmp_path / "net.pt2")
    network.saved(tmp_path / "again.pt2", fed(2))
    before, after = open_file(tmp_path / "net.pt2"), open_file(tmp_path / "again.pt2")
    assert after.inputs == before.inputs
    assert after.outputs == before.outputs
    assert [o.name for o in after.outputs] == ["scores"]
    assert str(Path(__file__).parent).encode() not in (tmp_path / "again.pt2").read_bytes()


class Gated(nn.Module):
    """Squeeze and excitation, depthwise convolutions, a sigmoid: what comes after channels need not keep zero at zero."""

    def __init__(self):
        super().__init__()
        self.first, self.depth = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.squeeze, self.excite = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 32, 1)
        self.last, self.head = nn.Conv2d(32, 24, 1), nn.Linear(24, 4)

    def forward(self, x: Any) -> Any:
        x = torch.sigmoid(self.depth(torch.sigmoid(self.first(x))))
        x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(torch.nn.functional.hardswish(self.last(x)).mean((2, 3)))


class Joined(nn.Module):
    """Concatenation, and a reshape with a number that was traced."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(1, 32, 3, padding=1)
        self.mix, self.head = nn.Conv2d(48, 16, 1), nn.Linear(16 * 64, 4)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.mix(torch.cat([self.left(x), self.right(x)], 1)))
        return self.head(x.reshape(x.shape[0], 16 * 64))


@pytest.mark.parametrize("make", [trained_models.Residual, trained_models.Shifted, Gated, Joined])
@settings(deadline=None, max_examples=4)
@given(ratio=st.sampled_from([0.2, 0.4, 0.5, 0.75]))
def test_a_cut_network_computes_what_is_left_of_the_whole_one(make: Any, ratio: float, tmp_path_factory: Any):
    torch.manual_seed(3)
    network = opened(make(), tmp_path_factory.mktemp("cut") / "net.pt2")
    whole = network.module(*fed())
    try:
        pruned = prune_channels(network, fed(), ratio)
    except JobProblem as found:
        assert found.problem.code == "UNAVAILABLE"
        torch.testing.assert_close(network.module(*fed()), whole)
        return
    assert network.module(*fed()).shape == whole.shape
    assert pruned.macs[1] < pruned.macs[0]
    assert pruned.parameters[1] < pruned.parameters[0]
    layers: dict[str, Any] = dict(network.module.named_modules())
    for name, before, after in pruned.layers:
        assert layers[name].weight.shape[0] == after == remaining(before, ratio)
    for name in pruned.left:
        assert name in layers
    torch.testing.assert_close(opened_again(network, tmp_path_factory.mktemp("again")), network.module(*fed()))


def opened_again(network: Network, folder: Path) -> Any:
    network.saved(folder / "cut.pt2", fed(2))
    return open_network(folder / "cut.pt2", "prune_structured").module(*fed())


def test_channels_that_a_shortcut_shifts_stay_whole(tmp_path: Path):
    network = opened(trained_models.Shifted(), tmp_path / "net.pt2")
    pruned = prune_channels(network, fed(), 0.5)
    assert [name for name, _, _ in pruned.layers] == ["inner"]
    assert set(pruned.left) <= {"narrow", "wide"}
    assert pruned.left


def test_of_the_channels_the_least_important_go(tmp_path: Path):
    net = trained_models.Shifted()
    with torch.no_grad():
        net.inner.weight[::2] *= 1e-4
        net.wide.weight[:, ::2] *= 1e-4
    kept = net.inner.weight[1::2].detach().clone()
    network = opened(net, tmp_path / "net.pt2")
    prune_channels(network, fed(), 0.5)
    assert torch.equal(network.module.get_submodule("inner").weight, kept)


def course(folder: Path, **changes: Any) -> tuple[Course, list[str], Path]:
    """A course on tiny images: 400 to train on, 200 to evaluate."""
    model = trained_models.trained(folder / "net.pt2")
    test = trained_models.data(folder / "test.npz", 200, 7)
    task = Optimize(
        parent_path=str(model),
        step=PRUNE,
        file_stem="net",
        evaluation=Evaluation.model_validate({"dataset_path": str(test), "metric": changes.pop("metric", "top1")}),
        calibration_path=None,
        training_path=str(changes.pop("training", None) or trained_models.data(folder / "train.npz", 400, 8)),
        baseline_path=str(model),
        **changes,
    )
    source = open_file(model)
    interface = Interface(inputs=source.inputs, outputs=source.outputs)
    bench = Bench(files=folder, tmp=folder)
    made, notes = open_course(task, interface, open_evaluation(task.evaluation, interface.inputs), bench)
    return made, notes, model


def test_a_tenth_of_every_class_is_held_out_and_nothing_is_on_both_sides(tmp_path: Path):
    lessons, notes, _ = course(tmp_path)
    learned, held = lessons.examples.learned, lessons.examples.held_out
    assert (len(learned), len(held)) == (360, 40)
    assert not set(learned) & set(held)
    assert np.bincount(lessons.examples.labels[held]).tolist() == [10] * 4
    assert any("judged on 40 others" in note for note in notes)


def test_evaluation_samples_are_left_out_where_they_are_few_and_refused_where_they_are_many(tmp_path: Path):
    mine, theirs = trained_models.samples(400, 8), trained_models.samples(200, 7)
    for shared in (4, 60):
        images, labels = (np.concatenate([a[:shared], b]) for a, b in zip(theirs, mine, strict=True))
        np.savez(tmp_path / f"{shared}.npz", inputs=images, labels=labels)
    lessons, notes, _ = course(tmp_path, training=tmp_path / "4.npz")
    used = {*lessons.examples.learned.tolist(), *lessons.examples.held_out.tolist()}
    assert not used & {0, 1, 2, 3}
    assert any("4 of 404 samples are in the evaluation set (4 identical): left out" in note for note in notes)
    with pytest.raises(JobProblem) as found:
        course(tmp_path, training=tmp_path / "60.npz")
    assert found.value.problem.code == "TRAINING_UNFIT"
    assert "60 of 460" in found.value.problem.message


def test_copies_within_the_training_set_are_used_once(tmp_path: Path):
    images, labels = trained_models.samples(300, 8)
    twice = {"inputs": np.concatenate([images, images]), "labels": np.concatenate([labels, labels])}
    np.savez(tmp_path / "twice.npz", allow_pickle=False, **twice)
    lessons, notes, _ = course(tmp_path, training=tmp_path / "twice.npz")
    assert len(lessons.examples.learned) + len(lessons.examples.held_out) == 300
    assert any("300 samples of the training set repeat others" in note for note in notes)


def test_labels_that_mean_something_else_are_noticed(tmp_path: Path):
    images, labels = trained_models.samples(400, 8)
    np.savez(tmp_path / "renamed.npz", inputs=images, labels=(labels + 1) % 4)
    with pytest.raises(JobProblem) as found:
        course(tmp_path, training=tmp_path / "renamed.npz")
    assert found.value.problem.code == "TRAINING_UNFIT"
    assert "number the classes" in found.value.problem.message


def test_training_for_a_metric_without_a_loss_is_refused_by_name(tmp_path: Path):
    with pytest.raises(JobProblem) as found:
        course(tmp_path, metric="spearman")
    assert (found.value.problem.code, "spearman" in found.value.problem.message) == ("UNAVAILABLE", True)


def test_the_same_training_gives_the_same_weights_and_the_best_epoch_is_kept(tmp_path: Path):
    lessons, _, model = course(tmp_path)
    results = []
    for _ in range(2):
        network = open_network(model, "prune_structured")
        prune_channels(network, lessons.example(), 0.5)
        fitted = fit(network.module, lessons, Recipe(3, 1e-3))
        best = max([fitted.before, *fitted.epochs], key=lambda judged: (judged.value, -judged.loss))
        assert fitted.after == best
        assert [fitted.before, *fitted.epochs][fitted.best] == best
        again = lessons.judge(network.module, lambda module, on: module.train(on))
        assert again.value == best.value
        results.append(network.module.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_training_that_ruins_the_model_ends_early_and_leaves_it_as_it_was(tmp_path: Path):
    lessons, _, model = course(tmp_path)
    network = open_network(model, "prune_structured")
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    fitted = fit(network.module, lessons, Recipe(5, 3.0))
    assert fitted.stopped
    assert len(fitted.epochs) == 1
    assert fitted.best == 0
    assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())
    assert any("stopped after epoch 1 of 5" in note for note in fitted.notes(5))


def test_progress_says_loss_accuracy_and_the_time_left(tmp_path: Path):
    lessons, _, model = course(tmp_path)
    fit(open_network(model, "x").module, lessons, Recipe(1, 1e-5))
    text = (tmp_path / "progress.jsonl").read_text()
    assert "loss " in text
    assert "held-out top1" in text
    assert "s left" in text


def test_who_answers_as_the_teacher_does_has_the_labels_alone_to_learn(tmp_path: Path):
    lessons, _, model = course(tmp_path)
    teacher = open_network(model, "distill")
    before = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    loss, batch = taught_by(teacher, lessons), lessons.example()
    labels = lessons.labels(lessons.examples.learned[: len(batch[0])])
    same = lessons.objective.of(leaves(teacher.module(*batch)))
    other = (same + torch.eye(4)).requires_grad_()
    assert float(loss(same, batch, labels)) == pytest.approx(
        0.3 * float(lessons.objective.loss(same, labels)), abs=1e-6
    )
    taught = loss(other, batch, labels)
    assert float(taught.detach()) > 0.3 * float(lessons.objective.loss(other, labels).detach()) + 1e-4
    taught.backward()
    assert other.grad is not None and all(weight.grad is None for weight in teacher.module.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.module.state_dict().items())


def test_a_pruned_model_learns_from_the_whole_one(tmp_path: Path):
    lessons, _, model = course(tmp_path)
    source = open_file(model)
    interface = Interface(inputs=source.inputs, outputs=source.outputs)
    step = PruneStructured(technique="prune_structured", ratio=0.5, finetune_epochs=1)
    made = prune_structured.train(model, step, tmp_path / "small.pt2", lessons, interface, lessons.bench)
    assert any("the answers of the model before pruning" in note for note in made.notes)
    small, whole = (open_network(path, "x").module.state_dict() for path in (tmp_path / "small.pt2", model))
    assert sum(value.numel() for value in small.values()) < sum(value.numel() for value in whole.values())


def test_values_are_learned_too(tmp_path: Path):
    draw = np.random.default_rng(0)
    weights = draw.normal(size=(16, 2)).astype(np.float32)
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
    torch.manual_seed(0)
    for name, count in (("train", 400), ("test", 200)):
        x = draw.normal(size=(count, 16)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", inputs=x, labels=np.abs(x) @ weights)
    with np.load(tmp_path / "train.npz") as train:
        x, y = torch.from_numpy(train["inputs"]), torch.from_numpy(train["labels"])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()
    model = trained_models.exported(net, tmp_path / "net.pt2", torch.zeros(2, 16))
    task = Optimize(
        parent_path=str(model),
        step=PRUNE,
        file_stem="net",
        evaluation=Evaluation(dataset_path=str(tmp_path / "test.npz"), metric="rmse"),
        calibration_path=None,
        training_path=str(tmp_path / "train.npz"),
    )
    source = open_file(model)
    interface = Interface(inputs=source.inputs, outputs=source.outputs)
    bench = Bench(files=tmp_path, tmp=tmp_path)
    lessons, _ = open_course(task, interface, open_evaluation(task.evaluation, interface.inputs), bench)
    network = open_network(model, "prune_structured")
    pruned = prune_channels(network, lessons.example(), 0.5)
    assert [(before, after) for _, before, after in pruned.layers] == [(32, 16)]
    fitted = fit(network.module, lessons, Recipe(3, 1e-2))
    assert lessons.objective.task == "values"
    assert fitted.after.value < fitted.before.value


@pytest.mark.parametrize(
    ("kind", "says"), [("fixed", "batch axis"), ("script", "TorchScript"), ("dict", "plain tensors")]
)
def test_what_cannot_be_trained_is_refused_by_name(tmp_path: Path, kind: str, says: str):
    class ByName(nn.Module):
        def forward(self, x: dict[str, Any]) -> Any:
            return x["a"] * 2

    path = tmp_path / "net.pt2"
    if kind == "script":
        path = tmp_path / "net.pt"
        torch.jit.script(nn.Linear(4, 2)).save(path)
    elif kind == "dict":
        shapes = ({"a": {0: torch.export.Dim.DYNAMIC}},)
        torch.export.save(torch.export.export(ByName(), ({"a": torch.ones(2, 4)},), dynamic_shapes=shapes), path)
    else:
        torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.ones(2, 4),)), path)
    with pytest.raises(JobProblem) as found:
        open_network(path, "qat_int8")
    assert found.value.problem.code == "UNAVAILABLE"
    assert says in found.value.problem.message
