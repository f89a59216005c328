"""The live picture: drawn in place on a terminal, now and then a plain line elsewhere. Shows no address."""

import os
import sys
import time
from collections import Counter

from ledger import CHANNELS, Ledger

BOLD, DIM, RED, GREEN, YELLOW, CYAN, OFF = (f"\x1b[{code}m" for code in (1, 2, 31, 32, 33, 36, 0))
COLOURS = {"SENT": GREEN, "RETRYING": YELLOW, "WAITING": CYAN, "FAILED": RED, "DEAD": RED, "EXPIRED": RED, "CANCELLED": DIM}
DRAW_EVERY, SAY_EVERY = 0.25, 2.0
LATEST = 8


def percentile(values: list[int], share: float) -> int | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def duration(ms: int | None) -> str:
    if ms is None:
        return "–"
    return f"{ms} ms" if ms < 10_000 else f"{ms / 1000:.1f} s"


def counted(counts: Counter, most: int = 99) -> str:
    return "  ".join(f"{name} {count:,}" for name, count in counts.most_common(most))


class Picture:
    def __init__(self, ledger: Ledger, wanted: int, hint: str):
        self.ledger = ledger
        self.wanted = wanted
        self.hint = hint
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = self.terminal and "NO_COLOR" not in os.environ
        self.began = time.monotonic()
        self.due = 0.0
        self.height = 0

    def show(self, produced: int, last: bool = False) -> None:
        now = time.monotonic()
        if now < self.due and not last:
            return
        self.due = now + (DRAW_EVERY if self.terminal else SAY_EVERY)
        if self.terminal:
            self._draw(self._lines(produced))
        else:
            print(self._line(produced), flush=True)

    def _draw(self, lines: list[str]) -> None:
        try:
            size = os.get_terminal_size()
            columns, rows = size.columns, size.lines
        except OSError:
            columns, rows = 100, 40
        lines = [cut(line, columns - 1) for line in lines[: max(1, rows - 1)]]
        up = f"\x1b[{self.height}A" if self.height else ""
        sys.stdout.write(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
        self.height = len(lines)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{OFF}" if self.colours else text

    def _facts(self):
        ledger = self.ledger
        verdicts, reasons = Counter(), Counter()
        for event in ledger.all():
            for outcome in event.all_outcomes():
                verdicts[outcome["verdict"].lower()] += 1
                if outcome["verdict"] != "ROUTED":
                    reasons[outcome["reason"]] += 1
        states = {channel: Counter() for channel in CHANNELS}
        for one in ledger.notifications.values():
            states.setdefault(one.channel, Counter())[one.state] += 1
        return verdicts, reasons, states

    def _line(self, produced: int) -> str:
        verdicts, _, states = self._facts()
        total = sum(states.values(), Counter())
        seconds = time.monotonic() - self.began
        shown = {"queued": "QUEUED", "sent": "SENT", "retrying": "RETRYING", "waiting": "WAITING", "failed": "FAILED", "dead": "DEAD"}
        ended = "  ".join(f"{name} {total[state]:,}" for name, state in shown.items() if total[state])
        decided = sum(bool(event.outcomes) for event in self.ledger.events.values())
        return (
            f"{seconds:5.1f} s  events {produced:,}  decided {decided:,} ({counted(verdicts)})  "
            f"notifications: {ended or 'none yet'}  p50 {duration(percentile(self.ledger.latencies, 0.5))}"
        )

    def _lines(self, produced: int) -> list[str]:
        ledger = self.ledger
        verdicts, reasons, states = self._facts()
        events = ledger.all()
        decided = sum(bool(event.outcomes) for event in events)
        wait = sum(event.waits_for_sign_up() for event in events)
        letters = Counter({topic.removeprefix("dlq.notify."): count for topic, count in ledger.letters.items()})
        done = min(1.0, produced / self.wanted) if self.wanted else 1.0
        bar = "█" * int(20 * done) + "░" * (20 - int(20 * done))
        seconds = int(time.monotonic() - self.began)
        title = self._paint(BOLD, "notilog demo: a shop, a monitoring system and a bank")
        lines = [
            f"{title}   {seconds // 60:02}:{seconds % 60:02}   {self._paint(DIM, self.hint)}",
            "",
            f" events      {bar} produced {produced:,}   {counted(ledger.domains)}",
            f" decided     {decided:,} of {len(events):,} read   {counted(verdicts)}   waiting for a sign-up {wait}",
            f" why not     {self._paint(DIM, counted(reasons))}",
            f" dead        {counted(letters) or 'none'}",
            "",
            self._paint(DIM, f" {'channel':<10}{'outbound':>9}{'queued':>8}{'sent':>8}{'retrying':>10}{'waiting':>9}{'failed':>8}{'dead':>6}"),
        ]
        for channel, counts in states.items():
            numbers = "".join(
                self._paint(COLOURS.get(state, ""), f"{counts[state]:>{width},}") if counts[state] else f"{'·':>{width}}"
                for state, width in (("QUEUED", 8), ("SENT", 8), ("RETRYING", 10), ("WAITING", 9), ("FAILED", 8), ("DEAD", 6))
            )
            lines.append(f" {channel:<10}{sum(counts.values()):>9,}{numbers}")
        first, later = ledger.latencies, ledger.retried_latencies
        lines += [
            "",
            f" produced → SENT   at the first attempt p50 {duration(percentile(first, 0.5))}, p99 {duration(percentile(first, 0.99))}"
            f"   after waits and retries p50 {duration(percentile(later, 0.5))}",
            "",
            self._paint(DIM, " last deliveries"),
        ]
        for seen in list(ledger.latest)[-LATEST:]:
            status = seen.status
            state = self._paint(COLOURS.get(status["state"], ""), f"{status['state']:<10}")
            code = f" {status['code']}" if status.get("code") else ""
            clock = time.strftime("%H:%M:%S", time.localtime(seen.at / 1000))
            lines.append(
                f" {clock} {seen.notification.id[:8]}  {seen.kind:<17} {seen.notification.channel:<9} {state}"
                f" {status['reason']}{code}  attempt {status['attempt']}  {duration(seen.took)}"
            )
        return lines


def cut(line: str, columns: int) -> str:
    """At most so many columns; escapes take none. Every character here is one column wide."""
    out, width, index = [], 0, 0
    while index < len(line):
        if line[index] == "\x1b":
            end = line.index("m", index) + 1
            out.append(line[index:end])
            index = end
            continue
        if width == columns:
            return "".join(out) + (OFF if "\x1b" in line else "")
        out.append(line[index])
        width += 1
        index += 1
    return "".join(out)
