#!/usr/bin/env python3
"""The receiver of mails: a bare SMTP server that takes each at once, and counts which of the expected ones came.

No TLS and no accounts. A mail names its number as A-0000000042. Prints its control port (see receiver.py of
benches/webhook) and its SMTP port. A delay holds the answer to a mail's text.
"""

import asyncio
import gc
import sys
from pathlib import Path

import uvloop

sys.path.append(str(Path(__file__).resolve().parents[2] / "webhook/harness"))

import receiver  # noqa: E402

END = b"\r\n.\r\n"
ANSWERS = {
    b"EHLO": b"250-mailbox\r\n250 SMTPUTF8\r\n",
    b"HELO": b"250 mailbox\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"DATA": b"354 go on\r\n",
}
ACCEPTED = b"250 2.0.0 queued\r\n"


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received, self.in_text = transport, b"", False
        transport.write(b"220 mailbox ESMTP\r\n")

    def data_received(self, data):
        self.received += data
        while self.in_text and self.text() or not self.in_text and self.command():
            pass

    def text(self):
        """One mail's text, if it is there whole."""
        text, end, rest = self.received.partition(END)
        if end:
            self.received, self.in_text = rest, False
            account = receiver.Connection.account
            account.note([], text)
            account.answer(lambda: self.write(ACCEPTED))
        return end

    def command(self):
        line, end, rest = self.received.partition(b"\r\n")
        if end:
            self.received, word = rest, line[:4].upper()
            self.in_text = word == b"DATA"
            if word == b"QUIT":
                self.write(b"221 2.0.0 bye\r\n")
                self.transport.close()
                return b""
            self.write(ANSWERS.get(word, b"500 5.5.1 what?\r\n"))
        return end

    def write(self, answer):
        if not self.transport.is_closing():
            self.transport.write(answer)


async def serve():
    loop = asyncio.get_running_loop()
    control = await loop.create_server(receiver.Connection, "127.0.0.1", 0)
    mails = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    for server in (control, mails):
        print(server.sockets[0].getsockname()[1], flush=True)
    await mails.serve_forever()


if __name__ == "__main__":
    gc.disable()
    uvloop.run(serve())
