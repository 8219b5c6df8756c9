"""arxiv-system-monitor: asks every service of the system how it is, each POLL_SECONDS, and keeps the answers in an SQLite database below
$STATE. What it asks stands in TARGETS, a line each: NAME=URL. service.py says where settings come from.

GET /status           each target: whether it is up, since when, what it said last; and how many rows the history has
GET /history?after=0  rows of the history in their order, a thousand at most: number, time, target, up, what it said
GET /healthz          200 while polls are written, else 500
"""

import os
import pathlib
import sqlite3
import threading
import time
import urllib.request
from urllib.parse import parse_qs

from service import Handler, serve, setting

STATE = pathlib.Path(os.environ["STATE"])
LOCK = threading.Lock()
LAST = [time.monotonic()]
PATIENCE = 2.0
# The targets are neighbours: no proxy is asked.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def database():
    connection = sqlite3.connect(STATE / "history.db", timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    # A number is never used twice, not even when the newest rows were removed.
    connection.execute(
        "CREATE TABLE IF NOT EXISTS history (number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL,"
        " target TEXT NOT NULL, up INTEGER NOT NULL, said TEXT NOT NULL)"
    )
    return connection


DATABASE = database()


def run(statement, *values):
    with LOCK:
        return DATABASE.execute(statement, values).fetchall()


def targets():
    lines = (line.partition("=") for line in setting("TARGETS").splitlines())
    return {name.strip(): url.strip() for name, _, url in lines if url}


def ask(url):
    try:
        with HTTP.open(url, timeout=PATIENCE) as answer:
            return True, f"{answer.status}"
    except Exception as error:  # Whatever it is: that is what it is asked for.
        return False, f"{error}"[:200]


def interval():
    return float(setting("POLL_SECONDS", "15"))


def poll():
    found = [(time.time(), name, *ask(url)) for name, url in targets().items()]
    with LOCK:
        DATABASE.execute("BEGIN IMMEDIATE")
        # Commits, or takes back what could not be written.
        with DATABASE:
            DATABASE.executemany("INSERT INTO history (time, target, up, said) VALUES (?, ?, ?, ?)", found)
            oldest = time.time() - 86400 * float(setting("KEEP_DAYS", "30"))
            DATABASE.execute("DELETE FROM history WHERE time < ?", (oldest,))
    LAST[0] = time.monotonic()


def go_on_polling():
    while True:
        try:
            poll()
        except Exception as error:  # The next one may be; who asks for its health is told when none is for long.
            print(f"this poll is not written: {error}", flush=True)
        time.sleep(interval())


def status():
    found = {}
    for name in targets():
        last = run("SELECT up, said, time FROM history WHERE target = ? ORDER BY number DESC LIMIT 1", name)
        for up, said, when in last:
            before = "SELECT max(number) FROM history WHERE target = ? AND up != ?"
            first = f"SELECT min(time) FROM history WHERE target = ? AND number > coalesce(({before}), 0)"
            since = run(first, name, name, up)[0][0]
            found[name] = {"up": bool(up), "said": said, "asked": when, "since": since}
    rows, newest = run("SELECT count(*), coalesce(max(number), 0) FROM history")[0]
    return {"targets": found, "rows": rows, "newest": newest}


class Monitor(Handler):
    def do_GET(self):
        path, _, asked = self.path.partition("?")
        if path == "/healthz":
            silent = time.monotonic() - LAST[0]
            late = silent > 3 * interval() + PATIENCE * (1 + len(targets()))
            self.answer(500 if late else 200, f"no poll was written for {silent:.0f} s" if late else "ok")
        elif path == "/status":
            self.answer(200, status())
        elif path == "/history":
            after = int(parse_qs(asked).get("after", ["0"])[0])
            self.answer(200, run("SELECT * FROM history WHERE number > ? ORDER BY number LIMIT 1000", after))
        else:
            self.answer(404, f"no such path: {path}")


threading.Thread(target=go_on_polling, daemon=True).start()
serve(Monitor)
