#!/usr/bin/env python3
"""Apprise as somebody would use it here: a worker that takes outbound records from Kafka and notifies json:// targets.

Apprise is a library without a queue. Its calls block, so several threads make them; the objects, one for each target,
are made once. What was handed over is committed, a batch at a time: at least once.
"""

import argparse
import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import apprise
import fastavro
from confluent_kafka import Consumer

BATCH = 500
# Before the Avro value: a zero and the schema's id.
FRAME = 5


class Targets:
    def __init__(self):
        self.by_address = {}

    def of(self, address):
        if address not in self.by_address:
            target = apprise.Apprise()
            if not target.add(address.replace("http://", "json://", 1)):
                raise SystemExit("Apprise does not take the address")
            self.by_address[address] = target
        return self.by_address[address]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bootstrap", "topic", "group", "schema"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)

    with open(options.schema) as file:
        schema = fastavro.parse_schema(json.load(file))
    settings = {"enable.auto.commit": False, "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": options.bootstrap, "group.id": options.group, **settings})
    consumer.subscribe([options.topic])
    targets = Targets()

    def deliver(message):
        outbound = fastavro.schemaless_reader(io.BytesIO(message.value()[FRAME:]), schema)
        return targets.of(outbound["address"]).notify(title=outbound["type"], body=outbound["data"])

    with ThreadPoolExecutor(options.threads) as threads:
        while True:
            messages = consumer.consume(BATCH, 0.5)
            if not messages:
                continue
            if not all(threads.map(deliver, messages)):
                raise SystemExit("a call failed")
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
