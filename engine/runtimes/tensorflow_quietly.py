"""TensorFlow without its talk at the start, on the CPU, and Keras on TensorFlow whatever the user's settings say.

Whoever imports anything of TensorFlow otherwise, and first, has the talk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _without_stderr() -> Iterator[None]:
    """What TensorFlow's libraries say while they are loaded heeds no log level: it goes past Python, to the descriptor."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
with _without_stderr():
    import tensorflow
    from tensorflow.core.protobuf import saved_model_pb2 as _saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    # The stubs that type checkers bring along are of an older version, and know less than half of it.
    tf: Any = tensorflow
    saved_model_pb2: Any = _saved_model_pb2
    tf.get_logger().setLevel("ERROR")
    tf.config.set_visible_devices([], "GPU")
    # Until a session asks for more: what anybody else computes first would settle it for the process.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

__all__ = ["op_def_registry", "saved_model_pb2", "tf"]
