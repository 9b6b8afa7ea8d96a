"""What a SavedModel folder says of itself, read before anything of it is loaded: a graph is a program.

TensorFlow restores variables and fills tables as soon as it loads one, with operators that the file names; so the file is
searched first for those that do more than arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from .session import NotLoadable, Port
from .tensorflow_quietly import op_def_registry, saved_model_pb2, tf

# TensorFlow's messages have no types.
SavedModel = MetaGraphDef = SignatureDef = TensorInfo = GraphDef = NodeDef = AttrValue = Any

SERVE, SERVING_DEFAULT = "serve", "serving_default"
# A network of thousands of layers has 100 MB without its weights, which lie elsewhere; protobuf itself ends at 2 GiB.
MOST_BYTES = 1 << 30

# Operators with a state or an effect that a network for inference may have; every other one with any is refused.
_HARMLESS = re.compile(
    r"_?(Var|Read)?(HandleOp|HandlesOp|VariableOp|VariablesOp)|VarIsInitializedOp|Assign(Add|Sub)?VariableOp"
    r"|VariableV?2?|VariableShape|TemporaryVariable|DestroyResourceOp|DisableCopyOnRead|IsResourceHandleRefCounting"
    r"|Resource(Gather|GatherNd|Scatter\w+|StridedSliceAssign|CountUpTo|(Sparse)?Apply\w+)"
    r"|StatefulPartitionedCall|_?While|_?If|Case|DeviceIndex|XlaCallModule|_Arg|_Retval|GuaranteeConst|DeepCopy|Empty"
    r"|TensorArray\w*|Stack(V2|Push|PushV2|Pop|PopV2|Close|CloseV2)?|Assert|CheckNumerics(V2)?|CudnnRNN\w*"
    r"|(Anonymous)?(Mutable(Dense)?)?HashTable(OfTensors)?(V2)?|LookupTable\w+|InitializeTableV2"
    r"|Random(Uniform|UniformInt|StandardNormal|Gamma|Poisson|PoissonV2|Shuffle|Crop)|(Parameterized)?TruncatedNormal"
    r"|Multinomial|Stateful(Uniform|UniformInt|UniformFullInt|StandardNormal|StandardNormalV2|TruncatedNormal"
    r"|RandomBinomial)|RngSkip|RngReadAndSkip|NonDeterministicInts|StatelessRandomGetAlg|SampleDistortedBoundingBox(V2)?"
)
# Those that TensorFlow counts among the pure ones, and that read files, call Python or send what they see elsewhere.
_HARMFUL = re.compile(
    r"ReadFile|MatchingFiles|InitializeTableFromTextFile|GenerateVocabRemapping|ImmutableConst|DecodeProtoV2|EncodeProto"
    r"|PyFuncStateless|Reader\w+|Snapshot\w+|\w*Dataset\w*|Debug\w+|Copy|CopyHost"
)
# Which every SavedModel has, to restore itself; in the inference they have no business.
_OF_THE_SAVER = re.compile(r"SaveV2|RestoreV2|MergeV2Checkpoints|Save|SaveSlices|Restore|RestoreSlice|ShardedFilename")


def read(folder: Path) -> MetaGraphDef:
    """The graph that is meant for inference. NotLoadable where there is none, or it does more than to compute."""
    file = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel()
    try:
        if file.stat().st_size > MOST_BYTES:
            raise NotLoadable(f"its saved_model.pb has over {MOST_BYTES >> 20} MiB: its weights belong in variables/")
        model.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise NotLoadable("its saved_model.pb is cut, or is something else than a SavedModel") from error
    except OSError as error:
        raise NotLoadable(f"its saved_model.pb cannot be read ({error.strerror})") from error
    graph = _for_serving(model)
    refuse_effects(operators(graph.graph_def), saver_too=False)
    for asset in graph.asset_file_def:
        place = PurePosixPath(asset.filename)
        if place.is_absolute() or ".." in place.parts:
            raise NotLoadable("it names an asset outside its own folder")
    return graph


def _for_serving(model: SavedModel) -> MetaGraphDef:
    graphs = list(model.meta_graphs)
    serving = [graph for graph in graphs if SERVE in graph.meta_info_def.tags]
    if len(serving) != 1:
        tags = sorted({tag for graph in graphs for tag in graph.meta_info_def.tags})
        raise NotLoadable(f"it holds no graph for inference (tag {SERVE!r}), or several; its tags are {tags[:10]}")
    return serving[0]


def operators(graph: GraphDef) -> Iterator[str]:
    """The operator of every node of a GraphDef, and of all its functions."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            yield node.op


def reached(graph: GraphDef) -> Iterator[NodeDef]:
    """Every node of a GraphDef, and of the functions that these call: those that nobody calls lie about in many files."""
    library = {function.signature.name: function.node_def for function in graph.library.function}
    waiting = [graph.node]
    while waiting:
        for node in waiting.pop():
            yield node
            called = [node.op, *(name for value in node.attr.values() for name in _functions(value))]
            waiting += [library.pop(name) for name in called if name in library]


def _functions(value: AttrValue) -> Iterator[str]:
    for function in (value.func, *value.list.func):
        yield function.name


def refuse_effects(found: Iterable[str], *, saver_too: bool) -> None:
    """NotLoadable where an operator touches files, processes, Python or the network; those that write and read
    checkpoints only where `saver_too`. What TensorFlow does not know it refuses itself."""
    harmful = sorted({operator for operator in found if _has_effect(operator, saver_too=saver_too)})
    if harmful:
        raise NotLoadable(
            f"its graph does more than to compute ({', '.join(harmful[:10])}: files, Python or data of its own): export it"
            " again from the network alone, without input pipelines, tf.py_function, tf.print and vocabulary files"
        )


def _has_effect(operator: str, *, saver_too: bool) -> bool:
    if _OF_THE_SAVER.fullmatch(operator):
        return saver_too
    definition = op_def_registry.get(operator)
    stateful = definition is not None and definition.is_stateful
    return bool(_HARMFUL.fullmatch(operator)) or (stateful and not _HARMLESS.fullmatch(operator))


def signature(graph: MetaGraphDef) -> tuple[str, SignatureDef]:
    """The signature that is served: serving_default, or the only one. NotLoadable where that says too little."""
    named = {name: found for name, found in graph.signature_def.items() if found.inputs and found.outputs}
    if SERVING_DEFAULT not in named and len(named) != 1:
        raise NotLoadable(
            f"it has {len(named)} signatures and none is called {SERVING_DEFAULT}: export it again with"
            f" signatures={{{SERVING_DEFAULT!r}: the function to deploy}}"
        )
    name = SERVING_DEFAULT if SERVING_DEFAULT in named else next(iter(named))
    for given, tensor in named[name].inputs.items():
        if tensor.tensor_shape.unknown_rank:
            raise NotLoadable(
                f"it does not say how many axes its input {given!r} has: export it with an input signature"
            )
    return name, named[name]


def ports(tensors: Mapping[str, TensorInfo]) -> list[Port]:
    """The inputs or outputs of a signature, by name, in the order in which TensorFlow lists them."""
    return [_port(name, tensors[name]) for name in sorted(tensors)]


def _port(name: str, tensor: TensorInfo) -> Port:
    if tensor.WhichOneof("encoding") not in ("name", None):
        raise NotLoadable(f"its tensor {name!r} is sparse or ragged: export it with dense inputs and outputs")
    shape = tuple(None if axis.size < 0 else axis.size for axis in tensor.tensor_shape.dim)
    return Port(name, tf.dtypes.as_dtype(tensor.dtype).name, shape)
