"""A small SMTP server that keeps what it is sent in memory, and says over HTTP what that is: somebody's mail server, for tests.

SMTP on port 2525 ($SMTP_PORT); on 8000 ($PORT) GET /mails and /healthz, and POST /refusing with true or false: whether it puts every sender off.
"""

import asyncio
import email
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = os.environ.get("HOST", "")
MAILS = []
REFUSING = [False]


async def converse(reader, writer):
    async def say(line):
        writer.write(f"{line}\r\n".encode())
        await writer.drain()

    await say("220 sink ESMTP")
    while line := await reader.readline():
        words = line.decode().split()
        verb = words[0].upper() if words else ""
        if verb == "MAIL" and REFUSING[0]:
            await say("451 not now")
        elif verb == "DATA":
            await say("354 go on")
            text = b""
            while (line := await reader.readline()) not in (b".\r\n", b""):
                text += line[1:] if line.startswith(b"..") else line
            MAILS.append(email.message_from_bytes(text))
            await say("250 kept")
        elif verb == "QUIT":
            await say("221 good bye")
            break
        else:
            await say("250 fine" if verb in ("HELO", "EHLO", "MAIL", "RCPT", "RSET", "NOOP") else "500 what?")
    writer.close()


async def receive():
    server = await asyncio.start_server(converse, HOST, int(os.environ.get("SMTP_PORT", "2525")))
    await server.serve_forever()


class Handler(BaseHTTPRequestHandler):
    def answer(self, value):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def do_GET(self):
        told = [{"id": mail["Message-ID"], "to": mail["To"], "subject": mail["Subject"]} for mail in list(MAILS)]
        self.answer("ok" if self.path == "/healthz" else told)

    def do_POST(self):
        REFUSING[0] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer("ok")

    def log_message(self, *_):
        pass


threading.Thread(target=lambda: asyncio.run(receive()), daemon=True).start()
ThreadingHTTPServer((HOST, int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
