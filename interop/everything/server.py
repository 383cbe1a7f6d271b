#!/usr/bin/env python3
"""A server with a bit of everything, made with the unmodified Python SDK: what the MCP conformance suite asks of servers.

usage: server.py stdio | server.py http PORT_FILE

Over HTTP it listens at /mcp on a free port of the loopback interface, and writes the port into PORT_FILE.
"""

import asyncio
import base64
import json
import socket
import sys
import warnings
from pathlib import Path
from typing import Annotated

import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import (
    AudioContent,
    ClientCapabilities,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import Field

# The sessions era is deprecated, and half of what is tested here.
warnings.simplefilter("ignore", MCPDeprecationWarning)

# One transparent pixel, and two silent samples.
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
        "0000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
    )
).decode()
WAV = base64.b64encode(
    bytes.fromhex("524946462600000057415645666d74201000000001000100401f0000803e00000200100064617461020000000000")
).decode()
MISSING_CAPABILITY = -32021

server = MCPServer(
    "everything",
    version="1",
    log_level="WARNING",
    cache_hints={
        method: CacheHint(ttl_ms=60_000, scope="public")
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")
    },
)


def text(words):
    return TextContent(type="text", text=words)


def pixel():
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def resource(uri, words, mime_type="text/plain"):
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=words))


# Tools that answer at once.


@server.tool()
def test_simple_text() -> str:
    """A text"""
    return "This is a simple text response for testing."


@server.tool(structured_output=False)
def test_image_content() -> ImageContent:
    """An image"""
    return pixel()


@server.tool(structured_output=False)
def test_audio_content() -> AudioContent:
    """A sound"""
    return AudioContent(type="audio", data=WAV, mime_type="audio/wav")


@server.tool(structured_output=False)
def test_embedded_resource() -> EmbeddedResource:
    """A resource within the answer"""
    return resource("test://embedded-resource", "This is an embedded resource content.")


@server.tool(structured_output=False)
def test_multiple_content_types() -> list:
    """Three kinds of content"""
    data = json.dumps({"test": "data", "value": 123})
    return [
        text("Multiple content types test:"),
        pixel(),
        resource("test://mixed-content-resource", data, "application/json"),
    ]


@server.tool()
def test_error_handling() -> str:
    """Fails"""
    raise RuntimeError("This tool intentionally returns an error for testing")


# Keywords that a schema may have, and that whoever passes it on must keep.
SCHEMA = {
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


@server.tool()
def json_schema_2020_12_tool(name: str = "", address: dict | None = None) -> str:
    """A schema with much in it"""
    return f"{name}: {address}"


server._tool_manager.get_tool("json_schema_2020_12_tool").parameters = SCHEMA


@server.tool()
def test_custom_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
    priority: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Priority"})] = 0,
    query: str = "",
) -> str:
    """Arguments that are repeated in headers"""
    return f"{region} {priority} {query}"


@server.tool()
def echo_headers(ctx: Context) -> str:
    """The headers that arrived here, as a JSON object"""
    return json.dumps(dict(ctx.headers or {}))


# Tools that say something before they answer.


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Three log messages"""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(message)
        await asyncio.sleep(0.05)
    return "Logged three messages."


@server.tool()
async def test_logging_tool(ctx: Context) -> str:
    """A log message for those who want them"""
    await ctx.info("a log message")
    return "Logged, where it was wanted."


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Progress in three steps"""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return "Done in three steps."


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    """Closes its stream, and answers on the next one"""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.2)
    return "Answered after the stream was closed."


cancelled = 0


@server.tool()
async def wait(ctx: Context) -> str:
    """Waits until it is cancelled"""
    global cancelled
    try:
        await ctx.report_progress(0, 1)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled += 1
        raise
    return "Nobody cancelled."


@server.tool()
def times_cancelled() -> int:
    """How often the tool above was cancelled"""
    return cancelled


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Tells listeners that the tools changed"""
    await ctx.notify_tools_changed()
    return "Told."


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Tells listeners that the prompts changed"""
    await ctx.notify_prompts_changed()
    return "Told."


# Tools that ask the client, in the sessions era.


async def elicited(ctx, message, properties, required=()):
    schema = {"type": "object", "properties": properties, "required": list(required)}
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content)}"


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Asks the client's model"""
    messages = [SamplingMessage(role="user", content=text(prompt))]
    answer = await ctx.session.create_message(messages, max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content.text}"


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the user"""
    fields = {"username": "User's response", "email": "User's email address"}
    properties = {name: {"type": "string", "description": told} for name, told in fields.items()}
    return "User response: " + await elicited(ctx, message, properties, fields)


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Asks the user, with a default for each primitive type"""
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return "Elicitation completed: " + await elicited(ctx, "Please fill in", properties)


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Asks the user to choose, in five ways"""
    options = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{number}", "title": f"{word} Option"} for number, word in enumerate(("First", "Second", "Third"), 1)
    ]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return "Elicitation completed: " + await elicited(ctx, "Please choose", properties)


# Tools that need input first, in 2026-07-28.


def ask_user(message, name, kind="string"):
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def ask_model(prompt, max_tokens):
    message = SamplingMessage(role="user", content=text(prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def ask_roots():
    return ListRootsRequest()


def told(ctx, name):
    """What the client answered under `name`."""
    return (ctx.input_responses or {}).get(name)


def field(answer, name):
    """A field of an accepted form; None when there is none."""
    return (getattr(answer, "content", None) or {}).get(name)


def input_required(requests, state=None):
    return InputRequiredResult(input_requests=requests, request_state=state)


Answer = str | InputRequiredResult


@server.tool(structured_output=False)
def test_input_required_result_elicitation(ctx: Context) -> Answer:
    """Needs a name"""
    name = field(told(ctx, "user_name"), "name")
    return f"Hello, {name}!" if name else input_required({"user_name": ask_user("What is your name?", "name")})


@server.tool(structured_output=False)
def test_input_required_result_sampling(ctx: Context) -> Answer:
    """Needs the model"""
    answer = told(ctx, "capital_question")
    if answer is None:
        return input_required({"capital_question": ask_model("What is the capital of France?", 100)})
    return answer.content.text


@server.tool(structured_output=False)
def test_input_required_result_list_roots(ctx: Context) -> Answer:
    """Needs the roots"""
    answer = told(ctx, "client_roots")
    if answer is None:
        return input_required({"client_roots": ask_roots()})
    return ", ".join(str(root.uri) for root in answer.roots)


@server.tool(structured_output=False)
def test_input_required_result_request_state(ctx: Context) -> Answer:
    """Needs a confirmation, and its state back"""
    if told(ctx, "confirm") is None or ctx.request_state != "asked":
        return input_required({"confirm": ask_user("Please confirm", "ok", "boolean")}, "asked")
    return "state-ok"


@server.tool(structured_output=False)
def test_input_required_result_tampered_state(ctx: Context) -> Answer:
    """Needs a confirmation, and its state back unchanged"""
    return test_input_required_result_request_state(ctx)


@server.tool(structured_output=False)
def test_input_required_result_multiple_inputs(ctx: Context) -> Answer:
    """Needs three things at once"""
    requests = {
        "user_name": ask_user("What is your name?", "name"),
        "greeting": ask_model("Generate a greeting", 50),
        "client_roots": ask_roots(),
    }
    if any(told(ctx, name) is None for name in requests):
        return input_required(requests, "asked")
    return f"Hello, {field(told(ctx, 'user_name'), 'name')}!"


@server.tool(structured_output=False)
def test_input_required_result_multi_round(ctx: Context) -> Answer:
    """Needs two things, one after the other"""
    if ctx.request_state is None:
        return input_required({"step1": ask_user("Step 1: What is your name?", "name")}, "round 1")
    if told(ctx, "step2") is None:
        return input_required({"step2": ask_user("Step 2: What is your favorite color?", "color")}, "round 2")
    return f"Your colour is {field(told(ctx, 'step2'), 'color')}."


@server.tool(structured_output=False)
def test_input_required_result_capabilities(ctx: Context) -> Answer:
    """Needs what the client can give"""
    can = ctx.client_capabilities or ClientCapabilities()
    requests = {}
    if can.sampling is not None:
        requests["sampling"] = ask_model("Say something", 50)
    if can.elicitation is not None:
        requests["elicitation"] = ask_user("Say something", "words")
    return input_required(requests) if requests and not ctx.input_responses else "Thank you."


@server.tool(structured_output=False)
async def test_streaming_elicitation(ctx: Context) -> Answer:
    """Streams, and then needs a name"""
    await ctx.report_progress(0, 1)
    return test_input_required_result_elicitation(ctx)


@server.tool()
def test_missing_capability(ctx: Context) -> str:
    """Needs a client that can sample"""
    can = ctx.client_capabilities
    if can is None or can.sampling is None:
        needs = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(sampling=SamplingCapability())
        )
        raise MCPError(MISSING_CAPABILITY, "sampling is needed", needs.model_dump(by_alias=True, exclude_none=True))
    return "It can."


# Resources and prompts.


@server.resource("test://static-text", description="A text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", description="An image", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PNG)


@server.resource("test://watched-resource", description="A text that could change", mime_type="text/plain")
def watched() -> str:
    return "Watch me."


@server.resource("test://template/{id}/data", description="Data by id", mime_type="application/json")
def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def said(*contents):
    return [{"role": "user", "content": content} for content in contents]


@server.prompt(description="A prompt")
def test_simple_prompt() -> list:
    return said(text("This is a simple prompt for testing."))


@server.prompt(description="A prompt with arguments")
def test_prompt_with_arguments(arg1: str, arg2: str) -> list:
    return said(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))


@server.prompt(description="A prompt with a resource")
def test_prompt_with_embedded_resource(resourceUri: str) -> list:
    return said(
        resource(resourceUri, "Embedded resource content for testing."),
        text("Please process the embedded resource above."),
    )


@server.prompt(description="A prompt with an image")
def test_prompt_with_image() -> list:
    return said(pixel(), text("Please analyze the image above."))


@server.prompt(description="A prompt that needs input")
def test_input_required_result_prompt(ctx: Context) -> list | InputRequiredResult:
    context = field(told(ctx, "user_context"), "context")
    if not context:
        return input_required({"user_context": ask_user("What context should the prompt use?", "context")})
    return said(text(f"Context: {context}"))


@server.completion()
async def complete(ref, argument, context):
    values = [city for city in ("paris", "park", "party") if city.startswith(argument.value)]
    return Completion(values=values, total=len(values), has_more=False)


async def nothing(ctx, params):
    return EmptyResult()


# What the convenient class has no decorators for.
low = server._lowlevel_server
for method, params in (
    ("logging/setLevel", SetLevelRequestParams),
    ("resources/subscribe", SubscribeRequestParams),
    ("resources/unsubscribe", UnsubscribeRequestParams),
):
    low.add_request_handler(method, params, nothing)


class Events(EventStore):
    """All events ever sent, so that streams can be resumed."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(self, last_event_id, send_callback):
        if not last_event_id.isdigit() or int(last_event_id) >= len(self.events):
            return None
        last = int(last_event_id)
        stream_id = self.events[last][0]
        for number, (stream, message) in enumerate(self.events):
            if number > last and stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


def serve(port_file):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    # Renamed into place: whoever sees the file sees all of it.
    unfinished = port_file.with_suffix(".tmp")
    unfinished.write_text(str(listening.getsockname()[1]))
    unfinished.rename(port_file)
    app = server.streamable_http_app(event_store=Events(), retry_interval=100)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        serve(Path(sys.argv[2]))
