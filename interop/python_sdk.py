#!/usr/bin/env python3
"""The unmodified Python SDK of MCP against a running demo. usage: python_sdk.py DEMO_JSON

Without a token -> 401 -> discovery -> registration -> sign-in -> consent -> tool calls -> forced refresh.
Prints a line for each thing that was proven and closes with `N passed, N failed`.
"""

import asyncio
import json
import sys
import time
import traceback
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from browser import Person

REDIRECT_URI = "http://127.0.0.1:53682/callback"  # nothing listens: the browser stops before it
MODES = {"2026-07-28": "auto", "2025-11-25": "legacy"}


class Storage:
    """Keeps tokens and the registration in memory."""

    def __init__(self):
        self.tokens = None
        self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Caller:
    """One installation of a client: its storage, its person, and what went over the wire."""

    def __init__(self, url, person, storage=None):
        self.url = url
        self.person = person
        self.storage = storage or Storage()
        self.wire = []
        self.answer = None
        metadata = OAuthClientMetadata(
            client_name="Interop (Python SDK)",
            redirect_uris=[REDIRECT_URI],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        )
        self.oauth = OAuthClientProvider(url, metadata, self.storage, self.redirect, self.callback)

    async def redirect(self, url):
        self.answer = await asyncio.to_thread(self.person.authorize, url, REDIRECT_URI)

    async def callback(self):
        assert "code" in self.answer, f"no code but error={self.answer.get('error')}"
        return AuthorizationCodeResult(**{name: self.answer.get(name) for name in ("code", "state", "iss")})

    async def record(self, response):
        self.wire.append((response.request.method, response.request.url.path, response.status_code))

    def forget_wire(self):
        self.wire.clear()

    def saw(self, method, path, status):
        return any(m == method and path in p and s == status for m, p, s in self.wire)

    def expire(self):
        self.oauth.context.token_expiry_time = time.time() - 1

    @asynccontextmanager
    async def connected(self, mode="auto"):
        hooks = {"response": [self.record]}
        async with httpx2.AsyncClient(auth=self.oauth, timeout=30, event_hooks=hooks) as http:
            async with Client(streamable_http_client(self.url, http_client=http), mode=mode) as client:
                yield client


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, good, what, why=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        print(f"   {'ok  ' if good else 'FAIL'} {what}" + (f": {why}" if why and not good else ""))

    async def story(self, title, story, *arguments):
        print(f"   -- {title}")
        try:
            await story(self, *arguments)
        except BaseException as error:  # whatever stops a story is one failure, and the next one is still told
            if isinstance(error, KeyboardInterrupt):
                raise
            self.check(False, title, reason(error))


def reason(error):
    """The innermost reason of an error, or of a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"


def arguments_for(tool):
    """Something for each argument that the tool requires."""
    values = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    schema = tool.input_schema
    wanted = ((name, schema["properties"][name].get("type")) for name in schema.get("required", []))
    return {name: values.get(kind, "interop") for name, kind in wanted}


async def call(client, name):
    """Calls a tool by name, having looked up in the list what it needs."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert name in tools, f"{name} is not among the listed tools {sorted(tools)}"
    return await client.call_tool(name, arguments_for(tools[name]))


async def first_contact(report, caller, mode, version, tool):
    async with caller.connected(mode) as client:
        spoken = client.protocol_version
        result = await call(client, tool)
    report.check(not result.is_error, f"{tool} answers")
    report.check(spoken == version, f"both speak {version}", spoken)
    report.check(caller.saw("POST", "/mcp/", 401), "the first request is refused with 401")
    report.check(caller.saw("GET", "/.well-known/oauth-protected-resource", 200), "the server's metadata is found")
    report.check(caller.saw("GET", "/.well-known/oauth-authorization-server", 200), "the authority's metadata is found")
    report.check(caller.saw("POST", "/register", 201), "the client registers")
    report.check(caller.person.sign_ins == 1 and caller.person.approvals == 1, "the person signs in and approves once")
    report.check(caller.answer.get("iss") is not None, "the authorization response names its issuer")
    report.check(caller.storage.tokens.refresh_token is not None, "there is a refresh token")


async def step_up(report, caller, mode, tool):
    approvals, before = caller.person.approvals, caller.storage.tokens.scope
    caller.forget_wire()
    async with caller.connected(mode) as client:
        result = await call(client, tool)
    after = caller.storage.tokens.scope
    report.check(not result.is_error, f"{tool} answers")
    report.check(caller.saw("POST", "/mcp/", 403), "the call is first refused with 403")
    report.check(caller.person.approvals == approvals + 1, "the person approves once more")
    report.check(set(before.split()) < set(after.split()), "the token covers more than before", f"{before} -> {after}")


async def forced_refresh(report, caller, mode, tool):
    before, approvals = caller.storage.tokens, caller.person.approvals
    caller.forget_wire()
    async with caller.connected(mode) as client:
        await call(client, tool)
        caller.expire()
        result = await call(client, tool)
    after = caller.storage.tokens
    report.check(not result.is_error, f"{tool} answers after the token was renewed")
    report.check(caller.saw("POST", "/token", 200), "the token endpoint is asked")
    report.check(after.refresh_token not in (None, before.refresh_token), "the refresh token is a new one")
    report.check(after.access_token != before.access_token, "the access token is a new one")
    report.check(caller.person.approvals == approvals, "nobody is asked")


async def restart(report, url, person, storage, mode, tool):
    caller = Caller(url, person, storage)
    approvals = person.approvals
    async with caller.connected(mode) as client:
        result = await call(client, tool)
    report.check(not result.is_error, f"{tool} answers with what was stored")
    report.check(not caller.saw("POST", "/register", 201), "the client does not register again")
    report.check(person.approvals == approvals, "nobody is asked")


async def over_sse(report, caller, mode, version, tool):
    approvals = caller.person.approvals
    async with Client(sse_client(f"{caller.url}/sse", auth=caller.oauth, timeout=30), mode=mode) as client:
        spoken = client.protocol_version
        result = await call(client, tool)
        refused = None
        try:
            await client.call_tool("no_such_tool", {})
        except Exception as error:
            refused = str(error)
        again = await call(client, tool)
    report.check(not result.is_error, f"{tool} answers over HTTP+SSE")
    report.check(spoken == version, f"both speak {version}", spoken)
    report.check(refused is not None, "a tool that nobody may call is refused", "it was called")
    report.check(not again.is_error, "and the connection goes on")
    report.check(caller.person.approvals == approvals, "nobody is asked")


async def elsewhere(report, url, access_token):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.post(url, json=body, headers=headers | {"Authorization": f"Bearer {access_token}"})
    challenge = answer.headers.get("www-authenticate", "")
    report.check(answer.status_code == 401, "the other server refuses the token with 401", str(answer.status_code))
    report.check('error="invalid_token"' in challenge, "and says invalid_token")


async def main(demo):
    report = Report()
    urls = {server["name"]: server["url"] for server in demo["servers"]}
    for version, mode in MODES.items():
        print(f"   == {version} ({mode})")
        notes = Caller(urls["notes"], Person(**demo["user"]))
        await report.story("notes: first contact", first_contact, notes, mode, version, "list_notes")
        await report.story("notes: a tool beyond the token", step_up, notes, mode, "create_note")
        await report.story("notes: forced refresh", forced_refresh, notes, mode, "list_notes")
        await report.story("notes: a restart", restart, urls["notes"], notes.person, notes.storage, mode, "list_notes")
        # It is a session, whatever else the client speaks.
        await report.story("notes: HTTP+SSE", over_sse, notes, mode, "2025-11-25", "list_notes")
        ops = Caller(urls["ops"], Person(**demo["user"]))
        await report.story("ops: first contact", first_contact, ops, mode, version, "uptime")
        await report.story("ops: forced refresh", forced_refresh, ops, mode, "uptime")
        if notes.storage.tokens is not None:
            await report.story("the token of notes at ops", elsewhere, urls["ops"], notes.storage.tokens.access_token)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.exit(asyncio.run(main(json.load(file))))
