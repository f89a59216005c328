"""What the Python stand-ins share: answers that a test lays down in advance, and the control interface.

A script belongs to a key (an address, a path); `*` is the key of all that have none of their own.
"""

import json
import time
from collections import deque


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class BadScript(ValueError):
    """A control request that cannot be obeyed; its text goes back to the caller."""


class Script:
    """Answers given one after another; the last one repeats. Without any, the stand-in's default."""

    def __init__(self, wanted: dict, known: set[str]):
        strange = set(wanted) - known - {"answers", "delay_ms"}
        if strange:
            raise BadScript(f"unknown fields {sorted(strange)}; known are {sorted(known | {'answers', 'delay_ms'})}")
        answers = wanted.get("answers", [])
        if not isinstance(answers, list):
            raise BadScript("answers must be a list")
        self.wanted = wanted
        self.answers = deque(answers)
        self.delay_ms = wanted.get("delay_ms", 0)
        if not isinstance(self.delay_ms, (int, float)) or self.delay_ms < 0:
            raise BadScript("delay_ms must be a number, 0 or more")

    def next(self):
        """The next answer, or None where the script has none."""
        if len(self.answers) > 1:
            return self.answers.popleft()
        return self.answers[0] if self.answers else None


class Scripts:
    """`check` is given each script before it is kept, and raises BadScript for what it cannot be."""

    def __init__(self, key: str, known: set[str], check):
        self.key = key
        self.known = known | {key}
        self.check = check
        self.by_key: dict[str, Script] = {}

    def add(self, wanted) -> None:
        if not isinstance(wanted, dict) or not isinstance(wanted.get(self.key), str):
            raise BadScript(f'expected a JSON object with a text field "{self.key}"')
        script = Script(wanted, self.known)
        self.check(script)
        self.by_key[wanted[self.key]] = script

    def read(self, body: bytes) -> tuple[int, dict]:
        """Takes a script, or a list of them, as JSON; gives the HTTP status and value to answer with."""
        try:
            wanted = json.loads(body)
            for one in wanted if isinstance(wanted, list) else [wanted]:
                self.add(one)
        except ValueError as error:
            return 400, {"error": str(error)}
        return 200, {"ok": True}

    def find(self, key: str) -> Script | None:
        return self.by_key.get(key) or self.by_key.get("*")

    def clear(self) -> None:
        self.by_key.clear()
