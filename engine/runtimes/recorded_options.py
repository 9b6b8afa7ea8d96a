"""Session options that an ONNX file carries in its metadata, so that whoever loads the file by them runs what was measured.

They are read off the bytes: packages have no onnx, and a measuring process would count it in the memory that it reports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

OPTIONS_KEY = "edgeopt.session_options"
# Of ModelProto (metadata_props) and StringStringEntryProto (key, value): https://onnx.ai/onnx/api/classes.html
METADATA, ENTRY_KEY, ENTRY_VALUE = 14, 1, 2
MOST_BYTES = 1 << 16
# ONNX Runtime has some 60 rules, and none with a longer name.
MOST_NAMES, LONGEST_NAME = 64, 64


def recorded_options(model: Path) -> dict:
    """What stands there, as {"disabled_optimizers": [names], "level": "basic" | "extended" | "all"}, each where it is given;
    {} where nothing stands there that can be read."""
    with model.open("rb") as file:
        try:
            for number, entry in fields(file):
                found = dict(fields(BytesIO(entry))) if number == METADATA else {}
                if found.get(ENTRY_KEY) == OPTIONS_KEY.encode():
                    return checked_options(found.get(ENTRY_VALUE, b""))
        except OSError:  # a length that leads to where no file can reach: what it is, the runtime says
            return {}
    return {}


def checked_options(text: bytes) -> dict:
    """A stranger may have written it: what is not as above is left out."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    found = {}
    if isinstance(said, dict) and said.get("level") in ("basic", "extended", "all"):
        found["level"] = said["level"]
    names = said.get("disabled_optimizers") if isinstance(said, dict) else None
    if isinstance(names, list) and 0 < len(names) <= MOST_NAMES and all(map(is_name, names)):
        found["disabled_optimizers"] = names
    return found


def is_name(said: object) -> bool:
    """Whether it could be the name of a rule; ONNX Runtime passes over those that it does not know."""
    return isinstance(said, str) and said.isascii() and said.isprintable() and len(said) <= LONGEST_NAME


def fields(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that hold bytes (https://protobuf.dev/programming-guides/encoding/), those of over
    64 KiB as b"" and passed over; ends where the message does, or is none."""
    while (tag := varint(file)) is not None:
        kind, length = tag & 7, {1: 8, 5: 4}.get(tag & 7)
        if kind == 0 and varint(file) is not None:
            continue
        if kind == 2:
            length = varint(file)
        if length is None or length >= 1 << 62:
            return
        small = kind == 2 and length <= MOST_BYTES
        content = file.read(length) if small else b""
        if not small:
            file.seek(length, 1)
        yield tag >> 3, content


def varint(file: BinaryIO) -> int | None:
    """The next number; None at the end, or where there is none."""
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
