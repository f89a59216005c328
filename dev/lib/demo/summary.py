"""The account at the end: where each event ended, what the providers say of it, and what does not add up."""

from collections import Counter
from datetime import UTC, datetime

from ledger import CHANNELS, ENDS, Ledger, Notification
from picture import duration, percentile
from providers import Taken

PROVIDERS = {"email": "the SMTP server", "telegram": "the Bot API", "webhook": "the receivers"}
MEANING = {
    "delivered": "every notification SENT",
    "delivered in part": "some SENT, others ended otherwise",
    "not delivered": "none SENT",
    "waiting": "for their time, in the tiers",
    "suppressed": "the recipients, or time, say no",
    "rejected": "the contract says no",
    "unreadable": "in dlq.notify.events",
    "unaccounted": "",
}
SHOW_FINDINGS = 20


class Summary:
    def __init__(self, ledger: Ledger, produced: int, taken: dict[str, Taken], run: str, now_ms: int):
        self.ledger = ledger
        self.produced = produced
        self.taken = taken
        self.run = run
        self.now_ms = now_ms
        self.findings: list[str] = []
        self.ends: dict[str, list] = {end: [] for end in ENDS}
        self.reasons: dict[str, Counter] = {end: Counter() for end in ENDS}
        for event in ledger.all():
            end, reasons = event.end(now_ms)
            self.ends[end].append(event)
            self.reasons[end][reasons[0] if len(reasons) == 1 else "several reasons"] += 1
        self._find()

    @property
    def accounted(self) -> bool:
        return not self.findings

    # What does not add up.

    def _find(self) -> None:
        ledger = self.ledger
        for event in self.ends["unaccounted"]:
            self.findings.append(f"event {event.name}: {event.end(self.now_ms)[1][0]}")
        read = len(ledger.all()) + len(ledger.repeated)
        if read != self.produced and not ledger.repeated:
            self.findings.append(f"{self.produced:,} events were produced and {read:,} are on the topics")
        for one in ledger.notifications.values():
            self.findings += [f"notification {one.id} ({one.channel}): {problem}" for problem in self._problems(one)]
        strays = [key for key in ledger.early if self.run in str(key)]
        self.findings += [f"records about {key}, which is not among the events" for key in strays]
        for channel in CHANNELS:
            self._hold_against_provider(channel)

    @staticmethod
    def _problems(one: Notification):
        if one.written + one.parked == 0:
            yield "decided, but no outbound record"
        if one.written > 1:
            yield f"written {one.written} times under read_committed"
        if one.sent > 1:
            yield f"SENT {one.sent} times"
        if one.state == "WAITING" and one.parked == 0:
            yield "WAITING, but in no tier"
        if (one.state == "DEAD") != (one.letters > 0):
            yield f"{one.state} with {one.letters} dead letters"

    def _sent(self, channel: str) -> list[Notification]:
        return [one for one in self.ledger.notifications.values() if one.channel == channel and one.sent]

    def _at_provider(self, one: Notification) -> str:
        """What identifies it there: Telegram gives its own ids, the others keep ours."""
        if one.channel != "telegram":
            return one.id
        return next((state["provider_message_id"] or "" for state in one.states if state["state"] == "SENT"), "")

    def _hold_against_provider(self, channel: str) -> None:
        taken = self.taken[channel]
        sent = {self._at_provider(one): one for one in self._sent(channel)}
        for identifier, one in sent.items():
            times = taken.ids[identifier]
            if times != 1:
                self.findings.append(f"notification {one.id} ({channel}): SENT, and its provider took it {times} times")
        # What an earlier run left behind is sent in this one; Telegram's ids do not tell whose a message is.
        ours = {one.id for one in self.ledger.notifications.values() if one.channel == channel}
        for identifier in taken.ids:
            mine = identifier not in self.ledger.sent_for_others if channel == "telegram" else identifier in ours
            if identifier not in sent and mine:
                self.findings.append(f"{channel}: the provider took {identifier}, of which no status says SENT")
        if taken.unverified:
            self.findings.append(f"webhook: {taken.unverified} requests with a wrong signature")

    # What is printed.

    def lines(self) -> list[str]:
        return [
            f"What became of {len(self.ledger.all()):,} events, read from the topics under read_committed",
            *self._events(),
            "",
            "Every no, by recipient and endpoint",
            *self._noes(),
            "",
            *self._notifications(),
            "",
            *self._checks(),
            "",
            *self._verdict(),
        ]

    def _events(self):
        for end in ENDS:
            count = len(self.ends[end])
            reasons = "" if end == "delivered" else ", ".join(
                f"{reason} {number:,}" for reason, number in self.reasons[end].most_common()
            )  # fmt: skip
            meaning = MEANING[end] if not reasons else f"{MEANING[end]}: {reasons}" if MEANING[end] else reasons
            yield from wrapped(f"  {end:<19}{count:>7,}   ", meaning if count or end == "unaccounted" else "")
        yield f"  {'':<19}{'-' * 7:>7}"
        yield f"  {'':<19}{sum(map(len, self.ends.values())):>7,}"

    def _noes(self):
        by_verdict: dict[str, Counter] = {"SUPPRESSED": Counter(), "REJECTED": Counter(), "DEFERRED": Counter()}
        for event in self.ledger.all():
            for outcome in event.all_outcomes():
                by_verdict.setdefault(outcome["verdict"], Counter())[outcome["reason"]] += 1
        by_verdict.pop("ROUTED", None)
        for verdict, reasons in by_verdict.items():
            text = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
            yield from wrapped(f"  {verdict:<19}{reasons.total():>7,}   ", text)

    def _notifications(self):
        columns = [[one for one in self.ledger.notifications.values() if one.channel == channel] for channel in CHANNELS]
        yield f"Notifications{'':<16}" + "".join(f"{channel:>10}" for channel in CHANNELS) + f"{'all':>10}"

        def row(name: str, which, always: bool = True):
            counts = [sum(map(which, column)) for column in columns]
            if always or any(counts):
                yield f"  {name:<27}" + "".join(f"{count:>10,}" for count in [*counts, sum(counts)])

        yield from row("SENT", lambda one: one.state == "SENT")
        yield from row("  after a retry", lambda one: one.state == "SENT" and one.attempts > 1)
        yield from row("  after a wait", lambda one: one.state == "SENT" and one.attempts == 1 and one.parked > 0)
        for state in ("FAILED", "DEAD", "EXPIRED", "CANCELLED"):
            reasons = sorted({one.reason for one in self.ledger.notifications.values() if one.state == state})
            for reason in reasons:
                name = f"{state} {reason}"
                yield from row(name, lambda one, state=state, reason=reason: (one.state, one.reason) == (state, reason))
        yield from row("WAITING", lambda one: one.state == "WAITING")
        yield from row("RETRYING", lambda one: one.state == "RETRYING", always=False)
        yield from row("QUEUED", lambda one: one.state == "QUEUED", always=False)
        yield from row("all", lambda one: True)
        waiting = [one.until for one in self.ledger.notifications.values() if one.state == "WAITING" and one.until]
        if waiting:
            yield f"  The next that waits is due {moment(min(waiting))}, the last {moment(max(waiting))}."
        first, later = self.ledger.latencies, self.ledger.retried_latencies
        yield (
            f"  Produced → SENT at the first attempt: p50 {duration(percentile(first, 0.5))}, p99"
            f" {duration(percentile(first, 0.99))} ({len(first):,}); after waits and retries: p50"
            f" {duration(percentile(later, 0.5))} ({len(later):,})"
        )

    def _checks(self):
        yield "Held against what the providers themselves say"
        for channel in CHANNELS:
            taken, sent = self.taken[channel], self._sent(channel)
            known = {self._at_provider(one) for one in sent}
            took = sum(count for identifier, count in taken.ids.items() if identifier in known)
            refused = ", ".join(f"{count:,} × {code}" for code, count in sorted(taken.refused.items()))
            good = "=" if took == len(sent) else "≠"
            signatures = "; every signature verified" if channel == "webhook" and not taken.unverified else ""
            said_no = f"; said no {refused}" if refused else ""
            yield f"  {channel:<10}{PROVIDERS[channel]} took {took:,} {good} {len(sent):,} SENT{said_no}{signatures}"
        letters = ", ".join(f"{topic} {count:,}" for topic, count in sorted(self.ledger.letters.items()))
        preferences = f", dlq.notify.preferences {self.ledger.preferences_letters}" if self.ledger.preferences_letters else ""
        yield f"  dead letters: {letters or 'none'}{preferences}"

    def _verdict(self):
        if self.accounted:
            yield f"OK: each of the {len(self.ledger.all()):,} events is accounted for."
            return
        yield f"NOT OK: {len(self.findings):,} findings"
        yield from (f"  {finding}" for finding in self.findings[:SHOW_FINDINGS])
        if len(self.findings) > SHOW_FINDINGS:
            yield f"  … and {len(self.findings) - SHOW_FINDINGS:,} more"

    # What the user can look at next.

    def examples(self) -> dict[str, str]:
        """Ids that are worth a look."""
        found = {}
        wanted = ("opted_out_category", "endpoint_unverified", "no_endpoint", "unknown_recipient")
        for reason in wanted:
            for event in self.ends["suppressed"]:
                if event.key and any(outcome["reason"] == reason for outcome in event.all_outcomes()):
                    found.setdefault("suppressed", event.key[2])
        retried = [one for one in self.ledger.notifications.values() if one.state == "SENT" and one.attempts > 1]
        if retried:
            found["retried"] = max(retried, key=lambda one: one.attempts).id
        if self.ledger.letters:
            found["letters"] = "yes"
        return found


def moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def wrapped(head: str, text: str, width: int = 118):
    """The text after the head, folded at its commas."""
    lines, line = [], head
    for part in text.split(", ") if text else [""]:
        piece = part if line == head or line.isspace() else f", {part}"
        if len(line) + len(piece) > width and not line.isspace() and line != head:
            lines.append(f"{line},")
            line, piece = " " * len(head), part
        line += piece
    return [*lines, line.rstrip()]
