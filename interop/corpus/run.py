#!/usr/bin/env python3
"""Hostile JSON, through our parser and then through real servers: none may do anything but what we read.

`cargo xtask interop corpus` runs this at the root of the tree. PORTCULLIS_INTEROP is a folder to work in; if the packages
of package.json are installed there and PORTCULLIS_NODE names a node, the TypeScript servers take part.
Prints a line for each finding and closes with `N passed, N failed`.
"""

import base64
import collections
import json
import os
import pathlib
import select
import subprocess
import sys
import time

import httpx

HERE = pathlib.Path(__file__).parent
FOLDER = pathlib.Path(os.environ["PORTCULLIS_INTEROP"])
NODE = os.environ.get("PORTCULLIS_NODE")
OLD, NEW = "2025-11-25", "2026-07-28"
PATIENCE = 20
META = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": {"name": "corpus", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def same(one, other):
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def our_findings():
    """What our own parser reads in each case, and the line that a program would be sent."""
    file = FOLDER / "findings.jsonl"
    file.unlink(missing_ok=True)
    cargo = [os.environ.get("CARGO", "cargo"), "test", "--quiet", "-p", "portcullis-gateway", "--lib", "corpus::"]
    subprocess.run(cargo, check=True, env=os.environ | {"PORTCULLIS_CORPUS_FINDINGS": str(file.absolute())}, stdout=subprocess.DEVNULL)
    return {finding["name"]: finding for finding in map(json.loads, file.read_text().strip("\n").split("\n"))}


class Log:
    """What a server noted that it executed."""

    def __init__(self, file):
        self.file, self.read = file, 0

    def new(self):
        text = self.file.read_bytes()[self.read :]
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def request(method, params, id, revision):
    meta = {"_meta": META} if revision == NEW else {}
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params | meta})


class Server:
    """One running server; `ask` sends a message and returns the answers that came and what was executed."""

    count = 0

    def __init__(self, command, mode, revision):
        Server.count += 1
        self.revision, self.sentinels = revision, 0
        file = FOLDER / f"{pathlib.Path(command[-1]).name if len(command) < 3 else 'ts'}-{Server.count}.log"
        file.write_text("")
        self.log = Log(file)
        pipe = subprocess.PIPE if mode == "stdio" else subprocess.DEVNULL
        errors = open(file.with_suffix(".err"), "wb")
        self.process = subprocess.Popen([*command, mode, str(file)], stdin=pipe, stdout=pipe, stderr=errors, cwd=FOLDER)

    def sentinel(self):
        self.sentinels += 1
        name = f"sentinel-{self.sentinels}"
        return name, request("tools/call", {"name": name, "arguments": {}}, name, self.revision)

    def executed(self):
        return [entry for entry in self.log.new() if not str(entry.get("id")).startswith("sentinel-")]

    def close(self):
        if self.process.stdin:
            self.process.stdin.close()
        self.process.terminate()
        self.process.wait(PATIENCE)


class Http(Server):
    def __init__(self, command, revision):
        super().__init__(command, "http", revision)
        deadline = time.monotonic() + PATIENCE
        while not (first := self.log.new()):
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{first[0]['port']}/mcp/"
        self.client = httpx.Client(timeout=PATIENCE, follow_redirects=False, transport=httpx.HTTPTransport(retries=5))
        self.ask(b"{}", None, "")

    def headers(self, read):
        headers = ACCEPT | {"mcp-protocol-version": self.revision}
        if self.revision == NEW and read and read["method"]:
            headers["mcp-method"] = read["method"]
            if read["target"] is not None:
                headers["mcp-name"] = encoded(read["target"])
        return headers

    def ask(self, body, read, line):
        response = self.client.post(self.url, content=body, headers=self.headers(read))
        answers = messages(response)
        if not read or read["kind"] != "request":
            name, sentinel = self.sentinel()
            of = {"method": "tools/call", "target": name, "kind": "request"}
            self.client.post(self.url, content=sentinel, headers=self.headers(of))
        return answers, self.executed()


def encoded(text):
    """A header value (2026-07-28, value encoding)."""
    if text.isascii() and text.isprintable() and text.strip(" ") == text and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def messages(response):
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        return [json.loads(line[5:]) for line in response.text.split("\n") if line.startswith("data:") and line[5:].strip()]
    try:
        found = response.json()
    except ValueError:
        return []
    return found if isinstance(found, list) else [found]


class Stdio(Server):
    def __init__(self, command, revision):
        super().__init__(command, "stdio", revision)
        self.rest = b""
        if revision == OLD:
            hello = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "corpus", "version": "1"}}
            self.write(request("initialize", hello, "hello", OLD))
            assert self.until("hello"), "no answer to initialize"
            self.write('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        self.ask(b"", None, request("tools/list", {}, "warm", revision))

    def write(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def until(self, *ids, patience=PATIENCE):
        """Messages until all the ids were answered, or patience ends."""
        seen, missing, deadline = [], list(ids), time.monotonic() + patience
        while missing and (left := deadline - time.monotonic()) > 0:
            if not select.select([self.process.stdout], [], [], left)[0]:
                break
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            assert chunk, "the server ended"
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            for message in map(json.loads, filter(None, lines)):
                seen.append(message)
                missing = [id for id in missing if not same(id, message.get("id"))]
        return seen

    def ask(self, body, read, line):
        self.write(line)
        name, sentinel = self.sentinel()
        self.write(sentinel)
        seen = self.until(name)
        if read and read["kind"] == "request" and not any(same(m.get("id"), read["id"]) for m in seen):
            # A message that a server does not take is not always answered.
            seen += self.until(read["id"], patience=0.3)
        return [message for message in seen if not same(message.get("id"), name)], self.executed()


def wrong(read, answers, executed):
    """How what happened differs from what we read; nothing when it does not."""
    if read["kind"] != "request":
        allowed = []
    else:
        allowed = [{"method": read["method"], "target": read["target"], "id": read["id"]}]
    if any(not any(same(entry, fine) for fine in allowed) for entry in executed) or len(executed) > len(allowed):
        return f"executed {executed}"
    ids = [m["id"] for m in answers if m.get("id") is not None and "method" not in m]
    if any(read["kind"] != "request" or not same(id, read["id"]) for id in ids):
        return f"answered the ids {ids}"
    return None


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, good, text):
        self.passed += good
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {text}", flush=True)


def body_of(case):
    return bytes.fromhex(case["hex"]) if "hex" in case else case["body"].encode()


def run_server(label, start, revision, cases, findings, tally):
    server, counts, failures = start(), collections.Counter(), []
    for case in cases:
        finding = findings[case["name"]]
        read = finding["read"]
        if read is None or case["revision"] != revision:
            continue
        try:
            answers, executed = server.ask(body_of(case), read, finding["line"])
        except (AssertionError, OSError, httpx.HTTPError) as error:
            counts["ended the server"] += 1
            print(f"     {label}: {case['name']} ended the server ({error!r})")
            server.close()
            server = start()
            continue
        if problem := wrong(read, answers, executed):
            failures.append(f"{case['name']}: we read {read}, the server {problem}")
        counts["executed" if executed else "not executed"] += 1
    for failure in failures:
        tally.add(False, f"{label}: {failure[:600]}")
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    tally.add(not failures, f"{label}: nothing but what we read ({told})")
    tally.add(counts["executed"] >= 80, f"{label}: most of it is executed")
    tally.add(sees_differences(server), f"{label}: a message that can be read in two ways would be noticed")
    if isinstance(server, Stdio):
        tally.add(sees_smuggling(server), f"{label}: a message on a line of its own would be noticed")
    server.close()


def sees_differences(server):
    """Of two readings of a doubled name, which our parser refuses, exactly one must come out as wrong."""
    meta = f',"_meta":{json.dumps(META)}' if server.revision == NEW else ""
    body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"first","name":"second"{meta}}}}}'
    problems = []
    for target in ["first", "second"]:
        read = {"kind": "request", "method": "tools/call", "target": target, "id": 1}
        answers, executed = server.ask(body.encode(), read, body)
        problems.append(bool(wrong(read, answers, executed)) or not executed)
    return sorted(problems) == [False, True]


def sees_smuggling(server):
    """Without our rewriting of newlines, a message inside another is executed."""
    inner = request("tools/call", {"name": "smuggled", "arguments": {}}, 99, server.revision)
    outer = request("tools/call", {"name": "list_notes", "arguments": {"x": "@"}}, 1, server.revision)
    body = outer.replace('"@"', f"\n{inner}\n")
    read = {"kind": "request", "method": "tools/call", "target": "list_notes", "id": 1}
    answers, executed = server.ask(body.encode(), read, body)
    return bool(wrong(read, answers, executed))


def servers():
    python = [sys.executable, str((HERE / "server.py").absolute())]
    found = [("Python SDK", python, [OLD, NEW])]
    if NODE:
        typescript = [NODE, str(FOLDER / "server.mjs")]
        found += [("TypeScript SDK 1", [*typescript, "1"], [OLD]), ("TypeScript SDK 2", [*typescript, "2"], [OLD, NEW])]
    for name, command, revisions in found:
        for revision in revisions:
            yield f"{name}, HTTP, {revision}", lambda c=command, r=revision: Http(c, r), revision
            yield f"{name}, stdio, {revision}", lambda c=command, r=revision: Stdio(c, r), revision


def main():
    subprocess.run([sys.executable, str(HERE / "cases.py"), "--check"], check=True)
    cases = json.loads((HERE / "cases.json").read_text())
    findings, tally = our_findings(), Tally()
    refused = sum(finding["read"] is None for finding in findings.values())
    print(f"     our parser refuses {refused} of {len(cases)} bodies; the others are sent")
    for label, start, revision in servers():
        run_server(label, start, revision, cases, findings, tally)
    if not NODE:
        tally.add(False, "no node: the TypeScript servers were not asked")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
