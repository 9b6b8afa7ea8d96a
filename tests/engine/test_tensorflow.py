"""SavedModel folders, .keras and .h5 files: read, judged before they are loaded, and run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs edgeopt[tensorflow]")

import h5py
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes import saved_model
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.runtimes.session import NotLoadable, NotRunnable
from edgeopt.engine.runtimes.tensorflow import open_session
from edgeopt.engine.runtimes.tensorflow_quietly import op_def_registry, saved_model_pb2, tf

from . import keras_models
from .keras_models import (
    CLASSES,
    SAVE,
    SIDE,
    convnet,
    described_anew,
    graph,
    images,
    in_and_out_twice,
    layer,
    member_anew,
)
from .tiny_models import real


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network, saved in every way."""
    folder, model = tmp_path_factory.mktemp("nets"), convnet()
    return {way: save(model, folder) for way, save in SAVE.items()}


@pytest.fixture
def copy(nets: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    def make(way: str) -> Path:
        source, target = nets[way], tmp_path / nets[way].name
        return Path(shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target))

    return make


def refused(path: Path, code: str = "BAD_FILE") -> str:
    """What is said of a file that is neither described nor run."""
    with pytest.raises(JobProblem) as described:
        open_file(path).check([str(path.parent)])
    with pytest.raises(JobProblem) as opened:
        open_runner(path)
    assert opened.value.problem.code == "BAD_FILE"
    assert described.value.problem.code == code
    assert path.name in described.value.problem.message
    return described.value.problem.message


# What a model is


@pytest.mark.parametrize("way", SAVE)
def test_a_network_computes_the_same_however_it_was_saved(nets: dict[str, Path], way: str):
    x, model = images(7), convnet()
    runner = open_runner(nets[way])
    (taken,), (given,) = runner.inputs, runner.outputs
    assert (taken.dtype, taken.shape, given.shape) == ("float32", [None, SIDE, SIDE, 3], [None, CLASSES])
    for batch in (x, x[:1]):
        outputs = runner.run({taken.name: batch})[given.name]
        np.testing.assert_allclose(outputs, model(batch, training=False), rtol=1e-4, atol=1e-5)
        (timed,) = runner.raw_call({taken.name: batch})()  # pyright: ignore[reportGeneralTypeIssues]
        np.testing.assert_array_equal(timed, outputs)


@pytest.mark.parametrize("way", SAVE)
def test_a_network_is_described(nets: dict[str, Path], way: str):
    file, model = open_file(nets[way]), convnet()
    assert file.check([]) == []
    assert (file.format, file.precision, file.opset) == ("tensorflow", "fp32", None)
    assert file.parameters == model.count_params()
    assert file.inputs == open_runner(nets[way]).inputs
    assert file.framework.startswith("tensorflow 2." if way == "saved_model" else "keras 3.")
    expected = {"Conv2D": 1} if way == "saved_model" else {"Conv2D": 1, "DepthwiseConv2D": 1, "Dense": 1}
    assert expected.items() <= file.operators.items()
    assert "InputLayer" not in file.operators


def test_the_same_weights_are_known_again_in_every_way_of_saving(nets: dict[str, Path], tmp_path: Path):
    digests = {open_file(path).weights for path in nets.values()}
    assert len(digests) == 1 and "" not in digests
    other = convnet()
    other.set_weights([weight * 2 for weight in other.get_weights()])
    assert open_file(keras_models.saved(other, tmp_path / "other.keras")).weights not in digests


@pytest.mark.parametrize("way", ["keras", "h5"])
def test_inputs_and_outputs_keep_their_names_and_order(tmp_path: Path, way: str):
    path = SAVE[way](in_and_out_twice(), tmp_path)
    runner, file = open_runner(path), open_file(path)
    assert [i.name for i in runner.inputs] == [i.name for i in file.inputs] == ["right", "left"]
    assert [o.name for o in runner.outputs] == [o.name for o in file.outputs] == ["total", "double"]
    right, left = np.ones((2, 2), np.float32), np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    outputs = runner.run({"left": left, "right": right})
    np.testing.assert_allclose(outputs["total"], [[8], [17]])
    np.testing.assert_allclose(outputs["double"], 2 * left)


def test_a_folder_is_its_files(nets: dict[str, Path]):
    files = open_file(nets["saved_model"]).files
    assert {"saved_model.pb", "variables.index"} <= {file.name for file in files}
    assert all(file.is_relative_to(nets["saved_model"].resolve()) for file in files)


def test_integers_and_strings_are_said_to_be_such(tmp_path: Path):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64, "ids")], autograph=False)
    def compute(ids: Any) -> dict[str, Any]:
        return {"next": ids + 1, "text": tf.strings.as_string(ids)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "m"), signatures=compute.get_concrete_function())
    runner = open_runner(tmp_path / "m")
    assert runner.inputs == [TensorInfo(name="ids", dtype="int64", shape=[None])]
    assert [o.dtype for o in runner.outputs] == ["int64", "string"]
    assert runner.run({"ids": np.array([1, 2])})["next"].tolist() == [2, 3]


# What is not opened


def with_lambda(way: str, folder: Path) -> Path:
    x = keras_models.keras.Input((3,))
    secret = keras_models.keras.layers.Lambda(lambda y: y * 2)
    return SAVE[way](keras_models.keras.Model(x, secret(x)), folder)


@pytest.mark.parametrize("way", ["keras", "h5"])
def test_a_lambda_layer_is_code(tmp_path: Path, way: str):
    assert "Lambda" in refused(with_lambda(way, tmp_path), "UNTRUSTED_CODE")


def test_what_a_lambda_layer_computed_is_a_graph_in_a_saved_model(tmp_path: Path):
    x = np.ones((2, 3), np.float32)
    runner = open_runner(with_lambda("saved_model", tmp_path))
    assert runner.run({runner.inputs[0].name: x})[runner.outputs[0].name].tolist() == (2 * x).tolist()


@pytest.mark.parametrize("module", ["os", "mypackage.layers", "kerasnot", "tensorflow"])
def test_classes_of_other_packages_are_code(copy: Callable[[str], Path], module: str):
    path = copy("keras")
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    layer(config, "conv")["module"] = module
    assert module in refused(member_anew(path, config_json=json.dumps(config).encode()), "UNTRUSTED_CODE")


def test_a_layer_whose_name_cannot_be_computed_with_is_a_bad_file(copy: Callable[[str], Path]):
    path = described_anew(copy("h5"), lambda config: layer(config, "pool").update(config={"name": "a: b"}))
    refused(path)


def test_a_layer_that_keras_does_not_know_is_named(copy: Callable[[str], Path]):
    path = described_anew(copy("h5"), lambda config: layer(config, "conv").update(class_name="Convolver"))
    said = refused(path)
    assert "Convolver" in said and "ONNX" in said


EFFECTS: dict[str, Callable[[Any], Any]] = {
    "WriteFile": lambda x: _after(tf.io.write_file("written", "by the model"), x),
    "ReadFile": lambda x: x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32),
    "EagerPyFunc": lambda x: tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), (None, 3)),
    "PyFunc": lambda x: tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), (None, 3)),
    "MatchingFiles": lambda x: x + tf.cast(tf.size(tf.io.matching_files("/*")), tf.float32),
    "PrintV2": lambda x: _after(tf.print("seen", output_stream="file:///tmp/edgeopt-printed"), x),
    "RangeDataset": lambda x: x + tf.cast(tf.data.Dataset.range(3).reduce(tf.constant(0, tf.int64), lambda a, b: a + b), tf.float32),
    "DecodeProtoV2": lambda x: x + tf.cast(_decoded(), tf.float32),
    "SaveV2": lambda x: _after(tf.raw_ops.SaveV2(prefix="/tmp/x", tensor_names=["x"], shape_and_slices=[""], tensors=[x]), x),
}  # fmt: skip


def _after(first: Any, x: Any) -> Any:
    with tf.control_dependencies([first] if first is not None else []):
        return tf.identity(x)


def _decoded() -> Any:
    descriptor = "/etc/hostname"
    sizes, _ = tf.io.decode_proto(
        tf.constant([b""]), "M", ["f"], [tf.int64], descriptor_source=f"bytes://{descriptor}", sanitize=False
    )
    return tf.reduce_sum(sizes)


@pytest.mark.parametrize("operator", EFFECTS)
def test_a_graph_that_does_more_than_to_compute_is_refused(
    tmp_path: Path, operator: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    said = refused(graph(EFFECTS[operator], tmp_path / "m"))
    assert operator in said and "export it again" in said
    assert not (tmp_path / "written").exists()


def test_what_fills_a_table_when_it_is_loaded_is_judged_too(tmp_path: Path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    words = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )  # fmt: skip
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(words, -1)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
    def compute(text: Any) -> dict[str, Any]:
        return {"y": module.table.lookup(text)}

    module.compute = compute
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=compute.get_concrete_function())
    assert "InitializeTableFromTextFileV2" in refused(tmp_path / "m")


def test_every_operator_that_names_files_code_or_places_has_an_effect():
    """By TensorFlow's own list, so that a new one is looked at by a person."""
    telling = ("file", "path", "url", "address", "descriptor_source", "memory_region_name", "token")
    harmless = {"CTCBeamSearchDecoder"}  # its paths are those through a lattice
    for name in dir(tf.raw_ops):
        definition = op_def_registry.get(name)
        if definition is None or name in harmless:
            continue
        named = [*(a.name for a in definition.attr), *(a.name for a in definition.input_arg)]
        if any(word in part for part in named for word in telling if not part.endswith("_token_ids")):
            with pytest.raises(NotLoadable, match=name):
                saved_model.refuse_effects([name], saver_too=True)


def test_operators_of_ordinary_networks_are_let_pass():
    usual = ["Conv2D", "MatMul", "VarHandleOp", "ReadVariableOp", "StatefulPartitionedCall", "While", "TensorListReserve",
             "RandomUniform", "HashTableV2", "LookupTableFindV2", "AssignVariableOp", "If", "TopKV2", "Softmax", "Assert"]  # fmt: skip
    saved_model.refuse_effects(usual, saver_too=True)
    saved_model.refuse_effects(["SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"], saver_too=False)


# Hostile and broken files


def test_an_archive_that_leads_out_of_itself_is_none(copy: Callable[[str], Path]):
    path = copy("keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.txt", "x")
    assert "leads out" in refused(path)


def test_an_archive_that_unpacks_to_much_more_is_none(copy: Callable[[str], Path]):
    path = copy("keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(1 << 25))
    assert "unpacks" in refused(path)


def test_an_array_that_unpacks_to_much_more_is_none(copy: Callable[[str], Path]):
    path = copy("h5")
    with h5py.File(path, "r+") as file:
        file.create_dataset("zeros", (1 << 30,), "float32", chunks=(1 << 20,), compression="gzip")
    assert "unpacks" in refused(path)


@pytest.mark.parametrize("how", ["link", "storage", "virtual"])
def test_weights_lie_in_the_file_itself(copy: Callable[[str], Path], tmp_path: Path, how: str):
    path = copy("h5")
    with h5py.File(tmp_path / "elsewhere.h5", "w") as other:
        other["x"] = np.zeros(4)
    with h5py.File(path, "r+") as file:
        if how == "link":
            file["away"] = h5py.ExternalLink("elsewhere.h5", "/x")
        elif how == "storage":
            file.create_dataset("away", (4,), "uint8", external=[("/etc/hostname", 0, 4)])
        else:
            layout: Any = h5py.VirtualLayout((4,), "float64")
            layout[:] = h5py.VirtualSource(tmp_path / "elsewhere.h5", "x", (4,))
            file.create_virtual_dataset("away", layout)
    assert "other places" in refused(path)


def test_groups_that_hold_each_other_are_read_once(copy: Callable[[str], Path]):
    path = copy("h5")
    with h5py.File(path, "r+") as file:
        file["model_weights/again"] = file["model_weights"]
    assert open_file(path).check([]) == []


def test_weights_alone_are_no_model(tmp_path: Path):
    convnet().save_weights(tmp_path / "net.weights.h5")
    assert "model.save(" in refused(tmp_path / "net.weights.h5")


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.98])
@pytest.mark.parametrize("way", ["keras", "h5"])
def test_a_cut_file_is_a_bad_file(copy: Callable[[str], Path], way: str, keep: float):
    path = copy(way)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    refused(path)


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-40])])
@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index"])
def test_a_folder_that_is_not_whole_is_a_bad_file(
    copy: Callable[[str], Path], name: str, spoil: Callable[[Path], object]
):
    path = copy("saved_model")
    spoil(path / name)
    refused(path)


def test_cut_weights_are_a_bad_file(copy: Callable[[str], Path]):
    path = copy("saved_model")
    (weights,) = path.glob("variables/variables.data*")
    weights.write_bytes(weights.read_bytes()[:100])
    refused(path)


def change_graph(folder: Path, change: Callable[[Any], object]) -> Path:
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    change(model.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: graph.meta_info_def.tags.remove("serve"), "no graph for inference"),
        (lambda graph: graph.signature_def.clear(), "signatures"),
        (lambda graph: graph.asset_file_def.add(filename="../../secret"), "outside its own folder"),
    ],
)
def test_a_folder_that_says_too_little_or_too_much_is_refused(copy: Callable[[str], Path], change: Any, words: str):
    assert words in refused(change_graph(copy("saved_model"), change))


def test_a_graph_that_does_not_say_how_many_axes_it_takes_is_refused(tmp_path: Path):
    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def compute(x: Any) -> dict[str, Any]:
        return {"y": x + 1}

    tf.saved_model.save(tf.Module(), str(tmp_path / "m"), signatures=compute.get_concrete_function())
    assert "how many axes" in refused(tmp_path / "m")


def test_a_graph_without_its_folder_is_none(tmp_path: Path, nets: dict[str, Path]):
    shutil.copy(nets["saved_model"] / "saved_model.pb", tmp_path / "graph.pb")
    assert "SavedModel folder" in refused(tmp_path / "graph.pb")


# Files of older versions


def with_groups(groups: int) -> Callable[[dict[str, Any]], object]:
    return lambda config: layer(config, "depthwise")["config"].update(groups=groups)


def test_what_keras_2_wrote_and_never_used_is_left_out(copy: Callable[[str], Path]):
    path = described_anew(copy("h5"), with_groups(1))
    (note,) = open_file(path).check([])
    assert "1 DepthwiseConv2D" in note and "groups=1" in note
    x, runner = images(3), open_runner(path)
    outputs = runner.run({"picture": x})["scores"]
    np.testing.assert_allclose(outputs, convnet()(x, training=False), rtol=1e-4, atol=1e-5)


def test_what_keras_2_used_otherwise_is_refused_with_the_way_out(copy: Callable[[str], Path]):
    said = refused(described_anew(copy("h5"), with_groups(4)))
    assert "groups=4" in said and "keras 2.4.0" in said and "tensorflow<2.16" in said


def test_a_folder_that_only_the_first_loader_takes_is_read_by_it():
    path = Path(real("mlperf_tiny/kws_dscnn_savedmodel_legacy"))
    file = open_file(path)
    (note,) = file.check([])
    assert "TensorFlow 1" in note
    assert (file.parameters, file.precision) == (24908, "fp32")
    outputs = open_runner(path).run({"input_1": np.ones((2, 49, 10, 1), np.float32)})
    np.testing.assert_allclose(outputs["dense"].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "data", "scale", "score"),
    [
        ("ic_resnet8_cifar10.h5", "cifar10/test_png_dev.npz", 1, 0.8882),
        ("ic_resnet8_cifar10.keras", "cifar10/test_png_dev.npz", 1, 0.8882),
        ("ic_resnet8_cifar10_savedmodel", "cifar10/test_png_dev.npz", 1, 0.8882),
        ("vww_mobilenet_96.keras", "mlperf_tiny/vww_test_val2017_dev.npz", 1 / 255, 0.887),
        ("vww_mobilenet_96_legacy.h5", "mlperf_tiny/vww_test_val2017_dev.npz", 1 / 255, 0.887),
    ],
)
def test_real_models_have_their_measured_scores(model: str, data: str, scale: float, score: float):
    runner, samples = open_runner(real(f"mlperf_tiny/{model}")), np.load(real(data))
    x = samples["inputs"].astype(np.float32) * np.float32(scale)
    outputs = runner.run({runner.inputs[0].name: x})[runner.outputs[0].name]
    assert np.mean(outputs.argmax(axis=1) == samples["labels"]) == pytest.approx(score, abs=1e-3)


# Threads and talk


def test_a_session_of_other_threads_than_the_process_runs_and_is_not_timed(nets: dict[str, Path]):
    feeds = {"picture": images(1)}
    assert open_session(nets["keras"], 1).call(feeds)
    session = open_session(nets["keras"], 2)
    (scores,) = session.run(feeds)
    assert isinstance(scores, np.ndarray)
    assert scores.shape == (1, CLASSES)
    with pytest.raises(NotRunnable, match="a process of its own"):
        session.call(feeds)


_ALONE = """
import sys
from pathlib import Path
import numpy as np
from edgeopt.engine.measure.cores import cores_for
from edgeopt.engine.runtimes.tensorflow import open_session
feeds = {"picture": np.ones((1, 8, 8, 3), np.float32)}
with cores_for(2) as cores:
    sessions = [open_session(Path(path), 2, cores) for path in sys.argv[1:]]
    for session in sessions:
        session.run(feeds)
        session.call(feeds)()
print("both ran")
"""


def test_two_models_share_a_process_that_says_nothing_at_its_start(nets: dict[str, Path]):
    command = [sys.executable, "-P", "-c", _ALONE, str(nets["keras"]), str(nets["h5"])]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (process.stdout, process.stderr) == ("both ran\n", "")
