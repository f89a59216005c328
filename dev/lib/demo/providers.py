"""The stand-ins for the providers: how they are told to misbehave, and what they say that they took."""

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass, field

MAIL_SCRIPTS = [
    {"address": "ada.lindqvist@example.org", "answers": [451, 451] + [250] * 9 + [451, 250]},
    {"address": "noah.fischer@example.org", "answers": [250, "450 4.2.1 mailbox busy", 250]},
    {"address": "dario.fontaine@example.org", "answers": ["550 5.1.1 no such user"], "stage": "rcpt"},
]
CHAT_SCRIPTS = [
    {"chat_id": "700100005", "answers": [{"status": 403, "description": "Forbidden: bot was blocked by the user"}]},
    {"chat_id": "700100015", "answers": [{"status": 200}, {"status": 429, "retry_after": 2}, {"status": 200}]},
    {"chat_id": "700200001", "answers": [{"status": 429, "retry_after": 2}] + [{"status": 200}] * 40 + [{"status": 502}, {"status": 200}]},
]  # fmt: skip
HOOK_SCRIPTS = [
    {"path": "/hooks/oncall-rosa", "answers": [500, 200]},
    {"path": "/hooks/oncall-samir-old-laptop", "answers": [410]},
    {"path": "/hooks/status-page", "answers": [503]},
    {"path": "/hooks/parcels-partner", "answers": [200, "disconnect", 200]},
]


@dataclass
class Taken:
    """What a provider accepted, by what identifies it there, and how often."""

    ids: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)  # answers that were no, by code
    unverified: int = 0  # webhooks whose signature was wrong


class Providers:
    def __init__(self, mail: str, telegram: str, webhook: str):
        self.mail, self.telegram, self.webhook = mail, telegram, webhook

    def misbehave(self) -> None:
        self._call(f"{self.mail}/script", MAIL_SCRIPTS)
        self._call(f"{self.telegram}/_script", CHAT_SCRIPTS)
        self._call(f"{self.webhook}/_script", HOOK_SCRIPTS)

    def taken(self, since_ms: int) -> dict[str, Taken]:
        """By channel: mails by notification id (in Message-ID), Telegram's by its message id, webhooks by webhook-id."""
        return {
            "email": self._mails(since_ms),
            "telegram": self._messages(since_ms),
            "webhook": self._requests(since_ms),
        }

    def _mails(self, since_ms: int) -> Taken:
        taken = Taken()
        for attempt in self._call(f"{self.mail}/attempts"):
            if attempt["at"] < since_ms:
                continue
            if attempt["stage"] == "data" and 200 <= attempt["code"] < 300:
                taken.ids[(attempt["message_id"] or "").strip("<>").split("@")[0]] += 1
            else:
                taken.refused[str(attempt["code"])] += 1
        return taken

    def _messages(self, since_ms: int) -> Taken:
        taken = Taken()
        for message in self._call(f"{self.telegram}/_messages"):
            if message["received_at"] < since_ms:
                continue
            if message["answer"] == 200:
                taken.ids[str(message["message_id"])] += 1
            else:
                taken.refused[str(message["answer"])] += 1
        return taken

    def _requests(self, since_ms: int) -> Taken:
        taken = Taken()
        for request in self._call(f"{self.webhook}/_requests"):
            if request["received_at"] < since_ms:
                continue
            if not request["verified"]:
                taken.unverified += 1
            if 200 <= request["status"] < 300:
                taken.ids[request["webhook_id"] or ""] += 1
            else:
                taken.refused[str(request["status"] or "dropped")] += 1
        return taken

    @staticmethod
    def _call(url: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        # No proxy: these are on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, data=data), timeout=20) as answer:
            return json.load(answer)
