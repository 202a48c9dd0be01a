#!/usr/bin/env python3
"""Containers, against `docker run -i` of the same image in the same run.

Two figures: from the end of a push to RUNNING, against `docker run -i` until it has answered initialize and tools/list;
and a call of the tool `echo` by one client through the gateway of a whole mcpd (token, Host and Origin checks, rules and
audit on), against the same call over the stdio of `docker run -i`. Rounds of both alternate.

    benches/docker.py [--json] [--rounds N] [--calls N] [--bin DIR] [IMAGE]

IMAGE is a stdio server with a tool `echo`; without one it is the tests' fixture, whose name tests/support/tools.sh has in
MCPCTL_TEST_FIXTURE_IMAGE. Programs are taken from target/release. Containers are made under a cluster of their own and
removed; mcpd listens on a free port of 127.0.0.1.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 120.0
CLUSTER = f"bench-{os.getpid()}"
ABOUT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}
CALL = {"name": "echo", "arguments": {"message": "hello"}}


class Stdio:
    """`docker run -i` of an image."""

    def __init__(self, image):
        command = ["docker", "run", "--rm", "--interactive", "--init", image]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.next = 0

    def ask(self, method, params=None):
        self.next += 1
        message = {"jsonrpc": "2.0", "id": self.next, "method": method, "params": params or {}}
        self.process.stdin.write((json.dumps(message) + "\n").encode())
        self.process.stdin.flush()
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self.next:
                return answer
        raise SystemExit("the container ended without an answer")

    def greet(self):
        self.ask("initialize", ABOUT)
        self.process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        self.ask("tools/list")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE)


class Session:
    """One MCP session over one HTTP connection, with as little of our own between as can be."""

    def __init__(self, daemon, path):
        self.socket = socket.create_connection(("127.0.0.1", daemon.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nAuthorization: Bearer {daemon.token}\r\n"
            "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        )
        self.next = 0
        self.ask("initialize", ABOUT)
        self.head += f"Mcp-Session-Id: {self.session}\r\n"

    def ask(self, method, params=None):
        self.next += 1
        message = {"jsonrpc": "2.0", "id": self.next, "method": method, "params": params or {}}
        body = json.dumps(message).encode()
        self.socket.sendall(f"{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        length = None
        status = self.file.readline()
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
            if name.lower() == "mcp-session-id":
                self.session = value.strip()
        if length is None or b" 200 " not in status:
            raise SystemExit(f"an answer that is no plain JSON: {status!r}")
        return json.loads(self.file.read(length))


class Daemon:
    """An mcpd of its own, with containers."""

    def __init__(self, folder, programs):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data = folder / "data"
        kept = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        self.process = subprocess.Popen(
            [programs / "mcpd", "--listen", f"127.0.0.1:{self.port}", "--data-dir", self.data]
            + ["--runtime", "docker", "--cluster", CLUSTER],
            stderr=open(folder / "mcpd.log", "wb"),
            env={**kept, "HOME": str(folder)},
        )
        self.wait_for(lambda: self.get("/readyz", raw=True) is not None)
        self.token = (self.data / "admin.token").read_text().strip()

    def get(self, path, raw=False):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if not raw:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return None

    def wait_for(self, condition):
        end = time.perf_counter() + PATIENCE
        while not condition():
            if time.perf_counter() > end:
                raise SystemExit("waited too long")
            time.sleep(0.002)

    def running(self, server):
        listing = self.get("/api/v1/instances") or {"items": []}
        return any(it["instance"] == f"{server}/0" and it["state"] == "RUNNING" for it in listing["items"])

    def resident(self):
        """MiB of resident memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)
        listed = ["docker", "ps", "--all", "--quiet", "--filter", f"label=mcpctl.io/cluster={CLUSTER}"]
        found = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
        if found:
            subprocess.run(["docker", "rm", "--force", "--volumes", *found], check=True, stdout=subprocess.DEVNULL)


def microseconds(call, calls):
    """The durations of a number of calls, one after the other."""
    took = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        took.append((time.perf_counter() - begin) * 1e6)
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target" / "release")
    parser.add_argument("image", nargs="?", default=os.environ.get("MCPCTL_TEST_FIXTURE_IMAGE"))
    options = parser.parse_args()
    if not options.image:
        parser.error("give an IMAGE, or set MCPCTL_TEST_FIXTURE_IMAGE")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mcpctl-bench-"))
    daemon = Daemon(folder, options.bin)
    try:
        work = folder / "work"
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-C", work]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}

        def run(*arguments):
            subprocess.run(arguments, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        run("git", "clone", f"http://git:{daemon.token}@127.0.0.1:{daemon.port}/git/config.git", work)
        (work / "servers").mkdir()
        pushed, bare, through, direct = [], [], [], []
        for n in range(options.rounds):
            begin = time.perf_counter()
            floor = Stdio(options.image)
            floor.greet()
            bare.append(time.perf_counter() - begin)
            name = f"s{n}"
            document = {"kind": "server", "name": name, "dockerImage": options.image}
            (work / "servers" / f"{name}.yaml").write_text(json.dumps(document) + "\n")
            run(*git, "add", "-A")
            run(*git, "commit", "-qm", f"Add {name}")
            run(*git, "push", "-q", "-o", "no-wait", "origin", "HEAD:main")
            begin = time.perf_counter()
            daemon.wait_for(lambda: daemon.running(name))
            pushed.append(time.perf_counter() - begin)
            session = Session(daemon, f"/servers/{name}/mcp")
            microseconds(lambda: session.ask("tools/call", CALL), 50)
            microseconds(lambda: floor.ask("tools/call", CALL), 50)
            through += microseconds(lambda: session.ask("tools/call", CALL), options.calls)
            direct += microseconds(lambda: floor.ask("tools/call", CALL), options.calls)
            floor.stop()
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
        p50, p99 = statistics.median, lambda values: statistics.quantiles(values, n=100)[98]
        figures = {
            "bench": "docker",
            "commit": commit,
            "image": options.image.split(":")[0],
            "rounds": options.rounds,
            "callsARound": options.calls,
            "pushToRunningMilliseconds": [round(s * 1000, 1) for s in pushed],
            "dockerRunMilliseconds": [round(s * 1000, 1) for s in bare],
            "ratioOfMedians": round(p50(pushed) / p50(bare), 2),
            "callThroughGatewayMicroseconds": {"p50": round(p50(through)), "p99": round(p99(through))},
            "callOverDockerRunMicroseconds": {"p50": round(p50(direct)), "p99": round(p99(direct))},
            "ratioOfCalls": round(p50(through) / p50(direct), 2),
            "mebibytesWithServers": round(daemon.resident(), 1),
        }
    finally:
        daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:32} {value}")


if __name__ == "__main__":
    sys.exit(main())
