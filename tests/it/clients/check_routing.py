"""Checks a router from outside, with confluent-kafka under read_committed: every event has its decision and its
outbound records, each once, in order for each recipient, and the two agree.

check_routing.py PREFIX EVENTS CHANNEL...     events were produced by `client.py load`, with ids e-<n>

Prints one JSON object: lost, double, disordered, decision_without_outbound, outbound_without_decision, counts.
"""

import json
import os
import sys
from collections import Counter, defaultdict

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

KAFKA = f"127.0.0.1:{os.environ['NOTILOG_KAFKA_PORT']}"
REGISTRY = f"http://127.0.0.1:{os.environ['NOTILOG_REGISTRY_PORT']}/apis/ccompat/v7"


def records(topics):
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": "outside-checker",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    metadata = consumer.list_topics(timeout=10)
    waiting = {(t, p) for t in topics for p in metadata.topics[t].partitions}
    consumer.assign([TopicPartition(t, p, 0) for t, p in waiting])
    decode = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY}))
    while waiting:
        message = consumer.poll(15)
        if message is None:
            sys.exit(f"no end of {sorted(waiting)} within 15 s")
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                sys.exit(str(message.error()))
            waiting.discard((message.topic(), message.partition()))
            continue
        yield message, decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
    consumer.close()


def check(prefix, events, channels):
    decided, promised = Counter(), Counter()
    for _, decision in records([f"{prefix}notify.decisions"]):
        decided[decision["event_id"]] += 1
        for outcome in decision["outcomes"]:
            if outcome["verdict"] == "ROUTED":
                promised[outcome["notification_id"]] += 1
    written, last, disordered = Counter(), {}, 0
    for message, outbound in records([f"{prefix}notify.outbound.{channel}" for channel in channels]):
        written[outbound["notification_id"]] += 1
        lane = (message.topic(), outbound["user_id"])
        number = int(outbound["event_id"][2:])
        disordered += number < last.get(lane, -1)
        last[lane] = number
    expected = {f"e-{n}" for n in range(events)}
    return {
        "lost": len(expected - set(decided)),
        "double": sum(n > 1 for n in decided.values()) + sum(n > 1 for n in written.values()),
        "disordered": disordered,
        "decision_without_outbound": len(set(promised) - set(written)),
        "outbound_without_decision": len(set(written) - set(promised)),
        "decisions": sum(decided.values()),
        "outbound": sum(written.values()),
    }


if __name__ == "__main__":
    print(json.dumps(check(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
