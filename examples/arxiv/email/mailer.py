"""The e-mail notifier: takes messages over HTTP, queues them in an SQLite database below $STATE, sends them by SMTP. What can't be sent is
kept and tried again, after RETRY_SECONDS at first and each time twice as long, up to RETRY_SECONDS_MOST; what the server refuses for good
is kept as refused. A message may be sent twice, never lost: both times it has the same Message-ID. service.py says where settings come from:
SMTP_HOST, SMTP_PORT, STARTTLS, MAIL_FROM; SMTP_USER and SMTP_PASSWORD in the .env file, where the server wants them.

POST /messages {"to": "...", "subject": "...", "text": "..."}   202 with its id once it is queued for good
GET  /status    how many are queued, sent in the last KEEP_DAYS, refused; what hinders
GET  /queue     id, recipient and subject of what is queued
GET  /healthz   200: its own health, not that of the mail server
"""

import json
import os
import pathlib
import smtplib
import sqlite3
import ssl
import threading
import time
import uuid
from email.message import EmailMessage
from email.utils import formatdate

from service import Handler, secret, serve, setting

STATE = pathlib.Path(os.environ["STATE"])
LOCK = threading.Lock()
QUEUED = threading.Event()
HINDERED = [""]


def database():
    connection = sqlite3.connect(STATE / "mail.db", timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    # Synced before a message is acknowledged.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS messages (turn INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,"
        " queued REAL NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,"
        " state TEXT NOT NULL, ended REAL)"
    )
    return connection


DATABASE = database()


def run(statement, *values):
    with LOCK:
        return DATABASE.execute(statement, values).fetchall()


def composed(number, queued, recipient, subject, text):
    message = EmailMessage()
    message["From"] = setting("MAIL_FROM")
    message["To"], message["Subject"] = recipient, subject
    message["Date"] = formatdate(queued)
    message["Message-ID"] = f"<{number}@{setting('MAIL_FROM').rpartition('@')[2]}>"
    message.set_content(text)
    return message


def connected():
    server = smtplib.SMTP(setting("SMTP_HOST"), int(setting("SMTP_PORT", "587")), timeout=20)
    try:
        if setting("STARTTLS") == "true":
            server.starttls(context=ssl.create_default_context())
        if secret("SMTP_USER"):
            server.login(secret("SMTP_USER"), secret("SMTP_PASSWORD"))
    except BaseException:
        server.close()
        raise
    return server


def for_good(error):
    """Whether the server has refused this message, and would each time."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, (smtplib.SMTPDataError, smtplib.SMTPSenderRefused)) and error.smtp_code >= 500


def send_queued():
    """Sends what is queued, in its order. Returns what hindered; one message that is put off holds back no other."""
    queued = run("SELECT id, queued, recipient, subject, text FROM messages WHERE state = 'queued' ORDER BY turn")
    hindered = ""
    if queued:
        with connected() as server:
            for number, *content in queued:
                state = "sent"
                try:
                    server.send_message(composed(number, *content))
                except smtplib.SMTPServerDisconnected:
                    raise
                except smtplib.SMTPException as error:
                    hindered = f"message {number}: {error}"
                    state = "refused" if for_good(error) else "queued"
                run("UPDATE messages SET state = ?, ended = ? WHERE id = ?", state, time.time(), number)
    return hindered


def go_on_sending():
    tries, first, most = 0, 5.0, 300.0
    while True:
        QUEUED.clear()
        try:
            first, most = float(setting("RETRY_SECONDS", "5")), float(setting("RETRY_SECONDS_MOST", "300"))
            HINDERED[0] = send_queued()
            oldest = time.time() - 86400 * float(setting("KEEP_DAYS", "30"))
            run("DELETE FROM messages WHERE state != 'queued' AND ended < ?", oldest)
        except Exception as error:  # Whatever it is, what is queued stays queued.
            HINDERED[0] = f"the mail server {setting('SMTP_HOST')} can't be used: {error}"
        if HINDERED[0]:
            time.sleep(min(first * 2 ** min(tries, 20), most))
            tries += 1
        else:
            tries = 0
            QUEUED.wait(60)


class Mailer(Handler):
    def do_GET(self):
        if self.path == "/healthz":
            run("SELECT 1 FROM messages LIMIT 1")
            self.answer(200, "ok")
        elif self.path == "/status":
            counts = dict(run("SELECT state, count(*) FROM messages GROUP BY state"))
            counts = {state: counts.get(state, 0) for state in ("queued", "sent", "refused")}
            self.answer(200, counts | {"hindered": HINDERED[0]})
        elif self.path == "/queue":
            waiting = run("SELECT id, recipient, subject FROM messages WHERE state = 'queued' ORDER BY turn")
            self.answer(200, [dict(zip(("id", "to", "subject"), message)) for message in waiting])
        else:
            self.answer(404, f"no such path: {self.path}")

    def do_POST(self):
        number, now = uuid.uuid4().hex, time.time()
        try:
            asked = json.loads(self.body())
            content = [asked["to"], asked["subject"], asked["text"]]
            if not all(isinstance(part, str) for part in content):
                raise ValueError("to, subject and text have to be texts")
            # What can't be sent is refused now, and queued never.
            composed(number, now, *content).as_bytes()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return self.answer(400, f"this is no message: {error!r}")
        run(
            "INSERT INTO messages (id, queued, recipient, subject, text, state) VALUES (?, ?, ?, ?, ?, 'queued')",
            number, now, *content,
        )
        QUEUED.set()
        self.answer(202, {"id": number})


threading.Thread(target=go_on_sending, daemon=True).start()
serve(Mailer)
