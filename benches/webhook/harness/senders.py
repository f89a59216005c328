"""Who delivers: how each is started on its own queue, and what it needs beside it."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


@dataclass(frozen=True)
class Sender:
    name: str
    command: list
    # Kafka's consumer group, where it has one: done is what it has committed.
    group: str = ""
    environment: dict = field(default_factory=dict)

    def start(self, log):
        environment = {**os.environ, **self.environment}
        out = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        return subprocess.Popen(list(map(str, self.command)), env=environment, cwd=ROOT, **out)


def configuration(prefix, folder, kafka_port, registry_port, channel):
    """notilog.toml: what users would write for this installation, and nothing for speed. With a channel's own part."""
    path = folder / "notilog.toml"
    path.write_text(
        f"""kafka.bootstrap_servers = "127.0.0.1:{kafka_port}"
kafka.topic_prefix = "{prefix}"
registry.url = "http://127.0.0.1:{registry_port}/apis/ccompat/v7"
policies.dir = "{ROOT}/policies"
templates.dir = "{ROOT}/templates"
telemetry.listen = "127.0.0.1:0"
topics.domains = ["shop"]
topics.replication_factor = 1
{channel}"""
    )
    return path


def webhook(secret):
    return f"""topics.channels = ["webhook"]

[channels.webhook]
secrets = {{ "*" = "{secret}" }}
allow_networks = ["127.0.0.0/8"]
allow_http = true
"""


def notilog(binary, configuration, prefix, channel, max_in_flight, *more):
    command = [binary, "deliver", "--channel", channel, "--config", configuration]
    for setting in (f"delivery.max_in_flight={max_in_flight}", *more):
        command += ["--set", setting]
    return Sender("notilog", command, f"{prefix}notilog-deliver-{channel}")


def apprise(python, prefix, topic, kafka_port, threads):
    group = f"{prefix}apprise"
    options = {"bootstrap": f"127.0.0.1:{kafka_port}", "topic": topic, "group": group, "threads": threads}
    options["schema"] = ROOT / "schemas/outbound.avsc"
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Sender("apprise", [python, HERE / "apprise_worker.py", *words], group)
