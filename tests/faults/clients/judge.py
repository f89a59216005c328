"""What a reader was shown, held against what was produced and against what the log itself says. Knows no Kafka client:
`watch.py` feeds it.

Events are `e-<n>`, from 0 on; each (poison)th of them, counting from 1, has an output that its topic refuses.
"""

from collections import Counter, defaultdict

KINDS = [
    "lost",  # an event without a decision
    "double",  # a decision, an outbound record or a dead letter that is there twice
    "aborted_input",  # something follows from an event that was never committed
    "not_routed",  # an event was decided otherwise than what is known of its recipient says
    "disordered",  # outputs of one recipient and topic are not in the input's order
    "decision_without_outbound",
    "outbound_without_decision",
    "rejected_without_letter",
    "letter_without_rejection",
    "vanished",  # shown under read_committed, and not there, or another, when read again
    "appeared",  # there when read again, at an offset that the first reader had passed without being shown it
    "aborted_read",  # shown, and in an aborted or open transaction as the log's batches and markers tell
    "hidden",  # committed as the log tells, and not shown
]


class Judge:
    def __init__(self):
        self.decided = defaultdict(list)  # event id -> [(place, outcomes)]
        self.written = defaultdict(list)  # notification id -> [(place, event id)]
        self.letters = defaultdict(list)  # event id -> [place]
        self.last = {}  # (topic, recipient) -> number
        self.shown = {}  # place -> digest
        self.found = {kind: [] for kind in KINDS}

    def _add(self, kind, what):
        self.found[kind].append(what)

    def _show(self, place, digest):
        if place in self.shown:
            self._add("double", f"{place} was shown twice")
        self.shown[place] = digest

    def decision(self, place, digest, decision):
        self._show(place, digest)
        self.decided[decision["event_id"]].append((place, decision["outcomes"]))

    def outbound(self, place, digest, outbound):
        self._show(place, digest)
        self.written[outbound["notification_id"]].append((place, outbound["event_id"]))
        lane = (place[0], outbound["user_id"])
        number = number_of(outbound["event_id"])
        if number is not None:
            if number < self.last.get(lane, -1):
                self._add("disordered", f"{outbound['event_id']} after e-{self.last[lane]} of {lane[1]} at {place}")
            self.last[lane] = number

    def letter(self, place, digest, event_id):
        self._show(place, digest)
        self.letters[event_id].append(place)

    def decisions(self):
        return len(self.decided)

    def again(self, second):
        """Holds what was shown against a second full read: place -> digest."""
        passed = defaultdict(lambda: -1)
        for topic, partition, offset in self.shown:
            passed[topic, partition] = max(passed[topic, partition], offset)
        for place, digest in self.shown.items():
            if second.get(place) != digest:
                self._add("vanished", f"{place}")
        for place in second:
            if place not in self.shown and place[2] < passed[place[0], place[1]]:
                self._add("appeared", f"{place}")

    def log(self, topic, partition, committed, not_committed):
        """Holds what was shown of a partition against the offsets that its log says are committed, and are not."""
        shown = {offset for at, of, offset in self.shown if (at, of) == (topic, partition)}
        for offset in sorted(shown & not_committed):
            self._add("aborted_read", f"{(topic, partition, offset)}")
        for offset in sorted(committed - shown):
            self._add("hidden", f"{(topic, partition, offset)}")

    def verdict(self, events, poison=0):
        expected = {f"e-{n}" for n in range(events)}
        poisoned = {f"e-{n}" for n in range(events) if poison and n % poison == poison - 1}
        for event in sorted(expected - set(self.decided), key=number_of):
            self._add("lost", event)
        for event in sorted(set(self.decided) - expected):
            self._add("aborted_input", f"{event} was decided")
        for notification, writings in self.written.items():
            if writings[0][1] not in expected:
                self._add("aborted_input", f"{notification} of {writings[0][1]}")
        promised = self._decisions(expected, poisoned)
        self._repeats()
        for notification in promised - set(self.written):
            self._add("decision_without_outbound", notification)
        for notification in set(self.written) - promised:
            self._add("outbound_without_decision", f"{notification} of {self.written[notification][0][1]}")
        rejected = poisoned & set(self.decided)
        for event in rejected - set(self.letters):
            self._add("rejected_without_letter", event)
        for event in set(self.letters) - rejected:
            self._add("letter_without_rejection", event)
        return self.report(events)

    def _decisions(self, expected, poisoned):
        """Each decision is what is expected of its event; gives the notifications that were promised."""
        promised = set()
        for event in expected & set(self.decided):
            for place, outcomes in self.decided[event]:
                verdicts = {outcome["verdict"] for outcome in outcomes}
                if verdicts != ({"REJECTED"} if event in poisoned else {"ROUTED"}):
                    reasons = {outcome["reason"] for outcome in outcomes}
                    self._add("not_routed", f"{event} at {place}: {sorted(verdicts)} {sorted(reasons)}")
                promised |= {o["notification_id"] for o in outcomes if o["verdict"] == "ROUTED"}
        return promised

    def _repeats(self):
        for kind, all_of_it in (("decided", self.decided), ("written", self.written), ("buried", self.letters)):
            for what, places in all_of_it.items():
                if len(places) > 1:
                    where = [place if kind == "buried" else place[0] for place in places]
                    self._add("double", f"{what} {kind} at {where}")

    def report(self, events):
        counts = Counter({kind: len(cases) for kind, cases in self.found.items()})
        return {
            **{kind: counts[kind] for kind in KINDS},
            "events": events,
            "decisions": sum(len(places) for places in self.decided.values()),
            "outbound": sum(len(places) for places in self.written.values()),
            "letters": sum(len(places) for places in self.letters.values()),
            "examples": {kind: cases[:5] for kind, cases in self.found.items() if cases},
        }


def number_of(event_id):
    return int(event_id[2:]) if event_id.startswith("e-") else None
