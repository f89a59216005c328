#!/usr/bin/env python3
"""The part of dev/demo that runs beside notilog: produces, reads the topics, draws, and gives the account.

Exit code 0 when every event is accounted for, 1 when not, 130 when it was interrupted before it could tell.
"""

import signal

# A Ctrl-C while the rest is imported just ends it.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# ruff: noqa: E402
import argparse
import os
import shlex
import subprocess
import sys
import time

from ledger import Ledger
from picture import Picture
from producing import Company, Producing, now_ms
from providers import Providers
from summary import Summary
from topics import Topics

SETTLE_S = 60.0  # how long the last event may take to come to rest
SETTLE_AFTER_INTERRUPT_S = 20.0


class Interrupted(Exception):
    pass


class Demo:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        port = {name: os.environ[f"NOTILOG_{name}_PORT"] for name in ("KAFKA", "REGISTRY", "SMTP_CONTROL", "TELEGRAM", "WEBHOOK")}
        kafka, registry = f"127.0.0.1:{port['KAFKA']}", f"http://127.0.0.1:{port['REGISTRY']}/apis/ccompat/v7"
        local = "http://127.0.0.1:{}".format
        self.providers = Providers(local(port["SMTP_CONTROL"]), local(port["TELEGRAM"]), local(port["WEBHOOK"]))
        self.topics = Topics(kafka, registry)
        self.run_name = base36(int(time.time()))
        company = Company(options.seed, self.run_name)
        self.producing = Producing(kafka, registry, company, options.events, go_on=not options.once)
        self.ledger = Ledger()
        hint = "Ctrl-C ends it" if options.once else "Ctrl-C ends it, and the account follows"
        self.picture = Picture(self.ledger, options.events, hint)
        self.interrupted = False
        signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, *_):
        if self.interrupted or self.options.once:
            raise Interrupted
        self.interrupted = True

    def run(self) -> int:
        began_ms = now_ms()
        self.providers.misbehave()
        self.producing.start()
        try:
            self._watch()
        finally:
            self.producing.stopping.set()
        self.producing.join(35)
        for record in self.topics.read_to_the_end(patience=10):
            self.ledger.take(record)
        self.picture.show(self.producing.produced, last=True)
        taken = self.providers.taken(began_ms)
        summary = Summary(self.ledger, self.producing.produced, taken, self.run_name, now_ms())
        if self.producing.failure:
            summary.findings.append(f"the producer: {self.producing.failure}")
        print("", *summary.lines(), sep="\n")
        what_next(summary, self.options.services_end)
        return 0 if summary.accounted else 1

    def _watch(self) -> None:
        """Until all has come to rest, or somebody or something says that it will not."""
        give_up = None
        while True:
            for record in self.topics.read(0.1):
                self.ledger.take(record)
            self.picture.show(self.producing.produced)
            if self.interrupted:
                self.producing.stopping.set()
            no_more = not self.producing.is_alive()
            if no_more and give_up is None:
                give_up = time.monotonic() + (SETTLE_AFTER_INTERRUPT_S if self.interrupted else SETTLE_S)
            if no_more and (self._at_rest() or time.monotonic() > give_up):
                return
            if not alive(self.options.pid):
                self.producing.failure = self.producing.failure or "notilog ended: see its log"
                return

    def _at_rest(self) -> bool:
        events = self.ledger.all()
        now = now_ms()
        return len(events) >= self.producing.produced and all(event.rests(now) for event in events)


def alive(pid: int | None) -> bool:
    return pid is None or os.path.exists(f"/proc/{pid}")


def base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text


def what_next(summary: Summary, services_end: bool) -> None:
    """Commands with ids of this run, and what the first of them says."""
    notilog = os.environ.get("NOTILOG_BIN", "notilog")
    found = summary.examples()
    commands = []
    if "suppressed" in found:
        commands.append(["explain", found["suppressed"]])
    if "retried" in found:
        commands.append(["status", found["retried"]])
    if "letters" in found:
        commands.append(["dlq", "ls"])
    if not commands:
        return
    print("\nLook for yourself (the first is shown):")
    start = "dev/services up; " if services_end else ""
    print(f'  {start}eval "$(dev/services env)"; export NOTILOG_CONFIG=examples/company/notilog.toml')
    for command in commands:
        print(f"  {notilog} {shlex.join(command)}")
    print(f"\n$ {notilog} {shlex.join(commands[0])}", flush=True)
    subprocess.run([notilog, *commands[0]], timeout=60, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--once", action="store_true", help="end when all planned events have come to rest")
    parser.add_argument("--services-end", action="store_true", help="the services are stopped afterwards")
    parser.add_argument("--pid", type=int, help="notilog's process: without it there is nothing to wait for")
    try:
        return Demo(parser.parse_args()).run()
    except Interrupted:
        print("\ninterrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
