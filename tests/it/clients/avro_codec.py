"""Avro as Python writes and reads it: confluent-kafka's serializers over fastavro, or Apache's own `avro`.

avro_codec.py encode SCHEMA    lines of JSON on stdin to lines of hex (a value in the Confluent wire format)
avro_codec.py encode           as encode, lines {"schema", "value"}
avro_codec.py decode           lines of hex to lines of JSON; schemas by their ids
avro_codec.py apache SCHEMA    as encode, by Apache's library

SCHEMA is a subject, whose latest version is taken from the registry, or a file `*.avsc`, then under the id 1.
"""

import datetime
import io
import json
import os
import sys

import avro.io
import avro.schema
import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient, record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
CONTEXT = SerializationContext("interop", MessageField.VALUE)


def registry():
    port = os.environ.get("NOTILOG_REGISTRY_PORT", "8081")
    return SchemaRegistryClient({"url": f"http://127.0.0.1:{port}/apis/ccompat/v7"})


def encoder(schema):
    if schema.endswith(".avsc"):
        parsed = fastavro.parse_schema(json.load(open(schema)))

        def encode(value):
            out = io.BytesIO(b"\0\0\0\0\1")
            out.seek(5)
            fastavro.schemaless_writer(out, parsed, value)
            return out.getvalue()

        return encode
    settings = {
        "subject.name.strategy": record_subject_name_strategy,
        "auto.register.schemas": False,
        "use.latest.version": True,
    }
    client = registry()
    serializer = AvroSerializer(client, client.get_latest_version(schema).schema.schema_str, conf=settings)
    return lambda value: serializer(value, CONTEXT)


def apache_encoder(schema):
    parsed = avro.schema.parse(open(schema).read())

    def moments(value, schema):
        """Apache's library takes moments as such, not as numbers."""
        if schema.type == "union":
            branch = [branch for branch in schema.schemas if branch.type != "null"][0]
            return None if value is None else moments(value, branch)
        if schema.type == "record":
            return {field.name: moments(value[field.name], field.type) for field in schema.fields}
        if schema.type == "array":
            return [moments(item, schema.items) for item in value]
        if schema.type == "map":
            return {key: moments(item, schema.values) for key, item in value.items()}
        if schema.props.get("logicalType") == "timestamp-millis":
            return EPOCH + datetime.timedelta(milliseconds=value)
        return value

    def encode(value):
        out = io.BytesIO(b"\0\0\0\0\1")
        out.seek(5)
        avro.io.DatumWriter(parsed).write(moments(value, parsed), avro.io.BinaryEncoder(out))
        return out.getvalue()

    return encode


def plain(value):
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(milliseconds=1)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def main():
    command, *arguments = sys.argv[1:]
    if command == "decode":
        decode = AvroDeserializer(registry())
        for line in sys.stdin:
            print(json.dumps(plain(decode(bytes.fromhex(line.strip()), CONTEXT))))
        return
    if not arguments:
        for line in sys.stdin:
            item = json.loads(line)
            print(encoder(item["schema"])(item["value"]).hex())
        return
    encode = {"encode": encoder, "apache": apache_encoder}[command](*arguments)
    for line in sys.stdin:
        print(encode(json.loads(line)).hex())


main()
