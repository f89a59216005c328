"""Reads a Kafka record (JSON on stdin: {"key", "value" (hex), "headers"}) with CNCF's CloudEvents SDK, and prints what it
found: attributes and data."""

import json
import sys

from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

record = json.load(sys.stdin)
message = KafkaMessage(
    headers={name: text.encode() for name, text in record["headers"].items()},
    key=record["key"],
    value=bytes.fromhex(record["value"]),
)
event = from_structured_event(message, JSONFormat())
print(json.dumps({"attributes": {k: str(v) for k, v in event.get_attributes().items()}, "data": event.get_data()}))
