#!/usr/bin/env python3
"""Two SMS providers' HTTP APIs, shaped as Twilio's and Vonage's documents say, with answers that a test scripts by
number. tests/it/sms.rs lets both vendors' own SDKs judge it.

  POST   /2010-04-01/Accounts/{sid}/Messages.json    Twilio's Messages resource
  GET    /2010-04-01/Accounts/{sid}.json             Twilio's account
  POST   /sms/json                                   Vonage's SMS API
  GET    /account/get-balance                        Vonage's balance

  POST   /_script    {"to": "491701234567" (digits alone) or "*", "delay_ms": 0, "answers": [
                       {"status": 400, "code": 21610}          Twilio: an error
                       {"codes": ["0", "1"]}                   Vonage: a part for each, within HTTP 200
                       {"status": 503, "retry_after": 7, "body": "<html>"}     either
                       "disconnect", "ok"]}                    the last answer repeats
  GET    /_messages?to=    every request with a number and the answer it got
  DELETE /_all       forgets messages and scripts
  GET    /healthz

The account is AC1 with the secret secret-for-tests. With --until-stdin-closes it ends with its parent; the first line
it prints is its port.
"""

import argparse
import asyncio
import base64
import sys
import uuid
from collections import deque
from email.utils import formatdate

from aiohttp import web

from scripted import BadScript, Script, Scripts, now_ms

ACCOUNT, SECRET = "AC1", "secret-for-tests"
TWILIO_TEXTS = {20003: "Authenticate", 20404: "The requested resource was not found", 20429: "Too Many Requests"}
VONAGE_TEXTS = {"1": "Throttled", "4": "Bad Credentials", "9": "Partner quota violation"}
FIELDS = {"status", "code", "codes", "retry_after", "body"}


def check_script(script: Script) -> None:
    for answer in script.answers:
        if answer in ("disconnect", "ok"):
            continue
        if not isinstance(answer, dict) or set(answer) - FIELDS:
            raise BadScript(f'an answer is an object with some of {sorted(FIELDS)}, "disconnect" or "ok", not {answer!r}')


def credentials(request: web.Request, form) -> tuple[str | None, str | None]:
    """Basic authentication, or Vonage's fields."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        user, _, password = base64.b64decode(rest).decode().partition(":")
        return user, password
    return form.get("api_key"), form.get("api_secret")


def twilio_error(status: int, code: int) -> web.Response:
    body = {
        "code": code,
        "message": TWILIO_TEXTS.get(code, f"Scripted error {code}"),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.json_response(body, status=status)


def twilio_message(sid: str, form) -> web.Response:
    now = formatdate(usegmt=False)
    message = f"SM{uuid.uuid4().hex}"
    body = {
        "account_sid": sid,
        "api_version": "2010-04-01",
        "body": form["Body"],
        "date_created": now,
        "date_sent": None,
        "date_updated": now,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": form.get("From"),
        "messaging_service_sid": form.get("MessagingServiceSid"),
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": None,
        "sid": message,
        "status": "accepted" if form.get("MessagingServiceSid") else "queued",
        "subresource_uris": {"media": f"/2010-04-01/Accounts/{sid}/Messages/{message}/Media.json"},
        "to": form["To"],
        "uri": f"/2010-04-01/Accounts/{sid}/Messages/{message}.json",
    }
    return web.json_response(body, status=201)


def twilio_refusal(form) -> web.Response | None:
    to = form.get("To", "")
    if not to:
        return twilio_error(400, 21604)
    if not (to.startswith("+") and to[1:].isdigit()):
        return twilio_error(400, 21211)
    if not form.get("From") and not form.get("MessagingServiceSid"):
        return twilio_error(400, 21603)
    if not form.get("Body"):
        return twilio_error(400, 21602)
    if len(form["Body"]) > 1600:
        return twilio_error(400, 21617)
    return None


def vonage_answer(to: str, codes: list[str], form) -> web.Response:
    messages = []
    for code in codes:
        if code == "0":
            part = {
                "to": to,
                "message-id": uuid.uuid4().hex[:16].upper(),
                "status": "0",
                "remaining-balance": "3.14159265",
                "message-price": "0.03330000",
                "network": "12345",
            }
        else:
            part = {"to": to, "status": code, "error-text": VONAGE_TEXTS.get(code, f"Scripted error {code}")}
        if form.get("client-ref"):
            part["client-ref"] = form["client-ref"]
        messages.append(part)
    return web.json_response({"message-count": str(len(messages)), "messages": messages})


def vonage_refusal(form) -> str | None:
    if any(not form.get(name) for name in ("from", "to", "text")):
        return "2"
    if not form["to"].isdigit():
        return "3"
    if form.get("type", "text") not in ("text", "unicode", "binary"):
        return "3"
    return None


class Providers:
    def __init__(self, keep: int):
        self.scripts = Scripts("to", set(), check_script)
        self.messages: deque[dict] = deque(maxlen=keep)

    async def twilio(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if credentials(request, {}) != (ACCOUNT, SECRET):
            return twilio_error(401, 20003)
        sid = request.match_info["sid"]
        if sid != ACCOUNT:
            return twilio_error(404, 20404)
        answer = await self.scripted(request, form, form.get("To", "").lstrip("+"))
        if isinstance(answer, dict):
            return twilio_error(answer["status"], answer["code"])
        return answer or twilio_refusal(form) or twilio_message(sid, form)

    async def vonage(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        to = form.get("to", "")
        if credentials(request, form) != (ACCOUNT, SECRET):
            return vonage_answer(to, ["4"], form)
        answer = await self.scripted(request, form, to)
        if isinstance(answer, dict):
            return vonage_answer(to, answer["codes"], form)
        return answer or vonage_answer(to, [vonage_refusal(form) or "0"], form)

    async def scripted(self, request: web.Request, form, to: str) -> web.Response | dict | None:
        """The scripted answer, if there is one: whole, or what the vendor's own shape is to be filled with."""
        script = self.scripts.find(to)
        answer = script.next() if script else None
        kept = {"to": to, "at": now_ms(), "path": request.path, "form": dict(form), "answer": answer}
        kept["traceparent"] = request.headers.get("traceparent")
        self.messages.append(kept)
        if script and script.delay_ms:
            await asyncio.sleep(script.delay_ms / 1000)
        if answer == "disconnect":
            request.transport.close()
            return web.Response(status=500)
        if not isinstance(answer, dict):
            return None
        if "code" in answer or "codes" in answer:
            return answer
        headers = {"Retry-After": str(answer["retry_after"])} if "retry_after" in answer else {}
        return web.Response(status=answer["status"], headers=headers, text=answer.get("body", ""))

    async def twilio_account(self, request: web.Request) -> web.Response:
        if credentials(request, {}) != (ACCOUNT, SECRET):
            return twilio_error(401, 20003)
        sid = request.match_info["sid"]
        return web.json_response({"sid": sid, "status": "active", "type": "Full", "friendly_name": "stand-in"})

    async def vonage_balance(self, request: web.Request) -> web.Response:
        if credentials(request, request.query) != (ACCOUNT, SECRET):
            return web.json_response({"error-code": "401", "error-code-label": "authentication failed"}, status=401)
        return web.json_response({"value": 10.28, "autoReload": False})

    async def script(self, request: web.Request) -> web.Response:
        status, value = self.scripts.read(await request.read())
        return web.json_response(value, status=status)

    async def list_messages(self, request: web.Request) -> web.Response:
        to = request.query.get("to")
        return web.json_response([message for message in self.messages if to in (None, message["to"])])

    async def forget(self, request: web.Request) -> web.Response:
        self.messages.clear()
        self.scripts.clear()
        return web.json_response({"ok": True})


def application(providers: Providers) -> web.Application:
    app = web.Application()
    app.add_routes(
        [
            web.post("/2010-04-01/Accounts/{sid}/Messages.json", providers.twilio),
            web.get("/2010-04-01/Accounts/{sid}.json", providers.twilio_account),
            web.post("/sms/json", providers.vonage),
            web.get("/account/get-balance", providers.vonage_balance),
            web.post("/_script", providers.script),
            web.get("/_messages", providers.list_messages),
            web.delete("/_all", providers.forget),
            web.get("/healthz", lambda request: asyncio.sleep(0, web.json_response({"ok": True}))),
        ]
    )
    return app


async def serve(options: argparse.Namespace) -> None:
    runner = web.AppRunner(application(Providers(options.keep)))
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    if options.until_stdin_closes:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    else:
        await asyncio.Event().wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8084, help="0 takes a free one")
    parser.add_argument("--keep", type=int, default=100_000, help="how many requests to remember")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
