"""What became of each event, from nothing but the records on the topics.

Pure: records go in, counts and findings come out. What the producer meant does not count here.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from topics import Record

CHANNELS = ("email", "telegram", "webhook")
ENDED = ("SENT", "FAILED", "EXPIRED", "DEAD", "CANCELLED")
# A waiting notification that is due sooner than this is waited for.
SOON_MS = 30_000

# Where an event can end; each ends in exactly one.
ENDS = (
    "delivered", "delivered in part", "not delivered", "waiting", "suppressed", "rejected", "unreadable", "unaccounted"
)  # fmt: skip

EventKey = tuple[str, str, str]  # tenant, source, id


@dataclass
class Notification:
    id: str
    channel: str
    event: EventKey
    until: int | None = None  # when it is due, where it waits
    why_waiting: str = ""
    written: int = 0  # records on notify.outbound.<channel>[.urgent]
    parked: int = 0  # records on tiers
    letters: int = 0  # dead letters
    states: list[dict] = field(default_factory=list)

    @property
    def state(self) -> str:
        if self.states:
            return self.states[-1]["state"]
        return "WAITING" if self.until is not None else "QUEUED"

    @property
    def reason(self) -> str:
        return self.states[-1]["reason"] if self.states else self.why_waiting

    @property
    def attempts(self) -> int:
        return max((status["attempt"] for status in self.states), default=0)

    @property
    def sent(self) -> int:
        return sum(status["state"] == "SENT" for status in self.states)

    def rests(self, now_ms: int) -> bool:
        """Nothing more is to come, or not soon."""
        waits = self.state == "WAITING" and self.until is not None and self.until > now_ms + SOON_MS
        return self.state in ENDED or waits


@dataclass
class Event:
    key: EventKey | None  # None where the record cannot be read
    place: tuple[str, int, int]  # topic, partition, offset
    at: int  # when it was produced, milliseconds
    kind: str = ""
    category: str = ""
    outcomes: dict[str, list[dict]] = field(default_factory=dict)  # by user id; "" for the event as a whole
    notifications: dict[str, Notification] = field(default_factory=dict)
    letter: str | None = None  # the reason of its dead letter

    @property
    def name(self) -> str:
        return self.key[2] if self.key else "{}/{}@{}".format(*self.place)

    def all_outcomes(self) -> list[dict]:
        return [outcome for outcomes in self.outcomes.values() for outcome in outcomes]

    def waits_for_sign_up(self) -> bool:
        return any(one["verdict"] == "DEFERRED" and not one["notification_id"] for one in self.all_outcomes())

    def rests(self, now_ms: int) -> bool:
        """Nothing more is to come, or not soon."""
        decided = bool(self.outcomes) and not self.waits_for_sign_up()
        return (decided or self.letter is not None) and all(one.rests(now_ms) for one in self.notifications.values())

    def end(self, now_ms: int) -> tuple[str, list[str]]:
        """One of ENDS, and the reasons where it is not the best one."""
        if not self.rests(now_ms):
            return "unaccounted", [self.unrest()]
        if self.key is None:
            return "unreadable", [self.letter or "?"]
        whole = self.outcomes.get("", [])
        if whole:
            return whole[0]["verdict"].lower(), [whole[0]["reason"]]
        if not self.notifications:
            return "suppressed", sorted({outcome["reason"] for outcome in self.all_outcomes()})
        # What was superseded has a successor among them.
        counted = [one for one in self.notifications.values() if one.reason != "superseded"] or [*self.notifications.values()]
        missed = [one for one in counted if one.state != "SENT"]
        reasons = sorted({one.reason for one in missed})
        if not missed:
            return "delivered", []
        if any(one.state == "WAITING" for one in missed):
            return "waiting", sorted({one.reason for one in missed if one.state == "WAITING"})
        return ("delivered in part" if len(missed) < len(counted) else "not delivered"), reasons

    def unrest(self) -> str:
        if not self.outcomes:
            return "no decision"
        if self.waits_for_sign_up():
            return "waits for its recipient's preferences"
        return ", ".join(f"{one.channel} {one.state}" for one in self.notifications.values() if one.state not in ENDED)


@dataclass
class Seen:
    """A delivery status, for the picture."""

    at: int
    kind: str
    notification: Notification
    status: dict
    took: int  # milliseconds since the event was produced


class Ledger:
    """Takes every record once, in the order of each partition, from any mix of topics."""

    def __init__(self):
        self.events: dict[EventKey, Event] = {}
        self.unreadable: dict[tuple[str, int, int], Event] = {}
        self.notifications: dict[str, Notification] = {}
        self.domains: Counter = Counter()
        self.letters: Counter = Counter()  # dead letters, by topic
        self.preferences_letters = 0
        self.repeated: list[str] = []  # event ids that were produced more than once
        self.latest: deque[Seen] = deque(maxlen=12)
        self.latencies: list[int] = []  # milliseconds from produced to SENT, of first attempts that never waited
        self.retried_latencies: list[int] = []
        # Records that speak of an event which was not read yet: topics are read side by side.
        self.early: dict[object, list[tuple]] = {}

    @property
    def sent_for_others(self) -> set[str]:
        """The providers' ids of what was SENT for events that are not among these."""
        waiting = (record.value for parts in self.early.values() for _, record in parts if record.value)
        return {value["provider_message_id"] for value in waiting if value.get("state") == "SENT"}

    def take(self, record: Record) -> None:
        topic = record.topic
        if topic.startswith("notify.events."):
            self._event(record)
        elif topic == "notify.decisions" and record.value:
            key = (record.value["tenant"], record.value["source"], record.value["event_id"])
            self._of_event(key, self._decision, record)
        elif topic.startswith("notify.outbound.") and record.value:
            value = record.value
            self._of_event((value["tenant"], value["source"], value["event_id"]), self._outbound, record)
        elif topic == "notify.delivery-status" and record.value:
            self._of_notification(record.value["notification_id"], self._status, record)
        elif topic.startswith("dlq.notify."):
            self._letter(record)

    def all(self) -> list[Event]:
        return [*self.events.values(), *self.unreadable.values()]

    # Each kind of record.

    def _event(self, record: Record) -> None:
        place = (record.topic, record.partition, record.offset)
        self.domains[record.topic.removeprefix("notify.events.")] += 1
        value = record.value
        if value is None:
            event = self.unreadable[place] = Event(None, place, record.timestamp)
        else:
            key = (value["tenant"], value["source"], value["id"])
            if key in self.events:
                self.repeated.append(value["id"])
                return
            event = self.events[key] = Event(key, place, record.timestamp, value["type"], value["category"])
            self._catch_up(key, event)
        self._catch_up(place, event)

    def _of_event(self, key: EventKey, handle, record: Record) -> None:
        event = self.events.get(key)
        if event is None:
            self.early.setdefault(key, []).append((handle, record))
        else:
            handle(event, record)

    def _catch_up(self, what, subject) -> None:
        for handle, record in self.early.pop(what, []):
            handle(subject, record)

    def _at(self, place) -> Event | None:
        return next((event for event in self.all() if event.place == place), None)

    def _decision(self, event: Event, record: Record) -> None:
        by_user: dict[str, list[dict]] = {}
        for outcome in record.value["outcomes"]:
            by_user.setdefault(outcome["user_id"], []).append(outcome)
        # A later decision is about those who had to be waited for, and replaces what was said of them.
        event.outcomes.update(by_user)
        for outcome in record.value["outcomes"]:
            if outcome["notification_id"]:
                one = self._notification(event, outcome["notification_id"], outcome["channel"])
                if outcome["verdict"] == "DEFERRED":
                    one.until = one.until or milliseconds(outcome["until"])
                    one.why_waiting = outcome["reason"]

    def _notification(self, event: Event, identifier: str, channel: str) -> Notification:
        one = self.notifications.get(identifier)
        if one is None:
            one = self.notifications[identifier] = Notification(identifier, channel, event.key)
            event.notifications[identifier] = one
            self._catch_up(identifier, one)
        return one

    def _outbound(self, event: Event, record: Record) -> None:
        one = self._notification(event, record.value["notification_id"], record.value["channel"])
        if ".retry." in record.topic:
            one.parked += 1
            due = record.headers.get("notify-not-before-ms", "")
            one.until = int(due) if due.isdigit() else one.until
        else:
            one.written += 1

    def _of_notification(self, identifier: str, handle, record: Record) -> None:
        one = self.notifications.get(identifier)
        if one is None:
            self.early.setdefault(identifier, []).append((handle, record))
        else:
            handle(one, record)

    def _status(self, one: Notification, record: Record) -> None:
        status = record.value
        one.states.append(status)
        event = self.events[one.event]
        took = milliseconds(status["occurred_at"]) - event.at
        self.latest.append(Seen(milliseconds(status["occurred_at"]), event.kind, one, status, took))
        if status["state"] == "SENT":
            (self.retried_latencies if one.parked or one.attempts > 1 else self.latencies).append(took)

    def _letter(self, record: Record) -> None:
        if record.topic == "dlq.notify.preferences":
            self.preferences_letters += 1
        elif record.topic.startswith("dlq.notify.outbound."):
            if record.value:
                self._of_notification(record.value["notification_id"], self._notification_letter, record)
        else:
            # Of an event that waited in a tier, the first place counts.
            headers = record.headers
            first = headers if "notify-original-topic" not in headers else {
                f"__dlq.errors.{name}": headers[f"notify-original-{name}"] for name in ("topic", "partition", "offset")
            }  # fmt: skip
            topic, partition, offset = (first.get(f"__dlq.errors.{name}", "-1") for name in ("topic", "partition", "offset"))
            place = (topic, int(partition), int(offset))
            event = self._at(place)
            if event is None:
                self.early.setdefault(place, []).append((self._event_letter, record))
            else:
                self._event_letter(event, record)

    def _notification_letter(self, one: Notification, record: Record) -> None:
        one.letters += 1
        self.letters[record.topic] += 1

    def _event_letter(self, event: Event, record: Record) -> None:
        event.letter = record.headers.get("notify-reason", "?")
        self.letters[record.topic] += 1


def milliseconds(moment) -> int:
    """A timestamp-millis as confluent-kafka gives it: a datetime with its zone."""
    return moment if isinstance(moment, int) else round(moment.timestamp() * 1000)
