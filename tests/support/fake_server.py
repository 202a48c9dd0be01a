"""A small stdio MCP server for the acceptance scripts, started as `python3 -IS fake_server.py MARK [OPTION...]`.

MARK only makes the process easy to find. Options:
  exit=CODE      writes to stderr and exits at once
  say=TEXT       writes TEXT to stderr at the start
  stubborn       stays when its stdin is closed and ignores SIGTERM
  silent         reads, and never answers
  tools=FILE     lists the tools of a JSON file, as {"NAME": "DESCRIPTION"}, and says when it changes
"""

import json
import os
import signal
import sys
import threading
import time

options = dict((word.split("=", 1) + [""])[:2] for word in sys.argv[2:])

TOOLS = {
    "echo": ("Says what it was told", {"message": {"type": "string"}}),
    "pid": ("The process id", {}),
    "env": ("A variable of its environment", {"name": {"type": "string"}}),
    "die": ("Exits with code 9 and answers nothing", {}),
}


lock = threading.Lock()


def say(message):
    with lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def tools():
    if "tools" not in options:
        return TOOLS
    with open(options["tools"], encoding="utf-8") as file:
        said = json.load(file)
    return {name: (text, {"message": {"type": "string"}}) for name, text in said.items()}


def watch():
    """Says that the tools changed whenever they did."""
    known = tools()
    while True:
        time.sleep(0.05)
        try:
            now = tools()
        except (OSError, ValueError):
            continue
        if now != known:
            known = now
            say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})


def tell(line):
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def call(name, arguments):
    if name == "echo" or "tools" in options:
        return arguments.get("message", "")
    if name == "pid":
        return str(os.getpid())
    if name == "env":
        return os.environ.get(arguments.get("name", ""), "(unset)")
    if name == "die":
        tell("asked to die")
        os._exit(9)
    raise KeyError(name)


def answer(method, params):
    """The result, or None where the method is not known."""
    if method == "initialize":
        return {
            "protocolVersion": params.get("protocolVersion", "2025-11-25"),
            "capabilities": {"tools": {"listChanged": "tools" in options}},
            "serverInfo": {"name": "fake", "version": "1"},
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        return {
            "tools": [
                {"name": name, "description": text, "inputSchema": {"type": "object", "properties": fields}}
                for name, (text, fields) in tools().items()
            ]
        }
    if method == "tools/call" and params.get("name") in tools():
        text = call(params["name"], params.get("arguments") or {})
        return {"content": [{"type": "text", "text": text}]}
    return None


def main():
    if "say" in options:
        tell(options["say"])
    if "exit" in options:
        tell("cannot open the database")
        sys.exit(int(options["exit"]))
    if "stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "tools" in options:
        threading.Thread(target=watch, daemon=True).start()
    for line in sys.stdin:
        if not line.strip():
            continue
        message = json.loads(line)
        if "id" not in message or "method" not in message or "silent" in options:
            continue
        result = answer(message["method"], message.get("params") or {})
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            reply["error"] = {"code": -32601, "message": "unknown: " + message["method"]}
        else:
            reply["result"] = result
        say(reply)
    while "stubborn" in options:
        time.sleep(1)


main()
