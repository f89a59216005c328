"""Measures webhook deliveries per CPU second: notilog beside Apprise, and Outpost where it is built, in rounds.

In each round each sender in turn delivers as many bodies of the same data to the same receiver, from a queue that holds
all of them when it starts. Each body must have come. Figures are of the steady half of each run, ratios within a round.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "router/harness"))

import memory  # noqa: E402
import process  # noqa: E402
import senders  # noqa: E402
import table  # noqa: E402
from cluster import Cluster  # noqa: E402
from confluent_kafka import Consumer, TopicPartition  # noqa: E402
from fill import Outbounds  # noqa: E402
from outpost import Outpost  # noqa: E402
from senders import ROOT  # noqa: E402
from steady import Sample, TooShort, steady  # noqa: E402

WARM_UP = 1_000
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 300
SECRET = "whsec_" + base64.b64encode(b"webhook-bench-secret-0123").decode()


def arguments():
    parser = argparse.ArgumentParser(prog="benches/webhook/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deliveries", type=int, default=20_000, help="of each sender in each round")
    parser.add_argument("--max-in-flight", type=int, default=256, help="of notilog and Outpost")
    parser.add_argument("--apprise", type=Path, required=True, help="a Python that has Apprise; run gives it")
    parser.add_argument("--apprise-threads", type=int, default=16)
    parser.add_argument("--binary", type=Path, help="a notilog that is built already")
    parser.add_argument("--memory", action="store_true", help="notilog's memory by calls in flight, and nothing else")
    parser.add_argument("--outpost", type=Path, help="folder of Outpost's outpost and outpost-server")
    parser.add_argument("--outpost-port", type=int, default=3333, help="and the two after it")
    parser.add_argument("--outpost-rabbitmq", default="amqp://guest:guest@127.0.0.1:5672")
    parser.add_argument("--outpost-redis", default="127.0.0.1:6379", help="[password@]host:port")
    parser.add_argument("--outpost-postgres", default="postgres://outpost@127.0.0.1:5432/outpost?sslmode=disable")
    parser.add_argument("--outpost-brokers", default="", help="process ids of its RabbitMQ and Redis, with commas")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args()


def build():
    """notilog as users build it."""
    command = ["cargo", "build", "--locked", "--release", "--bin", "notilog"]
    command.append("--message-format=json-render-diagnostics")
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return next(message["executable"] for message in map(json.loads, lines) if message.get("executable"))


class Failed(Exception):
    """A sender did not do its work."""


class Receiver:
    program = HERE / "receiver.py"

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, self.program], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def begin(self, **expected):
        request = urllib.request.Request(f"{self.url}/_begin", json.dumps(expected).encode())
        urllib.request.urlopen(request).read()

    def cpu(self):
        return process.cpu(self.process.pid)

    def account(self):
        return json.load(urllib.request.urlopen(f"{self.url}/_account"))


class Bench:
    channel, receives, fills = "webhook", Receiver, Outbounds

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.kafka, self.registry = os.environ["NOTILOG_KAFKA_PORT"], os.environ["NOTILOG_REGISTRY_PORT"]
        self.prefix = f"bench-{self.channel}-{uuid.uuid4().hex[:8]}."
        self.cluster = Cluster(f"127.0.0.1:{self.kafka}", self.prefix)
        self.binary = options.binary or build()
        self.receiver = self.receives()
        self.configuration = senders.configuration(self.prefix, folder, self.kafka, self.registry, self.settings())
        self.topic, self.written = f"{self.prefix}notify.outbound.{self.channel}", 0
        self.statuses = f"{self.prefix}notify.delivery-status"
        self.kafka_pid = process.broker()
        self.outpost = None

    def settings(self):
        return senders.webhook(SECRET)

    def sender(self, in_flight):
        """notilog, with so many calls in flight at most."""
        return senders.notilog(self.binary, self.configuration, self.prefix, self.channel, in_flight)

    def prepare(self):
        for what in ("schemas", "topics"):
            command = [self.binary, what, "apply", "--yes", "--config", self.configuration]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        registry = f"http://127.0.0.1:{self.registry}/apis/ccompat/v7"
        self.outbounds = self.fills(f"127.0.0.1:{self.kafka}", registry, self.topic, self.receiver.url)
        self.prepare_others()

    def prepare_others(self):
        if self.options.outpost and not self.options.memory:
            self.outpost = Outpost(self.options, self.folder, self.receiver.url, SECRET)
            self.outpost.prepare()

    def deliver(self, in_flight, count, secret=None):
        """New records, by notilog: which is the first of them, and the run."""
        first = self.written
        self.written += count
        self.outbounds.write(first, count)
        before = self.cluster.ends(self.statuses)
        run = self.run(self.sender(in_flight), first, count, secret)
        self.check_statuses(before, count)
        return first, run

    def round(self, count, secret=None):
        """Everyone once; notilog first, because the records are of now."""
        options = self.options
        first, ours = self.deliver(options.max_in_flight, count, secret)
        theirs = senders.apprise(options.apprise, self.prefix, self.topic, self.kafka, options.apprise_threads)
        runs = {"notilog": ours}
        runs["apprise"] = self.run(theirs, first, count, None)
        if self.outpost:
            api = self.outpost.cpu("api")
            self.outpost.write(first, count)
            api, log = self.outpost.cpu("api") - api, self.outpost.cpu("log")
            runs["outpost"] = self.run(self.outpost.sender(), first, count, secret)
            log = self.outpost.cpu("log") - log
            say(f"  outpost's API took {api / count * 1e6:.0f} µs an event, its log service so far {log / count * 1e6:.0f}")
        return runs

    def run(self, sender, first, count, secret):
        """Lets it work until each body has come; gives the samples and the receiver's account."""
        self.receiver.begin(first=first, count=count, secret=secret)
        log_path, receiver_cpu = self.folder / f"{sender.name}.log", self.receiver.cpu()
        with open(log_path, "ab") as log:
            child = sender.start(log)
            try:
                samples = self.watch(child, sender, count)
            except Failed as error:
                raise SystemExit(f"{sender.name}: {error}; its last words:\n{log_path.read_text()[-3000:]}") from error
            finally:
                process.end(child)
        account = self.receiver.account()
        if account["strangers"] or account["unverified"]:
            raise SystemExit(f"invalid: {sender.name}: {account}")
        account["receiver_cpu_us"] = (self.receiver.cpu() - receiver_cpu) / account["requests"] * 1e6
        return samples, account

    def watch(self, child, sender, count):
        samples, deadline = [], time.monotonic() + PATIENCE_SECONDS
        while True:
            if child.poll() is not None:
                raise Failed(f"ended with {child.returncode} before its work")
            samples.append(self.sample(child.pid, sender))
            if samples[-1].done >= count and (not sender.group or self.cluster.is_at_end(sender.group, [self.topic])):
                return samples
            if time.monotonic() > deadline:
                raise Failed(f"only {samples[-1].done:,} of {count:,} in {PATIENCE_SECONDS} s")
            time.sleep(POLL_SECONDS)

    def sample(self, pid, sender):
        own = process.cpu(os.getpid()) + self.receiver.cpu()
        brokers = [self.kafka_pid] if sender.group else self.outpost_brokers()
        return Sample(
            at=time.monotonic(),
            done=self.receiver.account()["distinct"],
            cpu=process.cpu(pid),
            broker_cpu=sum(map(process.cpu, brokers)),
            busy=process.busy() - own,
            resident=process.resident(pid),
        )

    def outpost_brokers(self):
        return [int(pid) for pid in self.options.outpost_brokers.split(",") if pid]

    def check_statuses(self, before, count):
        """One status for each notification, read as analysts do."""
        settings = {"group.id": f"{self.prefix}check", "enable.auto.commit": False, "enable.partition.eof": False}
        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self.kafka}", **settings})
        consumer.assign([TopicPartition(self.statuses, number, start) for number, start in enumerate(before)])
        keys, found, deadline = set(), 0, time.monotonic() + 60
        while found < count and time.monotonic() < deadline:
            messages = consumer.consume(10_000, 1)
            found += len(messages)
            keys.update(message.key() for message in messages if b"SENT" in message.value())
        found += len(consumer.consume(10_000, 0.5))
        consumer.close()
        if (found, len(keys)) != (count, count):
            raise SystemExit(f"invalid: {found} statuses, {len(keys)} notifications SENT, of {count}")

    def end(self):
        if self.outpost:
            self.outpost.stop()
        self.receiver.process.terminate()
        self.receiver.process.wait()
        self.cluster.delete_all()


def say(text):
    print(text, flush=True)


def compare(bench, options):
    bench.round(WARM_UP, SECRET)
    say(f"{WARM_UP:,} of each came, notilog's (and Outpost's) with good signatures; one status each")
    rounds = []
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        runs = bench.round(options.deliveries)
        figures = {}
        for name, (samples, account) in runs.items():
            figures[name] = steady(samples, options.deliveries), account
            per_second = 1e6 / figures[name][0].cpu_us
            say(f"  {name:<8} {per_second:8,.0f} deliveries per CPU second, {account['requests']:,} requests")
        rounds.append(figures)
    say(table.text(rounds))
    return table.as_json(options, rounds)


def work(kind, options, measure):
    """Prepares a bench of this kind, and writes what `measure` finds with it."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{kind.channel}-") as folder:
        bench = kind(options, Path(folder))
        try:
            bench.prepare()
            figures = measure(bench)
        except TooShort:
            sys.exit("a run was too short to have a steady half: take more --deliveries")
        finally:
            bench.end()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def main():
    options = arguments()
    work(Bench, options, lambda bench: memory.measure(bench, say) if options.memory else compare(bench, options))


if __name__ == "__main__":
    main()
