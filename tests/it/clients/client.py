"""A Kafka client that is not notilog's: confluent-kafka with its Avro serializers, for tests.

client.py produce RECORD          lines of JSON on stdin: {"topic", "key", "value" | "raw" (hex) | neither, "headers", "partition"}
client.py load TOPIC FIRST EVENTS USERS RATE   order events e-FIRST … for users u-0 …, keyed by recipient, RATE a second
client.py count TOPIC...          records (not transaction markers) in these topics up to now, under read_committed
client.py delete-group GROUP      a group without members, with all its offsets
client.py hold-offsets GROUP TOPIC FILE   keeps the group's offsets of a topic in an open transaction until FILE, which it
                                          makes when they are, is there no more
client.py delete-records TOPIC UNTIL   every record of a topic below this offset, in all partitions
client.py read TOPIC...           every record up to now under read_committed, decoded, as lines of JSON
"""

import datetime
import json
import os
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

# Where Kafka is, and how to log in there when the test says so.
CONNECTION = {"bootstrap.servers": f"127.0.0.1:{os.environ['NOTILOG_KAFKA_PORT']}"}
CONNECTION.update(json.loads(os.environ.get("NOTILOG_TEST_CONNECTION", "{}")))
REGISTRY = f"http://127.0.0.1:{os.environ['NOTILOG_REGISTRY_PORT']}/apis/ccompat/v7"


def registry():
    return SchemaRegistryClient({"url": REGISTRY})


def produce(record):
    client = registry()
    schema = client.get_latest_version(record).schema.schema_str
    serializer = AvroSerializer(
        client,
        schema,
        conf={
            "subject.name.strategy": record_subject_name_strategy,
            "auto.register.schemas": False,
            "use.latest.version": True,
        },
    )
    producer = Producer({**CONNECTION, "partitioner": "murmur2_random", "linger.ms": 20, "message.max.bytes": 2_000_000})
    failed = []

    def report(error, _message):
        if error:
            failed.append(str(error))

    for line in sys.stdin:
        item = json.loads(line)
        topic = item["topic"]
        if "raw" in item:
            value = bytes.fromhex(item["raw"])
        elif "value" in item:
            value = serializer(item["value"], SerializationContext(topic, MessageField.VALUE))
        else:
            value = None
        headers = [(name, text.encode()) for name, text in item.get("headers", {}).items()]
        while True:
            try:
                where = {"partition": item["partition"]} if "partition" in item else {}
                producer.produce(topic, key=item.get("key"), value=value, headers=headers, on_delivery=report, **where)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(30)
    if failed:
        sys.exit(f"not written: {failed[0]} ({len(failed)} records)")


def plain(value):
    if isinstance(value, datetime.datetime):
        return int(value.timestamp() * 1000 + 0.5)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def load(topic, first, events, users, rate):
    client = registry()
    schema = client.get_latest_version("notilog.v1.Event").schema.schema_str
    conf = {
        "subject.name.strategy": record_subject_name_strategy,
        "auto.register.schemas": False,
        "use.latest.version": True,
    }
    serializer = AvroSerializer(client, schema, conf=conf)
    producer = Producer({**CONNECTION, "partitioner": "murmur2_random", "linger.ms": 20, "message.max.bytes": 2_000_000})
    start = time.time()
    now = int(start * 1000)
    for number in range(first, first + events):
        time.sleep(max(0, start + (number - first) / rate - time.time()))
        user = f"u-{number % users}"
        event = {
            "id": f"e-{number}",
            "source": "shop/orders",
            "type": "order.shipped",
            "time": now,
            "category": "orders",
            "recipients": [user],
            "data": json.dumps({"order_id": f"A-{number}"}),
        }
        value = serializer(event, SerializationContext(topic, MessageField.VALUE))
        while True:
            try:
                producer.produce(topic, key=f"default/{user}", value=value)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(60)
    if left:
        sys.exit(f"{left} events were not written")


def delete_group(group):
    client = AdminClient(CONNECTION)
    # A member that just left may be listed for a moment.
    for _ in range(50):
        try:
            client.delete_consumer_groups([group])[group].result(10)
            return
        except Exception as error:  # noqa: BLE001
            last = error
            time.sleep(0.5)
    sys.exit(f"{group} stays: {last}")


def hold_offsets(group, topic, file):
    producer = Producer({**CONNECTION, "transactional.id": f"hold-{group}-{topic}", "transaction.timeout.ms": 120_000})
    producer.init_transactions(30)
    producer.begin_transaction()
    outsider = Consumer({**CONNECTION, "group.id": group})
    partitions = outsider.list_topics(topic, timeout=10).topics[topic].partitions
    offsets = [TopicPartition(topic, partition, 0) for partition in partitions]
    producer.send_offsets_to_transaction(offsets, outsider.consumer_group_metadata(), 30)
    open(file, "w").close()
    while os.path.exists(file):
        time.sleep(0.05)
    producer.abort_transaction(30)


def delete_records(topic, until):
    client = AdminClient(CONNECTION)
    partitions = client.list_topics(topic).topics[topic].partitions
    ends = Consumer({**CONNECTION, "group.id": "outside-reader"})
    below = []
    for partition in partitions:
        _, high = ends.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        below.append(TopicPartition(topic, partition, min(until, high)))
    for future in client.delete_records(below).values():
        future.result(10)


def count(topics):
    print(sum(1 for _ in messages(topics)))


def messages(topics):
    consumer = Consumer(
        {
            **CONNECTION,
            "group.id": os.environ.get("NOTILOG_TEST_GROUP", "outside-reader"),
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    metadata = consumer.list_topics(timeout=10)
    waiting = set()
    for topic in topics:
        if topic not in metadata.topics:
            sys.exit(f"no topic {topic}")
        waiting |= {(topic, partition) for partition in metadata.topics[topic].partitions}
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in waiting])
    while waiting:
        message = consumer.poll(10)
        if message is None:
            sys.exit(f"no end of {sorted(waiting)} within 10 s")
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                waiting.discard((message.topic(), message.partition()))
                continue
            sys.exit(str(message.error()))
        yield message
    consumer.close()


def read(topics):
    decode = AvroDeserializer(registry())
    for message in messages(topics):
        value, raw = message.value(), None
        try:
            value = plain(decode(value, SerializationContext(message.topic(), MessageField.VALUE)))
        except Exception:  # dead letters and policies are no Avro
            raw, value = value.hex(), None
        print(
            json.dumps(
                {
                    "topic": message.topic(),
                    "partition": message.partition(),
                    "offset": message.offset(),
                    "timestamp": message.timestamp()[1],
                    "key": message.key().decode() if message.key() is not None else None,
                    "headers": {name: text.decode() for name, text in message.headers() or []},
                    "value": value,
                    "raw": raw,
                }
            )
        )


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {
        "produce": lambda: produce(arguments[0]),
        "load": lambda: load(arguments[0], *map(int, arguments[1:])),
        "delete-group": lambda: delete_group(arguments[0]),
        "hold-offsets": lambda: hold_offsets(*arguments),
        "delete-records": lambda: delete_records(arguments[0], int(arguments[1])),
        "count": lambda: count(arguments),
        "read": lambda: read(arguments),
    }[command]()
