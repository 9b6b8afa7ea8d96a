"""Our server with what the official conformance suite calls by name: `python -m edgeopt.tests.clients.fixtures PORT`.

The suite tests a server by tools, prompts and resources that it knows (`test_image_content`, `test://static-text`). The
product has none of them; here they are added to the product's own factory, so that what answers is the product's server,
with its seam, its listing and its transport.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
import tempfile
import wave
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import anyio
from edgeopt.server.app import EdgeoptServer, build
from edgeopt.tools.workshop import Settings
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import Message, Prompt, UserMessage
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    ContentBlock,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequest,
    InputRequiredResult,
    JSONRPCMessage,
    ListRootsRequest,
    SamplingMessage,
    SetLevelRequestParams,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel, Field, create_model

# The suite's words are given by it; ours are "x".
Reply = CallToolResult | InputRequiredResult


def _png() -> bytes:
    """A picture of one black pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def _wav() -> bytes:
    """One silent sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0")
    return file.getvalue()


def _text(said: str) -> TextContent:
    return TextContent(type="text", text=said)


def _file(uri: str, mime_type: str, said: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=said))


IMAGE = ImageContent(type="image", data=base64.b64encode(_png()).decode(), mime_type="image/png")
AUDIO = AudioContent(type="audio", data=base64.b64encode(_wav()).decode(), mime_type="audio/wav")
# Tools that answer with content of each kind.
CONTENT: dict[str, list[ContentBlock]] = {
    "test_simple_text": [_text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [AUDIO],
    "test_embedded_resource": [
        _file("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        _text("Multiple content types test:"),
        IMAGE,
        _file("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}'),
    ],
}
# A schema with the keywords of JSON Schema 2020-12 that must survive the way to the client.
KEYWORDS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def ask(message: str, **properties: str) -> ElicitRequest:
    """A question with one field for each property, of the type given."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=_text(prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


NAME = ask("What is your name?", name="string")
OK = ask("Please confirm", ok="boolean")
# Tools that ask in one round: what for, and the state that they give along.
ONE_ROUND: dict[str, tuple[Mapping[str, InputRequest], str | None]] = {
    "elicitation": ({"user_name": NAME}, None),
    "sampling": ({"capital_question": sample("What is the capital of France?")}, None),
    "list_roots": ({"client_roots": ListRootsRequest()}, None),
    "request_state": ({"confirm": OK}, "the state of the question"),
    "tampered_state": ({"confirm": OK}, "the state that nobody may change"),
    "multiple_inputs": (
        {"user_name": NAME, "greeting": sample("Greet somebody"), "client_roots": ListRootsRequest()},
        "the state of three questions",
    ),
}


def said(*words: str) -> CallToolResult:
    return CallToolResult(content=[_text(word) for word in words])


def _answers(ctx: Context) -> dict[str, str]:
    return {key: answer.model_dump_json() for key, answer in (ctx.input_responses or {}).items()}


def _add_content(server: EdgeoptServer) -> None:
    def answering(content: list[ContentBlock]) -> Any:
        async def tool() -> CallToolResult:
            return CallToolResult(content=content)

        return tool

    for name, content in CONTENT.items():
        server.add_tool(answering(content), name=name, description="x")

    @server.tool(description="x")
    async def test_error_handling() -> CallToolResult:
        return CallToolResult(content=[_text("This tool intentionally returns an error for testing")], is_error=True)

    @server.tool(description="x")
    async def json_schema_2020_12_tool() -> CallToolResult:
        return said("x")

    tool = server._tool_manager.get_tool("json_schema_2020_12_tool")
    assert tool is not None
    tool.parameters = KEYWORDS

    @server.tool(description="x")
    async def test_x_mcp_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",
    ) -> CallToolResult:
        return said(region)


def _add_telling(server: EdgeoptServer) -> None:
    """Tools that say something while they work, or ask over the earlier protocol's back channel."""

    @server.tool(description="x")
    async def test_tool_with_progress(ctx: Context) -> CallToolResult:
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100, f"{done} of 100")
            await anyio.sleep(0.05)
        return said("done")

    @server.tool(description="x")
    async def test_tool_with_logging(ctx: Context) -> CallToolResult:
        for word in ("started", "processing", "completed"):
            await ctx.info(word)  # pyright: ignore[reportDeprecated]
            await anyio.sleep(0.05)
        return said("done")

    @server.tool(description="x")
    async def test_reconnection(ctx: Context) -> CallToolResult:
        await ctx.info("before")  # pyright: ignore[reportDeprecated]
        await ctx.close_sse_stream()
        await anyio.sleep(0.2)
        return said("after")

    @server.tool(description="x")
    async def test_sampling(prompt: str, ctx: Context) -> CallToolResult:
        message = SamplingMessage(role="user", content=_text(prompt))
        answer = await ctx.session.create_message(  # pyright: ignore[reportDeprecated]
            messages=[message], max_tokens=100, related_request_id=ctx.request_id
        )
        return said(f"LLM response: {getattr(answer.content, 'text', '')}")

    @server.tool(description="x")
    async def test_missing_capability(ctx: Context) -> CallToolResult:
        declared = ctx.client_capabilities
        if declared is None or declared.sampling is None:
            needed = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(code=MISSING_REQUIRED_CLIENT_CAPABILITY, message="sampling is needed", data=needed)
        return said("declared")

    @server.tool(description="x")
    async def test_trigger_tool_change(ctx: Context) -> CallToolResult:
        await ctx.notify_tools_changed()
        return said("told")

    @server.tool(description="x")
    async def test_trigger_prompt_change(ctx: Context) -> CallToolResult:
        await ctx.notify_prompts_changed()
        return said("told")

    async def set_level(_ctx: Any, _params: SetLevelRequestParams) -> EmptyResult:
        return EmptyResult()

    server._lowlevel_server.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)


def _kind(**schema: Any) -> Any:
    return Field(description="x", json_schema_extra=schema)


class OfEveryType(BaseModel):
    """Defaults of every primitive type (SEP-1034)."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Annotated[str, _kind(enum=["active", "inactive", "pending"])] = "active"
    verified: bool = True


def _titled(**titles: str) -> list[dict[str, str]]:
    return [{"const": value, "title": title} for value, title in titles.items()]


class OfEveryChoice(BaseModel):
    """Choices as SEP-1330 has them: with titles and without, one and several."""

    untitledSingle: Annotated[str, _kind(enum=["option1", "option2", "option3"])]
    titledSingle: Annotated[str, _kind(oneOf=_titled(value1="First", value2="Second", value3="Third"))]
    legacyEnum: Annotated[str, _kind(enum=["opt1", "opt2", "opt3"], enumNames=["One", "Two", "Three"])]
    untitledMulti: Annotated[list[str], _kind(items={"type": "string", "enum": ["option1", "option2", "option3"]})]
    titledMulti: Annotated[list[str], _kind(items={"anyOf": _titled(value1="First", value2="Second", value3="Third")})]


def _add_asking(server: EdgeoptServer) -> None:
    """Tools that ask a person by the earlier protocol."""

    async def asked(ctx: Context, message: str, form: type[BaseModel]) -> CallToolResult:
        answer = await ctx.elicit(message, form)
        content = answer.data.model_dump_json() if answer.action == "accept" else "{}"
        return said(f"User response: action={answer.action}, content={content}")

    @server.tool(description="x")
    async def test_elicitation(message: str, ctx: Context) -> CallToolResult:
        return await asked(ctx, message, create_model("Response", response=(str, _kind())))

    @server.tool(description="x")
    async def test_elicitation_sep1034_defaults(ctx: Context) -> CallToolResult:
        return await asked(ctx, "Please fill this in", OfEveryType)

    @server.tool(description="x")
    async def test_elicitation_sep1330_enums(ctx: Context) -> CallToolResult:
        return await asked(ctx, "Please choose", OfEveryChoice)


def _add_rounds(server: EdgeoptServer) -> None:
    """Tools that answer with questions and are called again with the answers (SEP-2322)."""

    def one_round(questions: Mapping[str, InputRequest], state: str | None) -> Any:
        async def tool(ctx: Context) -> Reply:
            answers = _answers(ctx)
            if set(questions) <= set(answers) and ctx.request_state == state:
                return said(f"state-ok {answers}")
            return InputRequiredResult(input_requests=dict(questions), request_state=state)

        return tool

    for name, (questions, state) in ONE_ROUND.items():
        server.add_tool(one_round(questions, state), name=f"test_input_required_result_{name}", description="x")

    @server.tool(description="x")
    async def test_input_required_result_multi_round(ctx: Context) -> Reply:
        """The second question is asked with the first answer in the state."""
        answers, state = _answers(ctx), json.loads(ctx.request_state or "{}")
        if "first" in state and "step2" in answers:
            return said(f"{state['first']} {answers['step2']}")
        if "step1" in answers and ctx.request_state is not None:
            step2 = ask("What is your favorite color?", color="string")
            return InputRequiredResult(
                input_requests={"step2": step2}, request_state=json.dumps({"first": answers["step1"]})
            )
        return InputRequiredResult(input_requests={"step1": NAME}, request_state="{}")

    @server.tool(description="x")
    async def test_input_required_result_capabilities(ctx: Context) -> Reply:
        """What the client declares that it can answer, alone."""
        able = ctx.client_capabilities
        questions: dict[str, InputRequest] = {}
        if able is None or able.sampling is not None:
            questions["sample"] = sample("Say hello")
        if able is None or able.elicitation is not None:
            questions["ask"] = NAME
        return InputRequiredResult(input_requests=questions, request_state="by capability")

    @server.prompt(description="x")
    async def test_input_required_result_prompt(ctx: Context) -> list[Message] | InputRequiredResult:
        answers = _answers(ctx)
        if "user_context" in answers:
            return [UserMessage(_text(answers["user_context"]))]
        return InputRequiredResult(input_requests={"user_context": ask("In what context?", context="string")})


def _add_prompts(server: EdgeoptServer) -> None:
    @server.prompt(description="x")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt(description="x")
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
        return [UserMessage(_file(resourceUri, "text/plain", "x")), UserMessage(_text("Please process it."))]

    def simple() -> str:
        return "This is a simple prompt for testing."

    def with_image() -> list[Message]:
        return [UserMessage(IMAGE), UserMessage(_text("Please analyze the image above."))]

    server.add_prompt(Prompt.from_function(simple, name="test_simple_prompt", description="x"))
    server.add_prompt(Prompt.from_function(with_image, name="test_prompt_with_image", description="x"))


def _add_resources(server: EdgeoptServer) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return _png()

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched() -> str:
        return "Watched resource content"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


class Kept(EventStore):
    """The events of every stream, for a client that comes back for them (SEP-1699). The product keeps none: its jobs are
    durable instead."""

    def __init__(self) -> None:
        self._events: list[tuple[StreamId, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        seen = int(last_event_id)
        stream_id = self._events[seen - 1][0]
        for number, (stream, message) in enumerate(self._events[seen:], seen + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


def dressed(workspace: Path) -> EdgeoptServer:
    """The product's server, with the suite's fixtures."""
    server = build(Settings(workspace=workspace))
    for add in (_add_content, _add_telling, _add_asking, _add_rounds, _add_prompts, _add_resources):
        add(server)
    return server


def main(port: int) -> None:
    names = ["127.0.0.1:*", "localhost:*"]
    security = TransportSecuritySettings(allowed_hosts=names, allowed_origins=[f"http://{n}" for n in names])
    with tempfile.TemporaryDirectory() as folder:
        dressed(Path(folder)).run(
            "streamable-http",
            host="127.0.0.1",
            port=port,
            transport_security=security,
            event_store=Kept(),
            retry_interval=100,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]))
