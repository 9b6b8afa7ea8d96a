"""Completing the arguments of prompts and resource templates: sessions, variants and devices. Paths are not completed: the
server shows nobody what lies on its disk."""

from __future__ import annotations

from collections.abc import Callable

from mcp.types import Completion

from ..contract.devices import DEVICES
from ..state.session import Session
from ..tools.overview import own_sessions
from ..tools.workshop import Workshop

# The protocol's own limit of one answer.
AT_MOST = 100


def complete(shop: Workshop, owner: str, name: str, begun: str, given: dict[str, str], prompt: str) -> Completion:
    """What may stand for the argument `name` that has been begun so, after the arguments that are given already."""
    ways: dict[str, Callable[[], list[str]]] = {
        "target_device": lambda: [device for device in DEVICES if device.startswith(begun)],
        "session_id": lambda: _session_ids(shop, owner, begun),
        "variant_id": lambda: _variant_ids(shop, owner, given.get("session_id", ""), begun, prompt),
    }
    values = ways[name]() if name in ways else []
    return Completion(values=values[:AT_MOST], total=len(values), has_more=len(values) > AT_MOST)


def _session_ids(shop: Workshop, owner: str, begun: str) -> list[str]:
    """By the beginning of an id, or by a part of the model's name."""
    sessions, _ = own_sessions(shop, owner, AT_MOST + 1)
    return [s.session_id for s in sessions if s.session_id.startswith(begun) or begun in s.opened.model_name]


def _variant_ids(shop: Workshop, owner: str, session_id: str, begun: str, prompt: str) -> list[str]:
    """Of a decision, the variants that wait for one."""
    sessions, _ = own_sessions(shop, owner, AT_MOST + 1)
    session = next((s for s in sessions if s.session_id == session_id), None)
    if session is None:
        return []
    return [variant_id for variant_id in _offered(session, prompt) if variant_id.startswith(begun)]


def _offered(session: Session, prompt: str) -> list[str]:
    return list(session.waiting_for_person) if prompt == "decide-tradeoff" else list(session.variants)
