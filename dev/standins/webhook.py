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
given to both.
"""

import argparse
import asyncio
import gc
import re
from collections import Counter, deque

import uvloop
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from scripted import BadScript, Script, Scripts, as_json, now_ms, read_script

FIELDS = {"status", "retry_after", "headers", "body", "delay_ms"}


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
            ("GET", "/healthz"): self.healthz,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        control = self.control.get((request.method, request.path))
        return await control(request) if control else await self.hook(request)

    async def hook(self, request: web.BaseRequest) -> web.StreamResponse:
        received_at = now_ms()
        path, headers, body = request.path, request.headers, await request.read()
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

        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        if answer == "disconnect":
            if request.transport:
                request.transport.abort()
            return web.Response(status=500)
        return web.Response(status=status) if isinstance(answer, int) else response(answer)

    def verify(self, path: str, headers, body: bytes) -> tuple[bool, str | None]:
        webhook = self.verifiers.get(path, self.default)
        try:
            webhook.verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            return False, str(error) or type(error).__name__
        return True, None

    async def script(self, request: web.BaseRequest) -> web.Response:
        answer = await read_script(request, self.scripts)
        self.verifiers = {
            path: Webhook(script.wanted["secret"])
            for path, script in self.scripts.by_key.items()
            if "secret" in script.wanted
        }
        return answer

    async def list_requests(self, request: web.BaseRequest) -> web.Response:
        path, identifier = request.query.get("path"), request.query.get("webhook_id")
        found = [one for one in self.requests if path in (None, one[1]) and identifier in (None, one[2])]
        if re.fullmatch(r"\d+", limit := request.query.get("limit", "")):
            found = found[len(found) - min(int(limit), len(found)) :]
        return as_json([readable(one) for one in found])

    async def stats(self, _) -> web.Response:
        statuses = {key[7:]: count for key, count in self.counts.items() if key.startswith("status ")}
        return as_json(
            {
                "requests": self.counts["requests"],
                "verified": self.counts["verified"],
                "by_status": statuses,
                "distinct_webhook_ids": len(self.ids),
            }
        )

    async def forget(self, _) -> web.Response:
        self.requests.clear()
        self.counts.clear()
        self.ids.clear()
        self.scripts.clear()
        self.verifiers.clear()
        return as_json({"ok": True})

    async def healthz(self, _) -> web.Response:
        return as_json({"ok": True})


def response(answer: dict) -> web.Response:
    headers = dict(answer.get("headers", {}))
    if "retry_after" in answer:
        headers["Retry-After"] = str(answer["retry_after"])
    return web.Response(status=answer["status"], headers=headers, text=answer.get("body", ""))


def readable(request: tuple) -> dict:
    received_at, path, identifier, verified, error, status, headers, body = request
    return {
        "received_at": received_at,
        "path": path,
        "webhook_id": identifier,
        "verified": verified,
        "error": error,
        "status": status,
        "headers": {name.lower(): value for name, value in headers.items()},
        "body": body.decode("utf-8", "replace"),
    }


async def serve(options: argparse.Namespace) -> None:
    receiver = Receiver(options.secret, options.keep)
    runner = web.ServerRunner(web.Server(receiver.handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port, backlog=4096).start()
    print(f"webhook receiver on http://{options.host}:{options.port}", flush=True)
    await asyncio.Event().wait()


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
