"""A git server over HTTP with TLS and a token, for tests: git's own http-backend behind Python's server, on 127.0.0.1.

git_http.py ROOT CERTIFICATE KEY TOKEN FAULT serves the repositories below ROOT and prints its port. FAULT is a file that may
hold one word: hang (say nothing), lose (do what is asked and close without a word), fail (500), or redirect and redirect-push
(to another host).
"""

import base64
import http.server
import os
import ssl
import subprocess
import sys
import time

ROOT, CERTIFICATE, KEY, TOKEN, FAULT = sys.argv[1:6]
WANTED = "Basic " + base64.b64encode(("git:" + TOKEN).encode()).decode()


def fault():
    try:
        with open(FAULT, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
            if size == 0:
                return b"".join(chunks)

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        data = self.body()
        word = fault()
        if word == "hang":
            time.sleep(3600)
        if word == "fail":
            return self.answer(500, [], b"")
        if word == "redirect" or (word == "redirect-push" and "git-receive-pack" in self.path):
            return self.answer(302, [("Location", f"https://localhost:{self.server.server_address[1]}{self.path}")], b"")
        if self.headers.get("Authorization") != WANTED:
            return self.answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": ROOT,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_PROJECT_ROOT": ROOT,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(data)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "git",
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(["git", "http-backend"], input=data, env=environment, stdout=subprocess.PIPE, check=False)
        if word == "lose" and path.endswith("/git-receive-pack"):
            self.close_connection = True
            return None
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers, status = [], 200
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            elif name:
                headers.append((name, value))
        return self.answer(status, headers, body)

    do_GET = do_POST = serve

    def log_message(self, form, *words):
        sys.stderr.write(form % words + "\n")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
