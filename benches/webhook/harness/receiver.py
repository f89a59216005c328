#!/usr/bin/env python3
"""The receiver of all senders: a bare protocol that answers 200, and counts which of the expected bodies came.

A body names its number as A-0000000042, however it is wrapped. Two paths are not hooks:

  POST /_begin    {"first": 0, "count": 100, "delay_ms": 0, "secret": "whsec_..." or null}: forgets, and expects these
  GET  /_account  what came since then
"""

import argparse
import asyncio
import gc
import json
import re

import httptools
import uvloop
from standardwebhooks import Webhook, WebhookVerificationError

NUMBER = re.compile(rb"A-(\d{10})")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Account:
    def __init__(self, first=0, count=0, delay_ms=0, secret=None):
        self.first, self.seen = first, bytearray(count)
        self.delay = delay_ms / 1000
        self.webhook = Webhook(secret) if secret else None
        self.requests = self.distinct = self.strangers = self.unverified = self.body_bytes = 0
        # Requests that have come and are not answered yet.
        self.open = self.most_open = 0

    def answer(self, give):
        """Now, or after the delay."""
        if not self.delay:
            give()
            return
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        asyncio.get_running_loop().call_later(self.delay, self.answer_late, give)

    def answer_late(self, give):
        self.open -= 1
        give()

    def note(self, headers, body):
        self.requests += 1
        self.body_bytes += len(body)
        found = NUMBER.search(body)
        place = int(found[1]) - self.first if found else -1
        if not 0 <= place < len(self.seen):
            self.strangers += 1
            return
        self.distinct += not self.seen[place]
        self.seen[place] = 1
        if self.webhook:
            self.verify(headers, body)

    def verify(self, headers, body):
        try:
            text = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
            self.webhook.verify(body, text, json_parse=False)
        except (WebhookVerificationError, ValueError):
            self.unverified += 1

    def as_json(self):
        names = ("requests", "distinct", "strangers", "unverified", "body_bytes", "open", "most_open")
        return {name: getattr(self, name) for name in names}


class Connection(asyncio.Protocol):
    account = Account()

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data):
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self):
        self.url, self.headers, self.body = b"", [], b""

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        self.headers.append((name, value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        keep = self.parser.should_keep_alive()
        if self.url == b"/_begin":
            Connection.account = Account(**json.loads(self.body))
            self.answer(OK, keep)
        elif self.url == b"/_account":
            text = json.dumps(Connection.account.as_json()).encode()
            self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text), keep)
        else:
            self.hook(keep)

    def hook(self, keep):
        account = Connection.account
        account.note(self.headers, self.body)
        account.answer(lambda: self.answer(OK, keep))

    def answer(self, response, keep):
        if self.transport.is_closing():
            return
        self.transport.write(response)
        if not keep:
            self.transport.close()


async def serve(port):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    gc.disable()
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
