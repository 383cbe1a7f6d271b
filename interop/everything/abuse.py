#!/usr/bin/env python3
"""The black-box abuse checks with all that they can be told, against a running demo. usage: abuse.py DEMO_JSON CHECKS TABLE

The demo gets one server more, the everything server, which can show the headers that arrive at it; and the checks get the
key that signs access tokens, opened with the demo's own master key. CHECKS is their folder, TABLE where the result goes.
"""

import base64
import json
import re
import runpy
import secrets
import sqlite3
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from world import BINARY, FOLDER, upstream

# The first is in reach of the agent, the second is not.
SCOPES = {"echo:read": ["test_simple_text", "echo_headers"], "echo:write": ["test_embedded_resource"]}


def signing_key(data):
    """The key that signs access tokens: sealed under a key that the master key yields (AES-256-GCM, HKDF-SHA256)."""
    master = base64.urlsafe_b64decode((data / "master.key").read_text().strip() + "=")
    seal = HKDF(algorithm=SHA256(), length=32, salt=b"portcullis", info=b"portcullis sealstored keys").derive(master)
    database = sqlite3.connect(f"file:{data / 'portcullis.db'}?mode=ro", uri=True)
    newest = "SELECT version, kid, sealed FROM sealed_key WHERE purpose = 'access_token' ORDER BY version DESC LIMIT 1"
    version, kid, sealed = database.execute(newest).fetchone()
    database.close()
    der = AESGCM(seal).decrypt(sealed[:12], sealed[12:], f"keys/access/{version}".encode())
    pem = load_der_private_key(der, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = FOLDER / "signing.pem"
    file.write_bytes(pem)
    return {"pem_file": str(file), "alg": "ES256", "kid": kid}


def with_echo(fleet, url):
    """The demo's fleet, and one server more for all who may use its notes."""
    rules = "".join(f'[[server.rule]]\ntools = {json.dumps(tools)}\nscopes = ["{scope}"]\n' for scope, tools in SCOPES.items())
    fleet = re.sub(r"^notes = (.*)$", lambda line: f"{line[0]}\necho = {line[1].replace('notes:', 'echo:')}", fleet, flags=re.M)
    fleet = fleet.replace('introspects = ["notes"', 'introspects = ["echo", "notes"')
    return (
        f'[[server]]\nname = "echo"\nupstream = {{ url = "{url}" }}\ndefault_scopes = ["echo:read"]\n'
        f'[server.scopes]\n"echo:read" = "Read"\n"echo:write" = {{ says = "Write", implies = ["echo:read"] }}\n{rules}\n{fleet}'
    )


def register_echo(data, url):
    exported = subprocess.run([BINARY, "export", "--data", str(data)], check=True, capture_output=True, text=True)
    file = FOLDER / "echo.toml"
    file.write_text(with_echo(exported.stdout, url))
    subprocess.run([BINARY, "apply", str(file), "--yes", "--data", str(data)], check=True)


def target(demo, checks, data):
    told = subprocess.run([sys.executable, str(checks / "from_demo.py"), str(demo)], check=True, capture_output=True, text=True)
    target = json.loads(told.stdout)
    issuer = target["issuer"]
    tools = [{"name": tool, "scope": scope, "arguments": {}} for scope, tools in SCOPES.items() for tool in tools]
    target["server_a"] = {"url": f"{issuer}/mcp/echo", "tools": tools, "echo_headers_tool": "echo_headers"}
    target["signing_key"] = signing_key(data)
    target["options"]["slow"] = True
    return target


def run(checks, target, table):
    """Runs the checks here, because what they mint needs a token id of the shape that ours have: others are not ours."""
    sys.path.insert(0, str(checks))
    import common

    claims = common.Target.claims

    def with_our_id(self, **over):
        return claims(self, **{"jti": f"tok_{secrets.token_hex(16)}", **over})

    common.Target.claims = with_our_id
    sys.argv = ["run.py", str(target), "--json", str(table)]
    runpy.run_path(str(checks / "run.py"), run_name="__main__")


def main(demo, checks, table):
    data = demo.parent
    with ExitStack() as stack:
        register_echo(data, upstream(stack, "echo"))
        file = FOLDER / "target.json"
        file.write_text(json.dumps(target(demo, checks, data)))
        run(checks, file, table)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
