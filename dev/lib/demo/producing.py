"""Puts the company's events on Kafka as a client that is not notilog's: confluent-kafka and its AvroSerializer."""

import random
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "company"))
from events import Company, Planned  # noqa: E402

TRICKLE = 4  # events a second, after the planned ones


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def dated(value):
    """Distances from now as moments."""
    return now_ms() + int(value.total_seconds() * 1000) if isinstance(value, timedelta) else value


class Producing(threading.Thread):
    """Produces `count` events at the company's pace; then, when `go_on`, a trickle until it is told to stop."""

    def __init__(self, kafka: str, registry: str, company: Company, count: int, go_on: bool):
        super().__init__(name="producing", daemon=True)
        self.company = company
        self.planned = company.plan(count)
        self.go_on = go_on
        self.produced = 0
        self.planned_done = threading.Event()
        self.stopping = threading.Event()
        self.failure: str | None = None
        # Not the company's own: its events must not depend on these draws.
        self.traces = random.Random()
        self.changes: list[tuple[float, dict]] = []
        client = SchemaRegistryClient({"url": registry})
        self.event = self._serializer(client, "notilog.v1.Event")
        self.preferences = self._serializer(client, "notilog.v1.Preferences")
        self.producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", "linger.ms": 5})

    @staticmethod
    def _serializer(client: SchemaRegistryClient, record: str) -> AvroSerializer:
        conf = {
            "subject.name.strategy": record_subject_name_strategy,
            "auto.register.schemas": False,
            "use.latest.version": True,
        }
        return AvroSerializer(client, client.get_latest_version(record).schema.schema_str, conf=conf)

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # shown by the one who draws; nobody sees a thread's traceback under a picture
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self.planned_done.set()

    def _run(self) -> None:
        for planned in self.planned:
            if planned.before:
                self._prefer(planned.before)
        self._flush()
        began = time.monotonic()
        for planned in self.planned:
            if self.stopping.wait(max(0.0, began + planned.at - time.monotonic())):
                break
            self._produce(planned)
            self._change_preferences()
        self._flush()
        self.planned_done.set()
        while not self.stopping.wait(self.traces.expovariate(TRICKLE) if self.go_on else 0.1):
            if self.go_on:
                self._produce(self.company.numbered(self.company.usual(), 0))
            elif not self.changes:
                break
            self._change_preferences()
        self._flush()

    def _flush(self) -> None:
        left = self.producer.flush(30)
        if left:
            raise RuntimeError(f"{left} records were not written within 30 s")

    def _produce(self, planned: Planned) -> None:
        topic = f"notify.events.{planned.domain}"
        value = planned.raw
        if planned.event is not None:
            event = {name: dated(field) for name, field in planned.event.items()}
            value = self.event(event, SerializationContext(topic, MessageField.VALUE))
        if planned.later:
            self.changes.append((time.monotonic() + planned.later[0], planned.later[1]))
            self.changes.sort(key=lambda change: change[0])
        trace = f"00-{self.traces.getrandbits(128):032x}-{self.traces.getrandbits(64):016x}-01"
        headers = [("traceparent", trace.encode())]
        self.producer.produce(topic, key=planned.key, value=value, headers=headers, on_delivery=self._written)
        self.produced += 1
        self.producer.poll(0)

    def _written(self, error, _message) -> None:
        if error is not None:
            self.failure = f"a record was not written: {error}"

    # Preferences that come by another way than `notilog prefs`.

    def _change_preferences(self) -> None:
        while self.changes and self.changes[0][0] <= time.monotonic():
            self._prefer(self.changes.pop(0)[1])

    def _prefer(self, record: dict) -> None:
        topic = "notify.preferences"
        whole = {"tenant": "default", "version": 1, "updated_at": now_ms(), "updated_by": "the shop's sign-up"} | record
        value = self.preferences(whole, SerializationContext(topic, MessageField.VALUE))
        self.producer.produce(topic, key=f"default/{record['user_id']}", value=value, on_delivery=self._written)
        self.producer.poll(0)
