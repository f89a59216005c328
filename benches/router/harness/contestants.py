"""Who is measured: how each is started on the same topics, and what its group is called."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PEER = ROOT / "benches/peers/kafka-streams"
EVENT_PARTITIONS = 12
COMMIT_INTERVAL_MS = 100

# A heap that holds the preferences and leaves room; the collector with the best throughput on few cores.
JVM = ["-Xms1g", "-Xmx1g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


@dataclass(frozen=True)
class Contestant:
    name: str
    command: list
    group: str
    # Topics that are read to their end when it is done, besides the events.
    inputs: list = field(default_factory=list)

    def start(self, log):
        return subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)


def configuration(prefix, folder, kafka_port, registry_port, shards, partitions=EVENT_PARTITIONS):
    """notilog.toml: what users would write for this installation, and nothing for speed but the shards."""
    path = folder / "notilog.toml"
    path.write_text(
        f"""kafka.bootstrap_servers = "127.0.0.1:{kafka_port}"
kafka.topic_prefix = "{prefix}"
registry.url = "http://127.0.0.1:{registry_port}/apis/ccompat/v7"
router.shards = {shards}
router.commit_interval = "{COMMIT_INTERVAL_MS}ms"
policies.dir = "{ROOT}/policies"
templates.dir = "{ROOT}/templates"
telemetry.listen = "127.0.0.1:0"
topics.domains = ["shop"]
topics.channels = ["email", "telegram"]
topics.replication_factor = 1
topics.partitions.events = {partitions}
state.dir = "{folder}/state"
"""
    )
    return path


def notilog(binary, configuration, prefix, name="notilog"):
    command = [binary, "router", "--config", configuration, "--set", f"router.group={name}"]
    # The group reads the preferences too, to find those that cannot be used.
    return Contestant(name, command, prefix + name, [f"{prefix}notify.preferences"])


def copy(tool, configuration, prefix, threads, sizes):
    """Writes records as large as notilog's were in the first round."""
    mean = lambda topic, what: round(sizes[topic][what] / sizes[topic]["records"])
    arguments = {
        "--group": "bare-copy",
        "--threads": threads,
        "--partitions": EVENT_PARTITIONS,
        "--outbound": round((mean("email", "value_bytes") + mean("telegram", "value_bytes")) / 2),
        "--decision": mean("decisions", "value_bytes"),
        "--decision-key": mean("decisions", "key_bytes"),
    }
    flat = [str(word) for pair in arguments.items() for word in pair]
    return Contestant("copy", [tool, "--config", configuration, "copy", *flat], f"{prefix}bare-copy")


def streams(facts, folder, prefix, kafka_port, threads, changes=None):
    """`changes` are properties that replace the usual ones."""
    name = f"streams-{threads}"
    ids = facts["schema_ids"]
    properties = {
        "bootstrap.servers": f"127.0.0.1:{kafka_port}",
        "application.id": prefix + name,
        "threads": threads,
        "commit.interval.ms": COMMIT_INTERVAL_MS,
        "state.dir": folder / name,
        "prefix": prefix,
        "policy.version": facts["policy_version"],
        **{f"schema.{record}": number for record, number in ids.items()},
        **(changes or {}),
    }
    path = folder / f"{name}.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    command = ["java", *JVM, "-cp", f"{PEER}/target/peer.jar:{PEER}/target/lib/*", "notilog.peer.Peer", path]
    return Contestant(name, command, prefix + name)


def prompt(interval_ms, linger_ms):
    """What Kafka Streams is told when it is to be quick: fetches are answered at once, batches are not waited for."""
    return {
        "commit.interval.ms": interval_ms,
        "streams.producer.linger.ms": linger_ms,
        "streams.consumer.fetch.min.bytes": 1,
        "streams.consumer.fetch.max.wait.ms": 500,
        "streams.poll.ms": min(interval_ms, 100),
    }
