"""What an archive of torch.export (`.pt2`) holds, read without loading it as a program, and whether it may be loaded.

torch.export.load can run code of whoever made the file in more ways than by the pickles in it: expressions of symbolic
sizes are evaluated as Python, operators are looked up by name in the whole of `torch`, names are written into generated
code, compiled libraries are opened. `refuse_code` lets through what holds tensors and a graph of known operators alone.
"""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch._export.serde.serialize import _SERIALIZE_TO_TORCH_DTYPE

from ...contract.text import untrusted
from ..problems import JobProblem

# Reading by torch's own reader: another zip reader may take another member of the same name.
_ARCHIVE_ERRORS = (RuntimeError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, UnpicklingError)

_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version|\.storage_alignment|extra/.*"
    r"|models/model\.json|data/(weights|constants|sample_inputs)/model\.pt"
    r"|data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
)
_OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|prim|quantized|quantized_decomposed|torchao|onnx)\.\w+(\.\w+)?"
    r"|torch\.ops\.torchvision\.(nms|roi_align|roi_pool|ps_roi_align|ps_roi_pool|deform_conv2d)(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|associative_scan|map_impl|out_dtype|flex_attention|wrap|wrap_with_\w+)"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem)"
    r"|math\.\w+|torch\._?sym_\w+"
)
_READS_FILES = "torch.ops.aten.from_file"
_STRUCTURES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_PATH_OF_A_TENSOR = re.compile(r"[\w.\-/:+ ]*")

# Of expressions: what torch writes for symbolic sizes (sympy's srepr) and for guards on inputs.
_FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Mod",
        "Not",
        "And",
        "Or",
        "Xor",
        "Identity",
        "Equality",
        "Unequality",
        "GreaterThan",
        "LessThan",
        "StrictGreaterThan",
        "StrictLessThan",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Abs",
        "floor",
        "ceiling",
        "FloorDiv",
        "ModularIndexing",
        "Where",
        "PythonMod",
        "CleanDiv",
        "CeilToInt",
        "FloorToInt",
        "CeilDiv",
        "LShift",
        "RShift",
        "PowByNatural",
        "FloatPow",
        "FloatTrueDiv",
        "IntTrueDiv",
        "TruncToFloat",
        "TruncToInt",
        "RoundToInt",
        "RoundDecimal",
        "ToFloat",
        "IsNonOverlappingAndDenseIndicator",
        "len",
    ]
)
_CONSTANTS = frozenset({"oo", "zoo", "nan", "int_oo", "true", "false", "L", "args", "kwargs", "math"})
_ATTRIBUTES = frozenset({"size", "stride", "storage_offset", "shape", "item", "inf", "isnan"})
_SYMBOL = re.compile(r"[a-z]{1,4}_?\d+")
_TEXT = re.compile(r"[\w.+\-]*")
_EXPRESSIONS = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Load),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Tuple),
)


class ExportedArchive:
    """Raises JobProblem BAD_FILE wherever the file is not whole."""

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def _reader(self) -> Any:
        try:
            return torch._C.PyTorchFileReader(str(self.path))
        except RuntimeError as error:
            raise self._broken(error) from error

    @property
    def members(self) -> list[str]:
        return self._reader.get_all_records()

    def read(self, member: str) -> bytes:
        try:
            return self._reader.get_record(member)
        except RuntimeError as error:
            raise self._broken(error) from error

    def read_json(self, member: str) -> Any:
        try:
            return json.loads(self.read(member))
        except ValueError as error:
            raise self._broken(error) from error

    @cached_property
    def program(self) -> dict[str, Any]:
        return self.read_json("models/model.json")

    @property
    def module(self) -> dict[str, Any]:
        return self.program["graph_module"]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """The nodes of the graph and of the graphs inside it."""
        return (node for graph in _graphs(self.module) for node in graph["nodes"])

    def user_tensors(self, side: str) -> list[tuple[str, dict[str, Any]]]:
        """Names and descriptions of the tensors that a caller passes (`input`) or gets (`output`)."""
        specs = (spec.get(f"user_{side}") for spec in self.module["signature"][f"{side}_specs"])
        names = [spec["arg"]["as_tensor"]["name"] for spec in specs if spec and "as_tensor" in spec["arg"]]
        return [(name, self.module["graph"]["tensor_values"][name]) for name in names]

    @property
    def out_spec(self) -> str:
        """The structure of what it returns, in torch's JSON, which is known to be plain. JobProblem UNTRUSTED_CODE."""
        text = self.module["module_call_graph"][0]["signature"]["out_spec"]
        self._check_structure(text)
        return text

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Parameters, buffers and constants, as they are stored."""
        for kind in ("weights", "constants"):
            if f"data/{kind}/model.pt" in self.members:
                yield from self._unpickled(f"data/{kind}/model.pt").items()
            else:
                config = self.read_json(f"data/{kind}/model_{kind}_config.json")["config"]
                for name, entry in config.items():
                    yield name, self._tensor(f"data/{kind}/{entry['path_name']}", entry["tensor_meta"])

    def _tensor(self, member: str, meta: dict[str, Any]) -> torch.Tensor:
        sizes, strides = ([axis["as_int"] for axis in meta[key]] for key in ("sizes", "strides"))
        if 0 in sizes:
            return torch.empty(sizes, dtype=dtype_of(meta))
        flat = torch.frombuffer(bytearray(self.read(member)), dtype=dtype_of(meta))
        return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])

    def _unpickled(self, member: str) -> Any:
        """What a pickle of tensors holds. JobProblem UNTRUSTED_CODE where it names anything else."""
        content = self.read(member)
        try:
            return torch.load(io.BytesIO(content), weights_only=True) if content else {}
        except (*_ARCHIVE_ERRORS, NotImplementedError) as error:
            raise self._untrusted(f"a pickle of more than tensors ({member})") from error

    def refuse_code(self) -> None:
        """JobProblem UNTRUSTED_CODE unless loading the program makes tensors and a graph of known operators, and nothing
        else."""
        self._check_members()
        for kind in ("sample_inputs", "weights", "constants"):
            if f"data/{kind}/model.pt" in self.members:
                self._unpickled(f"data/{kind}/model.pt")
            elif kind != "sample_inputs":
                for entry in self.read_json(f"data/{kind}/model_{kind}_config.json")["config"].values():
                    if entry["use_pickle"]:
                        raise self._untrusted("a pickled tensor")
        for guard in self.program.get("guards_code") or []:
            self._check_expression(guard)
        self._check(self.program)

    def _check_members(self) -> None:
        names = self.members
        if foreign := [name for name in names if not _MEMBERS.fullmatch(name)]:
            raise self._untrusted(f"a member that no exported program needs ({untrusted(foreign[0])})")
        if len({name.lower() for name in names}) != len(names):
            raise self._untrusted("two members of one name")

    def _check(self, value: Any, key: str = "") -> None:
        """Every string of the program, by the key that it stands under."""
        if isinstance(value, dict):
            for inner, content in value.items():
                if inner in ("metadata", "guards_code"):
                    continue
                if not _PATH_OF_A_TENSOR.fullmatch(inner):
                    raise self._untrusted("a name that is none")
                if inner in ("as_custom_obj", "as_operator") or (inner == "custom_obj_values" and content):
                    raise self._untrusted("an object of a class of its own")
                self._check(content, inner)
        elif isinstance(value, list):
            for item in value:
                self._check(item, key)
        elif isinstance(value, str):
            self._check_text(value, key)

    def _check_text(self, text: str, key: str) -> None:
        if key == "expr_str":
            self._check_expression(text)
        elif key == "target":
            if not _OPERATORS.fullmatch(text) or text.startswith(_READS_FILES):
                raise self._untrusted(f"an operator that is not known ({untrusted(text)})")
        elif key in ("in_spec", "out_spec"):
            self._check_structure(text)
        elif key in ("name", "as_name", "forward_arg_names"):
            if text and not text.isidentifier():
                raise self._untrusted(f"a name that is none ({untrusted(text)})")
        elif key not in ("as_string", "as_strings") and not _PATH_OF_A_TENSOR.fullmatch(text):
            raise self._untrusted(f"an odd {key} ({untrusted(text)})")

    def _check_structure(self, text: str) -> None:
        def plain(spec: Any) -> bool:
            context = json.loads(spec["context"]) if spec["context"] else None
            keys = context if isinstance(context, list) else []
            return (
                spec["type"] in _STRUCTURES
                and (context is None or isinstance(context, list))
                and all(isinstance(key, str | int) for key in keys)
                and all(plain(child) for child in spec["children_spec"])
            )

        try:
            version, spec = json.loads(text)
            if version == 1 and plain(spec):
                return
        except (ValueError, KeyError, TypeError) as error:
            raise self._broken(error) from error
        raise self._untrusted("a structure of classes of its own")

    def _check_expression(self, text: str) -> None:
        try:
            tree = ast.parse(text, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._untrusted(f"an expression that is none ({untrusted(text)})") from error
        named = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        texts = {id(arg) for node in ast.walk(tree) for arg in _texts_of(node)}
        for node in ast.walk(tree):
            if not isinstance(node, _EXPRESSIONS) or not _is_harmless(node, id(node) in named, id(node) in texts):
                raise self._untrusted(f"an expression that could run code ({untrusted(text)})")

    def _untrusted(self, what: str) -> JobProblem:
        return JobProblem(
            "UNTRUSTED_CODE",
            f"{untrusted(self.path.name)} holds {what}: loading it could run its author's code. Export the model again from"
            " plain tensors (torch.export.save), or have the operator start the server with --allow-pickle",
        )

    def _broken(self, error: Exception) -> JobProblem:
        reason = untrusted(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        return JobProblem("BAD_FILE", f"{untrusted(self.path.name)} is not a whole exported program: {reason}")


def dtype_of(meta: dict[str, Any]) -> torch.dtype:
    return _SERIALIZE_TO_TORCH_DTYPE[meta["dtype"]]


def _graphs(value: Any) -> Iterator[dict[str, Any]]:
    """Every graph: the program's, and those of branches and loops."""
    if isinstance(value, dict):
        if "nodes" in value and "tensor_values" in value:
            yield value
        for inner in value.values():
            yield from _graphs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _graphs(inner)


def _texts_of(node: ast.AST) -> list[ast.expr]:
    """Where an expression may hold a string: the name of a symbol, a number that is written out, the name of an input."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Symbol", "Float", "Rational")
    ):
        return node.args
    return [node.slice] if isinstance(node, ast.Subscript) else []


def _is_harmless(node: ast.AST, called: bool, may_be_text: bool) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS if called else node.id in _CONSTANTS or bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Attribute):
        return node.attr in _ATTRIBUTES
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return may_be_text and bool(_TEXT.fullmatch(node.value))
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    return not isinstance(node, ast.Call) or isinstance(node.func, ast.Name | ast.Attribute)
