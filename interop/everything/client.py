#!/usr/bin/env python3
"""The Python SDK as a client of its own servers, with the gateway between: both eras, by HTTP and by stdio.

`cargo xtask interop --only servers` runs this; see world.py. Closes with `N passed, N failed`.
"""

import asyncio
import sys
import traceback
import warnings
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

from world import PATIENCE, World

warnings.simplefilter("ignore", MCPDeprecationWarning)

MODES = {"2026-07-28": "auto", "2025-11-25": "legacy"}


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, good, what, why=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        print(f"   {'ok  ' if good else 'FAIL'} {what}" + (f": {why}" if why and not good else ""))


async def sampled(context, params):
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="none")


async def elicited(context, params):
    answers = {"username": "ann", "email": "ann@example.com", "name": "Ann"}
    asked = params.requested_schema["properties"]
    return ElicitResult(action="accept", content={name: answers[name] for name in asked})


async def roots(context):
    return ListRootsResult(roots=[Root(uri="file:///work")])


@asynccontextmanager
async def connected(url, token, mode, log=None):
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE, trust_env=False) as http:
        answers = {
            "sampling_callback": sampled,
            "elicitation_callback": elicited,
            "list_roots_callback": roots,
            "logging_callback": log,
            "log_level": "info" if log else None,
        }
        async with Client(streamable_http_client(url, http_client=http), mode=mode, cache=None, **answers) as client:
            yield client


def text_of(result):
    return result.content[0].text


async def lists(client, check):
    tools = {tool.name for tool in (await client.list_tools()).tools}
    check({"test_simple_text", "wait", "json_schema_2020_12_tool"} <= tools, "tools are listed")
    resources = {str(resource.uri) for resource in (await client.list_resources()).resources}
    check("test://static-text" in resources, "resources are listed")
    templates = {one.uri_template for one in (await client.list_resource_templates()).resource_templates}
    check(templates == {"test://template/{id}/data"}, "resource templates are listed")
    prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
    check("test_simple_prompt" in prompts, "prompts are listed")


async def reads(client, check):
    read = (await client.read_resource("test://template/7/data")).contents[0].text
    check('"id": "7"' in read, "a resource of a template is read", read)
    prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "one", "arg2": "two"})
    check("arg2='two'" in prompt.messages[0].content.text, "a prompt is filled in")
    check(text_of(await client.call_tool("test_simple_text", {})).startswith("This is a simple"), "a tool is called")
    failed = await client.call_tool("test_error_handling", {})
    check(failed.is_error, "a tool that fails says so")


async def progress(client, check):
    told = []

    async def tell(done, total, message):
        told.append((done, total))

    await client.call_tool("test_tool_with_progress", {}, progress_callback=tell)
    check(told == [(0, 100), (50, 100), (100, 100)], "progress is told in order", str(told))


async def asks(client, check, version):
    if version == "2026-07-28":
        greeted = text_of(await client.call_tool("test_input_required_result_multiple_inputs", {}))
        check(greeted == "Hello, Ann!", "a call that needs input gets it", greeted)
        return
    answered = text_of(await client.call_tool("test_sampling", {"prompt": "What is the capital of France?"}))
    check(answered == "LLM response: Paris", "the server asks the client's model", answered)
    answered = text_of(await client.call_tool("test_elicitation", {"message": "Who are you?"}))
    check("action=accept" in answered and "ann@example.com" in answered, "the server asks the user", answered)


async def times_cancelled(client):
    return int(text_of(await client.call_tool("times_cancelled", {})))


async def cancellation(client, check):
    before, begun = await times_cancelled(client), asyncio.Event()

    async def tell(done, total, message):
        begun.set()

    call = asyncio.create_task(client.call_tool("wait", {}, progress_callback=tell))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    for _ in range(PATIENCE * 10):
        if await times_cancelled(client) == before + 1:
            break
        await asyncio.sleep(0.1)
    check(await times_cancelled(client) == before + 1, "a call that is cancelled ends at the server")


async def stories(check, url, token, version):
    mode = MODES[version]
    async with connected(url, token, mode) as client:
        check(client.protocol_version == version, f"both speak {version}", client.protocol_version)
        await lists(client, check)
        await reads(client, check)
        await progress(client, check)
        await asks(client, check, version)
        await cancellation(client, check)


async def main(world):
    tally = Tally()
    for server in ("http", "stdio"):
        for version in MODES:
            print(f"   == by {server}, {version}")
            try:
                await stories(tally.check, world.url(server), world.token(server), version)
            except BaseException as error:  # whatever stops a story is one failure, and the next one is still told
                if isinstance(error, KeyboardInterrupt):
                    raise
                tally.check(False, "the story is told to its end", "".join(traceback.format_exception(error))[-1500:])
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    with World() as started:
        sys.exit(asyncio.run(main(started)))
