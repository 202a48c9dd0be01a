#!/usr/bin/env python3
"""From the end of a push to RUNNING, against its floor in the same run: the same command started by hand until it has
answered initialize and tools/list over bare stdio. Also the size of the programs and what an idle mcpd holds in memory.

    benches/push_to_running.py [--json] [--rounds N] [--bin DIR] [COMMAND ARGUMENT...]

The command is an MCP server on stdio; without one it is tests/support/fake_server.py. Programs are taken from
target/release. Nothing leaves this machine: mcpd listens on a free port of 127.0.0.1 and its data is thrown away.
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


def bare_stdio(command):
    """Seconds from the start of the command until both first requests were answered."""
    begin = time.perf_counter()
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def send(message):
        server.stdin.write((json.dumps(message) + "\n").encode())
        server.stdin.flush()

    def answer(number):
        for line in server.stdout:
            message = json.loads(line)
            if message.get("id") == number and ("result" in message or "error" in message):
                return
        raise SystemExit(f"{command[0]} ended without an answer")

    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}
    send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about})
    answer(1)
    send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    send({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    answer(2)
    took = time.perf_counter() - begin
    server.stdin.close()
    server.wait(timeout=PATIENCE)
    return took


class Daemon:
    """An mcpd of its own."""

    def __init__(self, folder, programs):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data = folder / "data"
        self.process = subprocess.Popen(
            [programs / "mcpd", "--listen", f"127.0.0.1:{self.port}", "--data-dir", self.data],
            stderr=open(folder / "mcpd.log", "wb"),
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target" / "release")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command or ["python3", str(ROOT / "tests/support/fake_server.py"), "bench"]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mcpctl-bench-"))
    daemon = Daemon(folder, options.bin)
    try:
        time.sleep(2)
        idle = daemon.resident()
        work = folder / "work"
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-C", work]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}

        def run(*arguments):
            subprocess.run(arguments, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        run("git", "clone", f"http://git:{daemon.token}@127.0.0.1:{daemon.port}/git/config.git", work)
        (work / "servers").mkdir()
        pushed, bare = [], []
        for n in range(options.rounds):
            bare.append(bare_stdio(command))
            name = f"s{n}"
            document = {"kind": "server", "name": name, "command": command}
            (work / "servers" / f"{name}.yaml").write_text(json.dumps(document) + "\n")
            run(*git, "add", "-A")
            run(*git, "commit", "-qm", f"Add {name}")
            run(*git, "push", "-q", "-o", "no-wait", "origin", "HEAD:main")
            begin = time.perf_counter()
            daemon.wait_for(lambda: daemon.running(name))
            pushed.append(time.perf_counter() - begin)
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
        figures = {
            "bench": "push_to_running",
            "commit": commit,
            "command": [pathlib.Path(word).name if word.startswith("/") else word for word in command],
            "rounds": options.rounds,
            "pushToRunningMilliseconds": [round(s * 1000, 1) for s in pushed],
            "bareStdioMilliseconds": [round(s * 1000, 1) for s in bare],
            "ratioOfMedians": round(statistics.median(pushed) / statistics.median(bare), 2),
            "idleMebibytes": round(idle, 1),
            "mebibytesWithServers": round(daemon.resident(), 1),
            "binaryMebibytes": {
                name: round((options.bin / name).stat().st_size / 2**20, 1) for name in ("mcpctl", "mcpd")
            },
        }
    finally:
        daemon.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:28} {value}")


if __name__ == "__main__":
    sys.exit(main())
