"""Writes order events e-0, e-1, … for users u-0, u-1, …, keyed by recipient, with confluent-kafka.

load.py TOPIC --users N --rate R [--first N] [--events N] [--poison K] [--ghosts K]

Without --events it goes on until a line, or the end, comes on stdin. Each (poison)th event has so much data that its
outbound record is above a topic's usual limit of 1 MiB. After each (ghosts) events three more are written in a transaction that is aborted:
nobody may ever act on those. Prints {"events": how many there are now, first included}.
"""

import argparse
import json
import os
import sys
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

KAFKA = os.environ.get("NOTILOG_TEST_KAFKA", f"127.0.0.1:{os.environ['NOTILOG_KAFKA_PORT']}")
REGISTRY = f"http://127.0.0.1:{os.environ['NOTILOG_REGISTRY_PORT']}/apis/ccompat/v7"
COMMON = {"bootstrap.servers": KAFKA, "partitioner": "murmur2_random", "linger.ms": 5, "enable.idempotence": True}
COMMON |= {"log_level": 0, "topic.metadata.refresh.fast.interval.ms": 250}
# Written compressed, routed uncompressed: small here, too large there.
COMMON |= {"compression.type": "lz4", "message.max.bytes": 4_000_000}
FILLER = "x" * 1_060_000


class Load:
    def __init__(self, topic, users, ghosts):
        self.topic, self.users, self.ghosts = topic, users, ghosts
        client = SchemaRegistryClient({"url": REGISTRY})
        schema = client.get_latest_version("notilog.v1.Event").schema.schema_str
        conf = {
            "subject.name.strategy": record_subject_name_strategy,
            "auto.register.schemas": False,
            "use.latest.version": True,
        }
        self.serializer = AvroSerializer(client, schema, conf=conf)
        self.producer, self.failed = Producer(COMMON), []
        if ghosts:
            self.liar = Producer({**COMMON, "transactional.id": f"{topic}-ghosts-{os.getpid()}"})
            self.liar.init_transactions(30)

    def event(self, event_id, number, filler=""):
        user = f"u-{number % self.users}"
        event = {
            "id": event_id,
            "source": "shop/orders",
            "type": "order.shipped",
            "time": int(time.time() * 1000),
            "category": "orders",
            "recipients": [user],
            "data": json.dumps({"order_id": f"A-{number}", "filler": filler}),
        }
        value = self.serializer(event, SerializationContext(self.topic, MessageField.VALUE))
        return {"key": f"default/{user}", "value": value}

    def report(self, error, _message):
        if error:
            self.failed.append(str(error))

    def write(self, number, poisonous):
        record = self.event(f"e-{number}", number, FILLER if poisonous else "")
        while True:
            try:
                self.producer.produce(self.topic, **record, on_delivery=self.report)
                break
            except BufferError:
                self.producer.poll(0.1)
        self.producer.poll(0)

    def haunt(self, number):
        self.liar.begin_transaction()
        for ghost in range(3):
            self.liar.produce(self.topic, **self.event(f"ghost-{number}-{ghost}", number + ghost))
        self.liar.flush(10)
        self.liar.abort_transaction(30)

    def run(self, first, last, rate, poison, stopped):
        start, number = time.monotonic(), first
        while number != last and not stopped.is_set():
            # Behind its time after a stop it does not catch up: a steady load is wanted, not bursts.
            start = max(start, time.monotonic() - (number - first) / rate - 1)
            time.sleep(max(0, start + (number - first) / rate - time.monotonic()))
            self.write(number, poison and number % poison == poison - 1)
            number += 1
            if self.ghosts and number % self.ghosts == 0:
                self.haunt(number)
        if left := self.producer.flush(120):
            sys.exit(f"{left} events were not written")
        if self.failed:
            sys.exit(f"not written: {self.failed[0]} ({len(self.failed)} events)")
        return number


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("topic")
    for name in ("users", "rate"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("first", "poison", "ghosts"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--events", type=int)
    arguments = parser.parse_args()
    load, stopped = Load(arguments.topic, arguments.users, arguments.ghosts), threading.Event()
    last = None if arguments.events is None else arguments.first + arguments.events
    if last is None:
        threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()
    print(json.dumps({"events": load.run(arguments.first, last, arguments.rate, arguments.poison, stopped)}))


if __name__ == "__main__":
    main()
