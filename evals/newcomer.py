"""An agent that knows nothing of edgeopt: the names and input schemas of tools/list, and what answers name.

It wants one thing, a package, and asks for it. Where it is refused it makes the first call that the refusal names and can be
made as it stands; where an answer recommends calls, the first of these. Then it asks again.
"""

from __future__ import annotations

from typing import Any

from .agent import Agent, NotPlayed

GOAL = "package_variant"
MOST_CALLS = 120


async def newcomer(agent: Agent, opening: dict[str, Any]) -> dict[str, Any]:
    """Plays from open_session to a package; the package as the server answered it.

    Raises:
        NotPlayed: the answers did not lead there; the message says where they stopped.
    """
    session = (await _made(agent, "open_session", opening)).data["session_id"]
    wanted = {"session_id": session}
    while agent.calls < MOST_CALLS:
        answer = await _made(agent, GOAL, wanted)
        if answer.ok:
            return answer.data["package"]
        for _ in range(3):  # a refusal names a call; that may recommend another
            following = _named(agent, answer.data)
            if following is None:
                raise NotPlayed(
                    f"{answer.tool} answered {answer.problem}, and names no call that can be made as it stands"
                )
            answer = await _made(agent, *following)
            if answer.ok and not answer.data.get("recommendations"):
                break
    raise NotPlayed(f"{MOST_CALLS} calls led to no package")


async def _made(agent: Agent, tool: str, arguments: dict[str, Any]) -> Any:
    """A call, and what its answer says to do while it runs."""
    answer = await agent.call(tool, **arguments)
    while answer.status == "running":
        waiting = {"session_id": arguments["session_id"], "job_id": answer.data["job_id"]}
        answer = await agent.call("wait_for_job", **waiting)
    return answer


def _named(agent: Agent, data: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The first call that an answer names and that its tool's schema takes as it stands."""
    calls = (data.get("refusal") or {}).get("next_calls") or data.get("recommendations") or []
    for call in calls:
        schema = agent.tools[call["tool"]].input_schema
        given = call["arguments"]
        complete = set(schema.get("required", [])) <= set(given) <= set(schema["properties"])
        if complete and "..." not in given.values() and None not in given.values():
            return call["tool"], given
    return None
