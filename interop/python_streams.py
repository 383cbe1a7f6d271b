#!/usr/bin/env python3
"""The unmodified Python SDK of MCP, with tokens that live for seconds. usage: python_streams.py DEMO_JSON

A stream that is open when its token ends is ended, the token renewed, and the stream opened again, without anybody being asked.
"""

import asyncio
import json
import sys

from browser import Person
from python_sdk import Caller, Report, call

PATIENCE = 30


def opened(caller):
    return sum(1 for method, path, status in caller.wire if method == "GET" and "/mcp/" in path and status == 200)


async def until(done):
    async with asyncio.timeout(PATIENCE):
        while not done():
            await asyncio.sleep(0.1)


async def outlives_its_token(report, caller):
    async with caller.connected("legacy") as client:
        await call(client, "list_notes")
        await until(lambda: opened(caller) >= 1)
        approvals, before = caller.person.approvals, caller.storage.tokens
        caller.forget_wire()
        await until(lambda: opened(caller) >= 1)
        after = caller.storage.tokens
        result = await call(client, "list_notes")
    report.check(caller.saw("POST", "/token", 200), "the token is renewed when the stream ends with it")
    report.check(after.access_token != before.access_token, "the stream is opened again with another one")
    report.check(not caller.saw("GET", "/mcp/", 401), "and was never refused")
    report.check(not result.is_error, "the session goes on")
    report.check(caller.person.approvals == approvals, "nobody is asked")


async def main(demo):
    report = Report()
    url = next(server["url"] for server in demo["servers"] if server["name"] == "notes")
    await report.story("notes: a stream outlives its token", outlives_its_token, Caller(url, Person(**demo["user"])))
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.exit(asyncio.run(main(json.load(file))))
