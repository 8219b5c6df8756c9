"""A small service of the arXiv system: takes papers, keeps them, has them found again through ChromaDB. State is an SQLite database in
WAL mode and one file a paper, below $STATE; service.py says where settings come from.

POST /papers {"id": 1, "title": "...", "abstract": "..."}   201 once the paper is stored for good
GET  /papers          every id, with the digest of its file
GET  /query?text=...  the nearest papers, n=5 of them, told by ChromaDB
GET  /status          how many papers lie here and in the collection, how many wait, and what hinders
GET  /config          what it was configured with; of the token only the digest
GET  /healthz         200: its own health, not that of ChromaDB

A paper is stored first and ingested later, in the order of arrival, by one thread. That one also compares what lies here with what is in
the COLLECTION of the ChromaDB at CHROMA_URL, so either may be away and come back older than the other: what the collection lacks is
ingested again, what only the collection has is taken back from there. Without a CHROMA_URL nothing is ingested.

With OFFLINE_MODE true no paper is taken from outside: 503. Those that lie here and are not ingested yet are, and queries are answered.
With ASK_TOKEN true whoever brings papers has to show the token.
"""

import hashlib
import hmac
import json
import os
import pathlib
import sqlite3
import threading
from urllib.parse import parse_qs

from collection import Collection
from service import Handler, secret, serve, setting

STATE = pathlib.Path(os.environ["STATE"])
PAPERS = STATE / "papers"
AT_ONCE = 50
LOCK = threading.Lock()
ARRIVED = threading.Event()
HINDERED = ["nothing was compared yet"]


def database():
    connection = sqlite3.connect(STATE / "scholar.db", timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS papers (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
    connection.execute("CREATE TABLE IF NOT EXISTS waiting (turn INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL)")
    return connection


PAPERS.mkdir(parents=True, exist_ok=True)
DATABASE = database()


def select(statement):
    with LOCK:
        return DATABASE.execute(statement).fetchall()


def ids():
    return [row[0] for row in select("SELECT id FROM papers ORDER BY id")]


def file_of(number):
    return PAPERS / f"{number}.json"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def store(number, title, text, arrived=True):
    """The file first: whoever is in the database has one. Renamed into place, so that it is never half of it."""
    unfinished = PAPERS / f".{number}"
    with LOCK:
        if not arrived and DATABASE.execute("SELECT 1 FROM papers WHERE id = ?", (number,)).fetchone():
            return
        with open(unfinished, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(file_of(number))
        directory = os.open(PAPERS, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        DATABASE.execute("BEGIN IMMEDIATE")
        # Commits, or takes back what could not be written.
        with DATABASE:
            DATABASE.execute("INSERT OR REPLACE INTO papers VALUES (?, ?)", (number, title))
            if arrived:
                DATABASE.execute("INSERT INTO waiting (id) VALUES (?)", (number,))


def in_parts(numbers):
    return [numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE)]


def ours():
    return Collection(setting("CHROMA_URL"), setting("COLLECTION", "papers"))


def agree(known):
    """Ingests what waits, and all that the collection lacks. What is in it is asked anew when it isn't the one, or as large, as it was left;
    returned is what it holds then."""
    if not setting("CHROMA_URL"):
        return None
    collection = ours()
    place = (collection.url, collection.id)
    if known is None or known[0] != place or collection.count() != len(known[1]):
        known = (place, collection.ids())
    waiting = select("SELECT id, turn FROM waiting ORDER BY turn")
    here = ids()
    for lost in in_parts(sorted(known[1].difference(here))):
        for number, text in collection.files(lost).items():
            store(number, json.loads(text)["title"], text, arrived=False)
    missing = [number for number in here if number not in known[1]]
    for new in in_parts(list(dict.fromkeys([number for number, _ in waiting] + missing))):
        collection.upsert({number: file_of(number).read_text() for number in new})
        known[1].update(new)
    if waiting:
        # One that has arrived once more meanwhile has a later turn, and waits on.
        with LOCK:
            DATABASE.execute("DELETE FROM waiting WHERE turn <= ?", (waiting[-1][1],))
    return known


def go_on_agreeing():
    known, pause = None, 5.0
    while True:
        ARRIVED.clear()
        try:
            pause = float(setting("CHECK_SECONDS", "5"))
            known = agree(known)
            HINDERED[0] = "" if known else "no CHROMA_URL is configured"
        except Exception as error:  # Whatever it is, it may be over the next time, and what is in the collection is asked anew then.
            known, HINDERED[0] = None, f"ChromaDB can't be brought up to date: {error}"
        ARRIVED.wait(pause)


def status():
    counts = {"papers": len(ids()), "ingested": None, "hindered": HINDERED[0]}
    counts["waiting"] = len(set(select("SELECT id FROM waiting")))
    if setting("CHROMA_URL"):
        try:
            counts["ingested"] = ours().count()
        except Exception as error:
            counts["hindered"] = f"ChromaDB can't be asked: {error}"
    return counts


class Scholar(Handler):
    def do_GET(self):
        path, _, asked = self.path.partition("?")
        if path == "/healthz":
            select("SELECT 1 FROM papers LIMIT 1")
            self.answer(200, "ok")
        elif path == "/config":
            mode = {"offlineMode": setting("OFFLINE_MODE"), "token": digest(secret("TOKEN").encode())}
            self.answer(200, mode | {"chromaUrl": setting("CHROMA_URL"), "collection": setting("COLLECTION")})
        elif path == "/papers":
            self.answer(200, {str(number): digest(file_of(number).read_bytes()) for number in ids()})
        elif path == "/status":
            self.answer(200, status())
        elif path == "/query":
            asked = parse_qs(asked)
            try:
                self.answer(200, ours().nearest(asked.get("text", [""])[0], int(asked.get("n", ["5"])[0])))
            except Exception as error:
                self.answer(503, f"ChromaDB at CHROMA_URL={setting('CHROMA_URL')} can't be asked: {error}")
        else:
            self.answer(404, f"no such path: {path}")

    def do_POST(self):
        body = self.body()
        shown = self.headers.get("Authorization", "")
        if setting("ASK_TOKEN") == "true" and not hmac.compare_digest(shown.encode(), f"Bearer {secret('TOKEN')}".encode()):
            return self.answer(401, "show the token of the .env file: Authorization: Bearer ...")
        if setting("OFFLINE_MODE") == "true":
            return self.answer(503, "offline: no paper is taken from outside until OFFLINE_MODE is false again")
        try:
            paper = json.loads(body)
            number, title = paper["id"], paper["title"]
            if type(number) is not int or not isinstance(title, str):
                raise ValueError("its id has to be a number, its title a text")
        except (ValueError, KeyError, TypeError) as error:
            return self.answer(400, f"this is no paper: {error!r}")
        store(number, title, json.dumps(paper))
        ARRIVED.set()
        self.answer(201, number)


threading.Thread(target=go_on_agreeing, daemon=True).start()
serve(Scholar)
