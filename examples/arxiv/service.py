"""What the small services of the arXiv system share: where their settings come from, and how they answer over HTTP.

A setting is a file of the mounted ConfigMap ($CONFIG), read whenever it is needed, so that a changed one is seen without a restart; or
else a variable of the environment. What is secret stands in a .env file ($DOTENV)."""

import json
import os
import pathlib
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONFIG = pathlib.Path(os.environ.get("CONFIG", "/config"))


def setting(name, default=""):
    try:
        return (CONFIG / name).read_text().strip()
    except OSError:
        return os.environ.get(name, default)


def secret(wanted):
    try:
        lines = pathlib.Path(os.environ["DOTENV"]).read_text().splitlines()
    except (KeyError, FileNotFoundError):
        return ""
    return next((value for name, _, value in (line.partition("=") for line in lines) if name == wanted), "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_):
        pass


def serve(handler):
    # Whatever was acknowledged is on the volume, so it may end at any instant.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    place = (os.environ.get("HOST", ""), int(os.environ.get("PORT", "8000")))
    ThreadingHTTPServer(place, handler).serve_forever()
