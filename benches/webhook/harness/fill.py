"""What is delivered: outbound records for webhooks, as `notilog router` writes them, and the same data for others."""

import io
import json
import struct
import time
import uuid

import fastavro
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient

RECIPIENTS = 1_000


def data(number):
    """The event's data, of about 140 B; `order_id` tells the receiver which one it is."""
    return {
        "order_id": f"A-{number:010}",
        "carrier": "Nordpost",
        "items": number % 9 + 1,
        "total": f"{number % 400 + 10}.90",
        "url": f"https://shop.example.org/orders/{number:010}",
    }


def event_id(number):
    return f"e-{number:012}"


def envelope(number):
    """The body that notilog makes of it (docs/channels/webhook.md)."""
    time = "2026-11-21T21:05:00Z"
    return {"id": event_id(number), "type": "order.shipped", "timestamp": time, "data": data(number)}


def recipient(number):
    return f"user-{number % RECIPIENTS:08}"


class Outbounds:
    def __init__(self, bootstrap, registry, topic, receiver):
        found = SchemaRegistryClient({"url": registry}).get_latest_version("notilog.v1.Outbound")
        self.schema = fastavro.parse_schema(json.loads(found.schema.schema_str))
        self.frame = struct.pack(">bI", 0, found.schema_id)
        self.topic, self.receiver = topic, receiver
        settings = {"partitioner": "murmur2_random", "enable.idempotence": True, "linger.ms": 20}
        self.producer = Producer({"bootstrap.servers": bootstrap, **settings})

    def write(self, first, count):
        """Decided now: what is much older when delivery reads it would be decided again before the call."""
        now = int(time.time() * 1000)
        for number in range(first, first + count):
            value = io.BytesIO(self.frame)
            value.seek(len(self.frame))
            fastavro.schemaless_writer(value, self.schema, self.record(number, now))
            while True:
                try:
                    self.producer.produce(self.topic, key=f"default/{recipient(number)}", value=value.getvalue())
                    break
                except BufferError:
                    self.producer.poll(0.05)
        if self.producer.flush(60):
            raise SystemExit("Kafka did not take the records in a minute")

    def record(self, number, now):
        event = event_id(number)
        return {
            "notification_id": str(uuid.uuid5(uuid.NAMESPACE_URL, event)),
            "event_id": event,
            "source": "shop/orders",
            "type": "order.shipped",
            "event_time": now,
            "tenant": "default",
            "user_id": recipient(number),
            "category": "orders",
            "priority": "NORMAL",
            "channel": "webhook",
            "address": f"{self.receiver}/hook/{recipient(number)}",
            "locale": "en-GB",
            "timezone": "Europe/Berlin",
            "template": "order_shipped",
            "data": json.dumps(data(number), separators=(",", ":")),
            "collapse_key": None,
            "not_before": None,
            "expires_at": None,
            "decided_at": now,
            "policy_version": "bench",
            "replay_id": None,
            "siblings": [],
            "fallback": [],
            "fallback_of": None,
        }
