"""Watches a router from outside, with confluent-kafka under read_committed, while it works and is made to fail; at the
end reads everything a second time, reads the broker's log files if it is told where they are, and judges.

watch.py PREFIX [--channel C]... [--log-dir DIR]

On stdin, once all events are written: {"events": N, "poison": K, "patience": SECONDS}
Waits until each event has a decision, or nothing came for `patience` seconds; prints one JSON object (see judge.py).
Progress goes to stderr.
"""

import argparse
import hashlib
import json
import os
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

import segments
from judge import Judge

KAFKA = f"127.0.0.1:{os.environ['NOTILOG_KAFKA_PORT']}"
REGISTRY = f"http://127.0.0.1:{os.environ['NOTILOG_REGISTRY_PORT']}/apis/ccompat/v7"
KAFKA = os.environ.get("NOTILOG_TEST_KAFKA", KAFKA)
# So long everything must have been quiet before a router counts as done: a double may come after the last event.
CALM = 2.0


def consumer():
    return Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": "outside-watcher",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )


def digest(message):
    return hashlib.sha256(repr((message.key(), message.value(), message.headers())).encode()).hexdigest()


class Watcher:
    def __init__(self, prefix, channels):
        self.judge = Judge()
        self.decode = AvroDeserializer(SchemaRegistryClient({"url": REGISTRY}))
        self.decisions, self.letters = f"{prefix}notify.decisions", f"{prefix}dlq.notify.events"
        self.outbound = [f"{prefix}notify.outbound.{channel}" for channel in channels]
        self.consumer = consumer()
        metadata = self.consumer.list_topics(timeout=20)
        topics = [self.decisions, self.letters, *self.outbound]
        self.partitions = [(t, p) for t in topics for p in sorted(metadata.topics[t].partitions)]
        self.consumer.assign([TopicPartition(t, p, 0) for t, p in self.partitions])

    def value(self, message):
        return self.decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))

    def take(self, message):
        place, mark = (message.topic(), message.partition(), message.offset()), digest(message)
        if message.topic() == self.decisions:
            self.judge.decision(place, mark, self.value(message))
        elif message.topic() == self.letters:
            self.judge.letter(place, mark, self.value(message)["id"])
        else:
            self.judge.outbound(place, mark, self.value(message))

    def watch(self, told):
        """Until each event is decided and all is calm, or nothing came for long."""
        came = time.monotonic()
        while True:
            message = self.consumer.poll(0.2)
            now = time.monotonic()
            if message is not None and not passing(message):
                self.take(message)
                came = now
                continue
            if not told:
                # Patience begins when the last event is written.
                came = now
                continue
            quiet = now - came
            done = self.judge.decisions() >= told["events"] and quiet >= CALM
            if done or quiet >= told.get("patience", 60):
                return

    def read_again(self):
        """Everything under read_committed, anew: place -> digest."""
        fresh, waiting, second = consumer(), set(self.partitions), {}
        fresh.assign([TopicPartition(t, p, 0) for t, p in waiting])
        deadline = time.monotonic() + 900
        while waiting:
            if time.monotonic() > deadline:
                sys.exit(f"no end of {sorted(waiting)} within 900 s")
            message = fresh.poll(1)
            if message is None:
                continue
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    waiting.discard((message.topic(), message.partition()))
                continue
            second[message.topic(), message.partition(), message.offset()] = digest(message)
        fresh.close()
        return second


def passing(message):
    """Whether it is no record: the end of a partition, or trouble while a broker is away."""
    if message.error() and message.error().fatal():
        sys.exit(str(message.error()))
    return message.error() is not None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("--channel", action="append", default=[])
    parser.add_argument("--log-dir")
    arguments = parser.parse_args()
    watcher, told = Watcher(arguments.prefix, arguments.channel or ["email"]), {}
    print("watching", file=sys.stderr, flush=True)

    def listen():
        line = sys.stdin.readline()
        if not line:
            os._exit(1)  # whoever started us is gone
        told.update(json.loads(line))

    threading.Thread(target=listen, daemon=True).start()
    watcher.watch(told)
    watcher.judge.again(watcher.read_again())
    if arguments.log_dir:
        for topic, partition in watcher.partitions:
            watcher.judge.log(topic, partition, *segments.of_partition(arguments.log_dir, topic, partition))
    print(json.dumps(watcher.judge.verdict(told["events"], told.get("poison", 0))))


if __name__ == "__main__":
    main()
