"""Kafka as the harness sees it: topics made anew, ends of logs, where groups stand."""

import time

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec


class Cluster:
    def __init__(self, bootstrap, prefix):
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.prefix = prefix
        self.partitions = {}

    def of(self, topic):
        """The topic's partitions."""
        if topic not in self.partitions:
            self.partitions[topic] = len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)
        return [TopicPartition(topic, number) for number in range(self.partitions[topic])]

    def ends(self, topic):
        """The end of each partition's log."""
        asked = self.admin.list_offsets({partition: OffsetSpec.latest() for partition in self.of(topic)})
        found = {partition.partition: future.result().offset for partition, future in asked.items()}
        return [found[number] for number in sorted(found)]

    def is_at_end(self, group, topics):
        """Whether a group has committed all of these topics."""
        asked = [ConsumerGroupTopicPartitions(group, [one for topic in topics for one in self.of(topic)])]
        found = self.admin.list_consumer_group_offsets(asked)[group].result().topic_partitions
        stands = {(one.topic, one.partition): max(one.offset, 0) for one in found}
        ends = {(topic, number): end for topic in topics for number, end in enumerate(self.ends(topic))}
        return stands == ends

    def make_anew(self, topics):
        """Empties topics by deleting and creating them, so that each run begins with the same logs."""
        sizes = {topic: len(self.of(topic)) for topic in topics}
        for future in self.admin.delete_topics(topics, operation_timeout=30).values():
            future.result()
        for topic, size in sizes.items():
            # The disk gets its space back within the benchmark, not a minute later.
            new = NewTopic(topic, size, replication_factor=1, config={"file.delete.delay.ms": "1000"})
            settled(lambda: self.admin.create_topics([new])[topic].result())
            settled(lambda: self.ends(topic))

    def delete_all(self):
        mine = [topic for topic in self.admin.list_topics(timeout=10).topics if topic.startswith(self.prefix)]
        for future in self.admin.delete_topics(mine).values():
            future.result()


def settled(ask):
    """Asks until brokers and client know of what was deleted or created just now."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
