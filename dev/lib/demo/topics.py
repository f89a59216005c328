"""Reads notilog's topics from outside, as any client could: confluent-kafka, read_committed, the registry's schemas."""

import time
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

# Values of these are not decoded: an event that waits or died is known by its headers.
BY_HEADERS_ONLY = ("dlq.notify.events", "dlq.notify.preferences", "notify.retry.events.")
FAMILIES = (
    "notify.events.",
    "notify.retry.events.",
    "notify.decisions",
    "notify.outbound.",
    "notify.delivery-status",
    "dlq.notify.",
)


@dataclass
class Record:
    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds
    headers: dict[str, str] = field(default_factory=dict)
    value: dict | None = None  # None where it is not decoded, or cannot be


class Topics:
    """All records of notilog's topics from now on."""

    def __init__(self, kafka: str, registry: str):
        self.consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "demo-reader",  # required by the client; nothing is committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "topic.metadata.refresh.interval.ms": -1,
            }
        )
        self.decoder = AvroDeserializer(SchemaRegistryClient({"url": registry}))
        self.positions = self._ends()
        self.consumer.assign([TopicPartition(topic, number, at) for (topic, number), at in self.positions.items()])

    def _partitions(self) -> list[tuple[str, int]]:
        topics = self.consumer.list_topics(timeout=20).topics
        return [(name, number) for name in topics if name.startswith(FAMILIES) for number in topics[name].partitions]

    def _ends(self) -> dict[tuple[str, int], int]:
        return {
            (topic, number): self.consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)[1]
            for topic, number in self._partitions()
        }

    def read(self, wait: float) -> list[Record]:
        """What has come; waits for the first record at most `wait` seconds."""
        records = []
        for message in self.consumer.consume(num_messages=500, timeout=wait):
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(message.error())
            self.positions[message.topic(), message.partition()] = message.offset() + 1
            records.append(self._record(message))
        return records

    def _record(self, message) -> Record:
        headers = {name: (text or b"").decode("utf-8", "replace") for name, text in message.headers() or []}
        value = None
        if not message.topic().startswith(BY_HEADERS_ONLY):
            try:
                value = self.decoder(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
            except Exception:  # not Avro, or of an unknown schema: the decoder has an exception for each
                value = None
        return Record(message.topic(), message.partition(), message.offset(), message.timestamp()[1], headers, value)

    def read_to_the_end(self, patience: float) -> list[Record]:
        """All that is committed now. Markers of transactions end a partition too, hence the wait for silence."""
        records, deadline = [], time.monotonic() + patience
        while time.monotonic() < deadline:
            found = self.read(0.4)
            if not found:
                break
            records += found
        return records

    def close(self) -> None:
        self.consumer.close()
