#!/usr/bin/env python3
"""An SMTP server whose answers can be scripted by recipient, and which keeps what it was given.

Beside SMTP (STARTTLS with a certificate of its own CA; AUTH as user `notilog`, password
`secret-for-tests`) it has an HTTP interface on a port of its own:

  POST   /script    {"address": "a@x" or "*", "answers": [451, "550 5.1.1 no such user", "disconnect", 250],
                     "stage": "data" (default) or "rcpt", "delay_ms": 0}
  GET    /messages?address=    what was accepted, as a list
  GET    /attempts?address=    every answer given to DATA, and refusals of RCPT
  GET    /_stats               counts
  DELETE /messages             forgets messages and attempts;  DELETE /_all  the scripts too
  GET    /healthz

`disconnect` drops the connection after the message was read: the sender cannot know its fate. It is
kept as an attempt with code 0 and not as a message.
"""

import argparse
import asyncio
import email
import email.policy
import logging
import signal
import ssl
from collections import Counter, deque
from pathlib import Path

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

import certificate
from scripted import BadScript, Script, Scripts, now_ms

USER, PASSWORD = b"notilog", b"secret-for-tests"
TEXTS = {
    250: "2.0.0 queued",
    421: "4.3.2 service shutting down",
    450: "4.2.1 mailbox busy",
    451: "4.7.1 try again later",
    452: "4.2.2 mailbox full",
    550: "5.1.1 no such user",
    552: "5.2.2 mailbox full",
    554: "5.7.1 refused",
}


def check_script(script: Script) -> None:
    if script.wanted.get("stage", "data") not in ("data", "rcpt"):
        raise BadScript('stage is "data" or "rcpt"')
    for answer in script.answers:
        known = isinstance(answer, int) and 200 <= answer < 600
        if not known and answer != "disconnect" and not (isinstance(answer, str) and answer[:3].isdigit()):
            raise BadScript(f'an answer is a code, a text that begins with one, or "disconnect", not {answer!r}')


def answer_line(answer) -> str:
    return f"{answer} {TEXTS.get(answer, 'scripted')}" if isinstance(answer, int) else answer


class Mailbox:
    """What was attempted and accepted, and the handler that aiosmtpd calls."""

    def __init__(self, keep: int):
        self.scripts = Scripts("address", {"stage"}, check_script)
        self.messages: deque[dict] = deque(maxlen=keep)
        self.attempts: deque[dict] = deque(maxlen=keep)
        self.counts: Counter = Counter()

    def forget(self) -> None:
        self.messages.clear()
        self.attempts.clear()
        self.counts.clear()

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options) -> str:
        answer = await self._scripted([address], "rcpt")
        if answer is not None and not str(answer).startswith("2"):
            self._attempt("rcpt", [address], answer, None)
            return self._disconnect(server) if answer == "disconnect" else answer_line(answer)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        received_at = now_ms()
        answer = await self._scripted(envelope.rcpt_tos, "data")
        answer = 250 if answer is None else answer
        raw = envelope.content
        headers = email.message_from_bytes(raw[: raw.find(b"\r\n\r\n") + 4], policy=email.policy.compat32)
        message_id = headers["Message-ID"]
        self._attempt("data", envelope.rcpt_tos, answer, message_id)
        if answer == "disconnect":
            return self._disconnect(server)
        line = answer_line(answer)
        if line.startswith("2"):
            number = self.counts["accepted"] = self.counts["accepted"] + 1
            line = f"{line} as {number}" if answer == 250 else line
            self.messages.append(
                {
                    "received_at": received_at,
                    "from": envelope.mail_from,
                    "to": list(envelope.rcpt_tos),
                    "message_id": message_id,
                    "tls": session.ssl is not None,
                    "authenticated": session.authenticated is True,
                    "raw": raw,
                }
            )
        return line

    async def _scripted(self, addresses: list[str], stage: str):
        for address in addresses:
            script = self.scripts.find(address)
            if script is None or script.wanted.get("stage", "data") != stage:
                continue
            answer = script.next()
            if script.delay_ms:
                await asyncio.sleep(script.delay_ms / 1000)
            return answer
        return None

    def _attempt(self, stage: str, to: list[str], answer, message_id: str | None) -> None:
        code = 0 if answer == "disconnect" else int(answer_line(answer)[:3])
        self.attempts.append({"at": now_ms(), "stage": stage, "to": list(to), "code": code, "message_id": message_id})
        self.counts["attempts"] += 1
        self.counts[f"code {code}"] += 1

    @staticmethod
    def _disconnect(server: SMTP) -> str:
        server.transport.abort()
        return "421 4.3.2 gone"


def readable(message: dict) -> dict:
    """A kept message with its headers decoded and its parts apart."""
    raw = message["raw"]
    parsed = email.message_from_bytes(raw, policy=email.policy.default)

    def part(kind: str) -> str | None:
        found = parsed.get_body((kind,))
        return found.get_content() if found else None

    return {
        **message,
        "headers": [[name, str(value)] for name, value in parsed.items()],
        "text": part("plain"),
        "html": part("html"),
        "raw": raw.decode("utf-8", "replace"),
    }


def authenticate(server, session, envelope, mechanism, auth_data) -> AuthResult:
    right = isinstance(auth_data, LoginPassword) and (auth_data.login, auth_data.password) == (USER, PASSWORD)
    # Not handled: aiosmtpd then answers 535 itself.
    return AuthResult(success=right, handled=False)


def control(mailbox: Mailbox) -> web.Application:
    def about(kept, request: web.Request) -> list[dict]:
        address = request.query.get("address")
        return [one for one in kept if address is None or address in one["to"]]

    async def script(request):
        status, value = mailbox.scripts.read(await request.read())
        return web.json_response(value, status=status)

    async def messages(request):
        return web.json_response([readable(one) for one in about(mailbox.messages, request)])

    async def attempts(request):
        return web.json_response(about(mailbox.attempts, request))

    async def stats(_):
        codes = {key[5:]: count for key, count in mailbox.counts.items() if key.startswith("code ")}
        ids = {one["message_id"] for one in mailbox.messages}
        return web.json_response(
            {
                "attempts": mailbox.counts["attempts"],
                "accepted": mailbox.counts["accepted"],
                "by_code": codes,
                "distinct_message_ids": len(ids),
            }
        )

    async def forget(_):
        mailbox.forget()
        return web.json_response({"ok": True})

    async def forget_all(_):
        mailbox.forget()
        mailbox.scripts.clear()
        return web.json_response({"ok": True})

    async def healthz(_):
        return web.json_response({"ok": True})

    app = web.Application()
    app.add_routes(
        [
            web.post("/script", script),
            web.get("/messages", messages),
            web.get("/attempts", attempts),
            web.get("/_stats", stats),
            web.delete("/messages", forget),
            web.delete("/_all", forget_all),
            web.get("/healthz", healthz),
        ]
    )
    return app


async def serve(options: argparse.Namespace) -> None:
    mailbox = Mailbox(options.keep)
    certificate.make_unless_there(options.tls_dir)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(options.tls_dir / "server.pem", options.tls_dir / "server.key")
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        return SMTP(
            mailbox,
            hostname="localhost",
            ident="notilog stand-in",
            enable_SMTPUTF8=True,
            tls_context=tls,
            require_starttls=options.require_tls,
            authenticator=authenticate,
            auth_required=options.require_auth,
            auth_require_tls=options.require_tls,
            loop=loop,
        )

    smtp = await loop.create_server(connection, options.host, options.port, backlog=1024)
    runner = web.AppRunner(control(mailbox), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.control_port).start()
    print(f"SMTP on {options.host}:{options.port}, control on {options.control_port}", flush=True)
    print(f"CA in {options.tls_dir / 'ca.pem'}", flush=True)

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    smtp.close()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2525)
    parser.add_argument("--control-port", type=int, default=2526)
    parser.add_argument("--tls-dir", type=Path, required=True, help="where the CA and the certificate are kept")
    parser.add_argument("--require-tls", action="store_true", help="refuse mail before STARTTLS")
    parser.add_argument("--require-auth", action="store_true", help="refuse mail before AUTH")
    parser.add_argument("--keep", type=int, default=200_000, help="how many messages and attempts to remember")
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
