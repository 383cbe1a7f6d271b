"""The everything server, and a gateway in front of it: by HTTP, and once more by stdio.

`cargo xtask interop` sets PORTCULLIS_INTEROP, a folder to work in, and PORTCULLIS_BINARY.
"""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

HERE = Path(__file__).parent.absolute()
FOLDER = Path(os.environ["PORTCULLIS_INTEROP"]).absolute()
BINARY = os.environ["PORTCULLIS_BINARY"]
PATIENCE = 30


@contextmanager
def running(name, command):
    """A program that ends with the block; what it prints stands in NAME.log."""
    with open(FOLDER / f"{name}.log", "wb") as log:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=FOLDER)
    try:
        yield program
    finally:
        program.terminate()
        try:
            program.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            program.kill()


def until(what, found):
    """The first thing that is found, within a time."""
    deadline = time.monotonic() + PATIENCE
    while not (thing := found()):
        assert time.monotonic() < deadline, f"{what} did not come up; see the logs in {FOLDER}"
        time.sleep(0.05)
    return thing


def text_of(file):
    return file.read_text() if file.exists() else None


def upstream(stack, name):
    """Another everything server; its address."""
    port = FOLDER / f"{name}.port"
    stack.enter_context(running(name, [sys.executable, str(HERE / "server.py"), "http", str(port)]))
    return f"http://127.0.0.1:{until('the server', lambda: text_of(port))}/mcp"


class World:
    """Addresses, and tokens for them."""

    def __init__(self):
        self.stack = ExitStack()

    def __enter__(self):
        with ExitStack() as stack:
            self.direct = upstream(stack, "direct")
            self.start_gateway(stack, upstream(stack, "behind"))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self.stack.close()

    def start_gateway(self, stack, upstream):
        agent = FOLDER / "agent.json"
        fleet = (HERE / "fleet.toml").read_text().replace("@UPSTREAM@", upstream).replace("@AGENT@", str(agent))
        (FOLDER / "fleet.toml").write_text(fleet)
        run = json.dumps([sys.executable, str(HERE / "server.py"), "stdio"])
        listen = f"127.0.0.1:{free_port()}"
        (FOLDER / "portcullis.toml").write_text(
            f'[listen]\naddress = "{listen}"\nops = "off"\n'
            '[limits]\ncalls_per_minute = { principal = 1000000 }\nprogram_idle = "10s"\n'
            f"[command.everything]\nrun = {run}\n"
        )
        self.issuer = f"http://{listen}"
        options = {"config": "portcullis.toml", "fleet": "fleet.toml", "data": "data"}
        serve = [BINARY, "serve", *(f"--{name}={FOLDER / file}" for name, file in options.items())]
        stack.enter_context(running("gateway", serve))
        log = FOLDER / "gateway.log"
        until("the gateway", lambda: "Portcullis at " in log.read_text() and agent.exists())
        self.agent = json.loads(agent.read_text())

    def url(self, server):
        return f"{self.issuer}/mcp/{server}"

    def token(self, server):
        form = {"grant_type": "client_credentials", "resource": self.url(server)}
        credentials = (self.agent["client_id"], self.agent["client_secret"])
        answer = httpx.post(f"{self.issuer}/oauth/token", data=form, auth=credentials, trust_env=False)
        assert answer.status_code == 200, f"no token for {server}: {answer.text}"
        return answer.json()["access_token"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
