#!/usr/bin/env python3
"""A server made with the unmodified Python SDK that answers anything and notes what it was asked.
usage: server.py http|stdio LOG

LOG gets a JSON line for each thing that was executed: method, target (params.name or params.uri) and id; over HTTP its
first line is the port.
"""

import asyncio
import contextlib
import json
import socket
import sys

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

MODE, LOG = sys.argv[1], open(sys.argv[2], "a", buffering=1)


def note(**what):
    LOG.write(json.dumps(what) + "\n")


def handler(result, key=None):
    async def handle(ctx, params):
        target = getattr(params, key) if key else None
        note(method=ctx.method, target=None if target is None else str(target), id=ctx.request_id)
        return result

    return handle


TOOL = types.Tool(name="list_notes", input_schema={"type": "object"})
server = Server(
    "corpus",
    version="1",
    # Otherwise the SDK asks the list of tools for it, which would be noted as executed.
    get_tool_input_schema=lambda name: TOOL.input_schema,
    on_list_tools=handler(types.ListToolsResult(tools=[TOOL])),
    on_call_tool=handler(types.CallToolResult(content=[types.TextContent(type="text", text="done")]), "name"),
    on_list_prompts=handler(types.ListPromptsResult(prompts=[types.Prompt(name="greet")])),
    on_get_prompt=handler(types.GetPromptResult(messages=[]), "name"),
    on_list_resources=handler(types.ListResourcesResult(resources=[])),
    on_list_resource_templates=handler(types.ListResourceTemplatesResult(resource_templates=[])),
    on_read_resource=handler(types.ReadResourceResult(contents=[]), "uri"),
    on_ping=handler(types.EmptyResult()),
)


async def over_stdio():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


async def over_http():
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.applications import Starlette
    from starlette.routing import Mount

    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    listener = socket.create_server(("127.0.0.1", 0))
    note(port=listener.getsockname()[1])

    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with manager.run():
            yield

    app = Starlette(routes=[Mount("/mcp", manager.handle_request)], lifespan=lifespan)
    await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listener])


asyncio.run(over_stdio() if MODE == "stdio" else over_http())
