#!/usr/bin/env python3
"""A webhook receiver that verifies each request as Standard Webhooks says, with that project's library.

Every path is a hook, save these:

  POST   /_script    {"path": "/hook/1" or "*", "secret": "whsec_...", "delay_ms": 0,
                      "answers": [500, {"status": 429, "retry_after": 2}, "disconnect",
                                  {"status": 302, "headers": {"Location": "..."}, "body": "", "delay_ms": 50}, 200]}
  GET    /_requests?path=&webhook_id=&limit=    what came, oldest first; `limit` keeps the newest
  GET    /_stats     counts
  DELETE /_all       forgets requests and scripts
  GET    /healthz

Without a script a verified request is answered with 200 and any other with 401; a scripted answer is
given to both. It is also the receiver of load tests, hence a bare protocol and no framework.
"""

import argparse
import asyncio
import gc
import http
import json
from collections import Counter, deque
from urllib.parse import parse_qs

import httptools
import uvloop
from standardwebhooks import Webhook, WebhookVerificationError

from scripted import BadScript, Script, Scripts, now_ms

FIELDS = {"status", "retry_after", "headers", "body", "delay_ms"}
PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


def check_script(script: Script) -> None:
    try:
        if "secret" in script.wanted:
            Webhook(script.wanted["secret"])
    except Exception as error:  # the library raises Exception's own subclasses, binascii's and TypeError
        raise BadScript(f"secret: {error}") from error
    for answer in script.answers:
        if answer == "disconnect" or isinstance(answer, int) and 100 < answer < 600:
            continue
        if not isinstance(answer, dict) or not isinstance(answer.get("status"), int) or set(answer) - FIELDS:
            raise BadScript(f'an answer is a status, an object with {sorted(FIELDS)}, or "disconnect", not {answer!r}')


def http_response(status: int, headers: dict | None = None, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Scripted')}", f"Content-Length: {len(body)}"]
    # Said for clients of HTTP/1.0; those that asked for a close get one all the same.
    lines.append("Connection: keep-alive")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def json_response(value, status: int = 200) -> bytes:
    return http_response(status, {"Content-Type": "application/json"}, json.dumps(value).encode() + b"\n")


PLAIN = {status: http_response(status) for status in PHRASES if status >= 200}


class Receiver:
    def __init__(self, secret: str, keep: int):
        self.default = Webhook(secret)
        self.scripts = Scripts("path", {"secret"}, check_script)
        self.verifiers: dict[str, Webhook] = {}
        # Tuples of plain values, made readable when asked for: a load test leaves very many.
        self.requests: deque[tuple] = deque(maxlen=keep)
        self.counts: Counter = Counter()
        self.ids: set[str] = set()
        self.control = {
            ("POST", "/_script"): self.script,
            ("GET", "/_requests"): self.list_requests,
            ("GET", "/_stats"): self.stats,
            ("DELETE", "/_all"): self.forget,
            ("GET", "/healthz"): lambda query, body: json_response({"ok": True}),
        }

    def hook(self, path: str, headers: dict[str, str], body: bytes) -> tuple[bytes | None, float]:
        """The response, None where the connection is to be dropped, and after how many milliseconds."""
        received_at = now_ms()
        verified, error = self.verify(path, headers, body)
        script = self.scripts.find(path)
        answer, delay_ms = (script.next(), script.delay_ms) if script else (None, 0)
        if answer is None:
            answer = 200 if verified else 401
        if isinstance(answer, dict):
            delay_ms = answer.get("delay_ms", delay_ms)
        status = 0 if answer == "disconnect" else answer if isinstance(answer, int) else answer["status"]

        identifier = headers.get("webhook-id")
        self.requests.append((received_at, path, identifier, verified, error, status, headers, body))
        self.counts["requests"] += 1
        self.counts["verified"] += verified
        self.counts[f"status {status}"] += 1
        if identifier:
            self.ids.add(identifier)

        if status == 0:
            return None, delay_ms
        if isinstance(answer, dict):
            return scripted_response(answer), delay_ms
        return PLAIN.get(status) or http_response(status), delay_ms

    def verify(self, path: str, headers: dict[str, str], body: bytes) -> tuple[bool, str | None]:
        try:
            self.verifiers.get(path, self.default).verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            return False, str(error) or type(error).__name__
        return True, None

    def script(self, query: dict, body: bytes) -> bytes:
        status, value = self.scripts.read(body)
        self.verifiers = {
            path: Webhook(script.wanted["secret"])
            for path, script in self.scripts.by_key.items()
            if "secret" in script.wanted
        }
        return json_response(value, status)

    def list_requests(self, query: dict, body: bytes) -> bytes:
        path, identifier, limit = query.get("path"), query.get("webhook_id"), query.get("limit")
        found = [one for one in self.requests if path in (None, one[1]) and identifier in (None, one[2])]
        if limit and limit.isdigit():
            found = found[max(0, len(found) - int(limit)) :]
        return json_response([readable(one) for one in found])

    def stats(self, query: dict, body: bytes) -> bytes:
        statuses = {key[7:]: count for key, count in self.counts.items() if key.startswith("status ")}
        return json_response(
            {
                "requests": self.counts["requests"],
                "verified": self.counts["verified"],
                "by_status": statuses,
                "distinct_webhook_ids": len(self.ids),
            }
        )

    def forget(self, query: dict, body: bytes) -> bytes:
        self.requests.clear()
        self.counts.clear()
        self.ids.clear()
        self.scripts.clear()
        self.verifiers.clear()
        return json_response({"ok": True})


def scripted_response(answer: dict) -> bytes:
    headers = dict(answer.get("headers", {}))
    if "retry_after" in answer:
        headers["Retry-After"] = answer["retry_after"]
    return http_response(answer["status"], headers, answer.get("body", "").encode())


def readable(request: tuple) -> dict:
    received_at, path, identifier, verified, error, status, headers, body = request
    return {
        "received_at": received_at,
        "path": path,
        "webhook_id": identifier,
        "verified": verified,
        "error": error,
        "status": status,
        "headers": headers,
        "body": body.decode("utf-8", "replace"),
    }


class Connection(asyncio.Protocol):
    """One client; it may keep the connection but, as HTTP clients do, waits for each answer."""

    def __init__(self, receiver: Receiver):
        self.receiver = receiver
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.transport.write(http_response(400))
            self.transport.close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if "expect" in self.headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        url = httptools.parse_url(self.url)
        path = url.path.decode("latin-1")
        control = self.receiver.control.get((self.parser.get_method().decode(), path))
        if control:
            query = {key: values[-1] for key, values in parse_qs((url.query or b"").decode()).items()}
            response, delay_ms = control(query, self.body), 0
        else:
            response, delay_ms = self.receiver.hook(path, self.headers, self.body)
        keep = self.parser.should_keep_alive()
        if delay_ms:
            asyncio.get_running_loop().call_later(delay_ms / 1000, self.answer, response, keep)
        else:
            self.answer(response, keep)

    def answer(self, response: bytes | None, keep: bool) -> None:
        if self.transport.is_closing():
            return
        if response is None:
            self.transport.abort()
            return
        self.transport.write(response)
        if not keep:
            self.transport.close()


async def serve(options: argparse.Namespace) -> None:
    receiver = Receiver(options.secret, options.keep)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(receiver), options.host, options.port, backlog=4096)
    print(f"webhook receiver on http://{options.host}:{options.port}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8083)
    parser.add_argument("--secret", required=True, help="whsec_...: for paths without a secret of their own")
    parser.add_argument("--keep", type=int, default=200_000, help="how many requests to remember")
    # The kept requests are many and never garbage: full collections over them would cost latency.
    gc.set_threshold(100_000, 50, 1000)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
