#!/usr/bin/env python3
"""Firebase Cloud Messaging's HTTP v1 API and Google's token service, shaped as Google's documents say.

Others judge both sides: google-auth verifies the assertion, Google's own description of the API (fcm.v1.json of
google-api-python-client) each request, and tests/it/push.rs lets firebase-admin read the answers.

  POST   /token                                 the token service (RFC 7523)
  POST   /v1/projects/{project}/messages:send   FCM
  GET    /_account   a service account's key file for this stand-in
  POST   /_script    {"token": "..." or "*", "answers": [
                       {"status": 404, "code": "UNREGISTERED"}, {"status": 503, "code": "UNAVAILABLE", "retry_after": 7},
                       {"status": 400, "code": "INVALID_ARGUMENT", "field": "message.token"},
                       {"status": 401}, "disconnect", "ok"]}         the last answer repeats
  POST   /_tokens    {"expires_in": 3600, "answers": [{"status": 400}, "ok"], "delay_ms": 0}
  GET    /_messages?token=    what came, with what is wrong with it
  GET    /_stats     tokens granted, refused and withdrawn
  POST   /_withdraw  makes every token invalid
  GET    /healthz

With --until-stdin-closes it ends with its parent; the first line it prints is its port.
"""

import argparse
import asyncio
import datetime
import json
import sys
import uuid
from collections import Counter
from importlib.resources import files

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import jwt

from scripted import BadScript, Script, Scripts, now_ms

PROJECT, EMAIL, KEY_ID = "notilog-test", "notilog@notilog-test.iam.gserviceaccount.com", "key-1"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
VIOLATION = "type.googleapis.com/google.rpc.BadRequest"
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
FIELDS = {"status", "code", "retry_after", "field"}


def check_script(script: Script) -> None:
    for answer in script.answers:
        if answer not in ("disconnect", "ok") and (not isinstance(answer, dict) or set(answer) - FIELDS):
            raise BadScript(f'an answer is an object with some of {sorted(FIELDS)}, "disconnect" or "ok", not {answer!r}')


class Key:
    """An RSA key, and a certificate of it, which is what google-auth verifies with."""

    def __init__(self):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, EMAIL)])
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .sign(key, hashes.SHA256())
        )
        encodings = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.private = key.private_bytes(*encodings).decode()
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()


class Description:
    """Google's own description of the API."""

    def __init__(self):
        path = files("googleapiclient") / "discovery_cache" / "documents" / "fcm.v1.json"
        self.schemas = json.loads(path.read_text())["schemas"]

    def problems(self, value, schema: dict, path: str = "") -> list[str]:
        if "$ref" in schema:
            return self.problems(value, self.schemas[schema["$ref"]], path)
        kind = schema.get("type", "any")
        types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
        if kind in types and not isinstance(value, types[kind]):
            return [f"{path} is no {kind}"]
        found = []
        if kind == "object":
            known, others = schema.get("properties", {}), schema.get("additionalProperties")
            for name, part in value.items():
                if name in known:
                    found += self.problems(part, known[name], f"{path}.{name}")
                elif others is not None:
                    found += self.problems(part, others, f"{path}.{name}")
                else:
                    found.append(f"{path}.{name} is unknown")
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{path} is none of {schema['enum']}")
        return found


class Google:
    def __init__(self):
        self.key = Key()
        self.description = Description()
        self.scripts = Scripts("token", set(), check_script)
        self.granting = Script({"answers": []}, {"expires_in"})
        self.messages: list[dict] = []
        self.tokens: set[str] = set()
        self.counts: Counter = Counter()
        self.base = ""

    def account(self) -> dict:
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": KEY_ID,
            "private_key": self.key.private,
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": f"{self.base}/token",
        }

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        await asyncio.sleep(self.granting.delay_ms / 1000)
        answer = self.granting.next()
        if isinstance(answer, dict):
            self.counts["refused"] += 1
            return web.json_response({"error": "invalid_grant", "error_description": "x"}, status=answer["status"])
        try:
            assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer", "grant_type"
            claims = jwt.decode(form["assertion"], certs={KEY_ID: self.key.certificate}, audience=f"{self.base}/token")
            assert claims["iss"] == EMAIL and claims["scope"] == SCOPE, f"claims {claims}"
            assert claims["exp"] - claims["iat"] <= 3600, "holds for more than an hour"
        except Exception as error:  # google-auth's own kinds, KeyError, AssertionError: all are an invalid grant
            self.counts["refused"] += 1
            return web.json_response({"error": "invalid_grant", "error_description": str(error)}, status=400)
        token = f"ya29.{uuid.uuid4().hex}"
        self.tokens.add(token)
        self.counts["granted"] += 1
        expires_in = self.granting.wanted.get("expires_in", 3599)
        return web.json_response({"access_token": token, "expires_in": expires_in, "token_type": "Bearer"})

    async def send(self, request: web.Request) -> web.StreamResponse:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        # firebase-admin, which judges, comes with a token of its own.
        if bearer not in self.tokens and bearer != "judge":
            self.counts["unauthenticated"] += 1
            return refusal({"status": 401})
        if request.match_info["project"] != PROJECT:
            return refusal({"status": 403})
        body = await request.json()
        problems = self.description.problems(body, {"$ref": "SendMessageRequest"})
        message = body.get("message", {})
        token = message.get("token", "")
        script = self.scripts.find(token)
        answer = script.next() if script else "ok"
        self.messages.append({"token": token, "at": now_ms(), "message": message, "problems": problems, "answer": answer})
        if answer == "disconnect":
            request.transport.close()
            return web.Response(status=500)
        if isinstance(answer, dict):
            return refusal(answer)
        if problems:
            return refusal({"status": 400, "code": "INVALID_ARGUMENT", "field": problems[0].split()[0].lstrip(".")})
        return web.json_response({"name": f"projects/{PROJECT}/messages/{uuid.uuid4().hex}"})

    async def script(self, request: web.Request) -> web.Response:
        status, value = self.scripts.read(await request.read())
        return web.json_response(value, status=status)

    async def script_tokens(self, request: web.Request) -> web.Response:
        self.granting = Script(await request.json(), {"expires_in"})
        return web.json_response({"ok": True})

    async def list_messages(self, request: web.Request) -> web.Response:
        token = request.query.get("token")
        return web.json_response([message for message in self.messages if token in (None, message["token"])])

    async def withdraw(self, request: web.Request) -> web.Response:
        self.tokens.clear()
        return web.json_response({"ok": True})


def refusal(answer: dict) -> web.Response:
    status = answer["status"]
    details = [{"@type": ERROR, "errorCode": answer["code"]}] if "code" in answer else []
    if "field" in answer:
        details.append({"@type": VIOLATION, "fieldViolations": [{"field": answer["field"], "description": "x"}]})
    error = {"code": status, "message": "scripted", "status": STATUS.get(status, "UNKNOWN"), "details": details}
    headers = {"Retry-After": str(answer["retry_after"])} if "retry_after" in answer else {}
    return web.json_response({"error": error}, status=status, headers=headers)


async def serve(options: argparse.Namespace) -> None:
    google = Google()
    app = web.Application()
    app.add_routes(
        [
            web.post("/token", google.token),
            web.post("/v1/projects/{project}/messages:send", google.send),
            web.get("/_account", lambda request: asyncio.sleep(0, web.json_response(google.account()))),
            web.post("/_script", google.script),
            web.post("/_tokens", google.script_tokens),
            web.get("/_messages", google.list_messages),
            web.get("/_stats", lambda request: asyncio.sleep(0, web.json_response(dict(google.counts)))),
            web.post("/_withdraw", google.withdraw),
            web.get("/healthz", lambda request: asyncio.sleep(0, web.json_response({"ok": True}))),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port).start()
    port = runner.addresses[0][1]
    google.base = f"http://{options.host}:{port}"
    print(port, flush=True)
    if options.until_stdin_closes:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    else:
        await asyncio.Event().wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8086, help="0 takes a free one")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
