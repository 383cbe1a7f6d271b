#!/usr/bin/env python3
"""The MCP conformance suite against the everything server, directly and through the gateway: what passes directly passes through.

`cargo xtask interop --only conformance` runs this; see world.py. PORTCULLIS_NODE is a node, PORTCULLIS_INTEROP holds the
packages of package.json. Prints what differs and closes with `N passed, N failed`.
"""

import collections
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from adder import Adder
from world import FOLDER, HERE, World

NODE = os.environ["PORTCULLIS_NODE"]
# With how many checks must pass directly: fewer, and the suite did not run.
SUITES = {
    "conformance-stable": {"2025-06-18": 26, "2025-11-25": 45},
    "conformance-newest": {"2025-03-26": 3, "2025-06-18": 50, "2025-11-25": 80, "2026-07-28": 130},
}
# Each session of a stdio server is a process: one suite is enough to see that nothing but the transport differs.
BY_STDIO = {("conformance-newest", "2025-11-25"), ("conformance-newest", "2026-07-28")}
# From best to worst. What does not apply is as good as what was told for information.
ORDER = ["SUCCESS", "INFO", "SKIPPED", "WARNING", "FAILURE"]
AT_ONCE = 3
DATED = re.compile(r"^server-(.*)-\d{4}-\d\d-\d\dT[\d-]+Z$")


def run(suite, revision, way, url):
    """The worst status of each check of each scenario."""
    results = FOLDER / way / f"{suite}-{revision}"
    program = FOLDER / "node_modules" / suite / "dist/index.js"
    options = {"url": url, "spec-version": revision, "suite": "all", "output-dir": results}
    command = [NODE, program, "server", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    results.parent.mkdir(exist_ok=True)
    with open(f"{results}.log", "wb") as log:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=FOLDER, check=False)
    found = collections.defaultdict(lambda: ("SUCCESS", ""))
    for file in results.glob("*/checks.json"):
        scenario = DATED.match(file.parent.name)[1]
        for check in json.loads(file.read_text()):
            key, status = (scenario, check["id"]), check["status"]
            found[key] = max(found[key], (status, check.get("errorMessage") or ""), key=lambda one: ORDER.index(one[0]))
    return found


def passes(status):
    return status in ("SUCCESS", "INFO")


class Tally:
    def __init__(self, expected):
        self.expected, self.seen = expected, set()
        self.passed = self.failed = 0

    def fail(self, words):
        self.failed += 1
        print(f"   FAIL {words}")

    def compare(self, label, way, fewest, direct, through):
        """What passes directly, and what became of it."""
        passed = [key for key, (status, _) in direct.items() if passes(status)]
        if len(passed) < fewest:
            self.fail(f"{label}: the suite did not run directly: {len(passed)} checks passed; see the logs")
        for key in passed:
            status, why = through.get(key, ("absent", "the check is missing"))
            if passes(status):
                self.passed += 1
            elif reason := self.reason(way, *key):
                self.passed += 1
            else:
                self.fail(f"{label}: {key[0]}: {key[1]}: {status}: {why[:600]}")
        told = sum(not passes(status) for status, _ in direct.values())
        print(f"   {label}: {len(passed)} checks pass directly" + (f", {told} do not" if told else ""))

    def reason(self, way, scenario, check):
        for number, row in enumerate(self.expected):
            if row["way"] == way and row["scenario"] == scenario and row["check"] in (check, "*"):
                self.seen.add(number)
                return row["reason"]
        return None

    def finish(self):
        for number, row in enumerate(self.expected):
            if number in self.seen:
                print(f"   expected, by {row['way']}: {row['scenario']}: {row['check']}: {row['reason']}")
            else:
                self.fail(f"expected.json says what does not happen: {row['way']}: {row['scenario']}: {row['check']}")
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def main():
    tally = Tally(json.loads((HERE / "expected.json").read_text()))
    with World() as world, Adder(world.issuer, world.token("http")) as http, Adder(world.issuer, world.token("stdio")) as stdio:
        ways = {
            "direct": world.direct,
            "http": f"http://{http.ours}/mcp/http",
            "stdio": f"http://{stdio.ours}/mcp/stdio",
        }
        runs = [(suite, revision) for suite, revisions in SUITES.items() for revision in revisions]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            # Listeners of 2026-07-28 hear of all changes at one server: one revision at a time for each.
            started = {
                one: {way: pool.submit(run, *one, way, url) for way, url in ways.items() if way != "stdio" or one in BY_STDIO}
                for one in runs
            }
            found = {one: {way: done.result() for way, done in of.items()} for one, of in started.items()}
    for (suite, revision), of in found.items():
        for way in of.keys() - {"direct"}:
            label = f"{suite.removeprefix('conformance-')} {revision} by {way}"
            tally.compare(label, way, SUITES[suite][revision], of["direct"], of[way])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
