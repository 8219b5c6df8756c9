"""A small service of the arXiv system: takes papers, keeps them, gives them back. State is an SQLite database in WAL mode and one file a
paper, below $STATE; configuration comes from the environment, a token from a .env file.

POST /papers {"id": 1, "title": "..."}   201 once the paper is stored for good
GET  /papers                             every id, with the digest of its file
GET  /config                             what it was configured with; of the token only the digest
GET  /healthz                            200
"""

import hashlib
import json
import os
import pathlib
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATE = pathlib.Path(os.environ["STATE"])
PAPERS = STATE / "papers"
LOCK = threading.Lock()


def database():
    connection = sqlite3.connect(STATE / "scholar.db", timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS papers (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
    return connection


PAPERS.mkdir(parents=True, exist_ok=True)
DATABASE = database()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def token():
    for line in pathlib.Path(os.environ["DOTENV"]).read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "TOKEN":
            return value
    return ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, "ok")
        elif self.path == "/config":
            mode = os.environ.get("OFFLINE_MODE", "")
            self.answer(200, {"offlineMode": mode, "token": digest(token().encode())})
        elif self.path == "/papers":
            with LOCK:
                ids = [row[0] for row in DATABASE.execute("SELECT id FROM papers ORDER BY id")]
            self.answer(200, {str(paper): digest((PAPERS / f"{paper}.json").read_bytes()) for paper in ids})
        else:
            self.answer(404, f"no such path: {self.path}")

    def do_POST(self):
        paper = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # The file first: whoever is in the database has one. Renamed into place, so that it is never half of it.
        unfinished = PAPERS / f".{paper['id']}"
        with open(unfinished, "w") as file:
            json.dump(paper, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(PAPERS / f"{paper['id']}.json")
        with LOCK:
            DATABASE.execute("INSERT OR REPLACE INTO papers VALUES (?, ?)", (paper["id"], paper["title"]))
        self.answer(201, paper["id"])

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
