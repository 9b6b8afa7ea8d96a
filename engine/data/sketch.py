"""A few digests that stand for a whole set of samples: by them two sets are seen to share most of theirs."""

from __future__ import annotations

from collections.abc import Iterable

SIZE = 256
_LENGTH = 16


def sketch(digests: Iterable[str]) -> list[str]:
    """The `SIZE` smallest of the samples' digests, cut to 64 bits: a bottom-k sketch, the same whatever the order."""
    return sorted({digest[:_LENGTH] for digest in digests})[:SIZE]
