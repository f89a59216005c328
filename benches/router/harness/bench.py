"""Measures notilog's router, a bare librdkafka copy and a Kafka Streams application on the same events, in rounds.

Each round writes new events; each contestant in turn routes them from the topic to its outputs, which were made anew
for it, until its group has committed all of them. Figures are of the steady half of each run, ratios within a round.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import chart
import contestants
import process
import report
from cluster import Cluster
from contestants import PEER, ROOT
from digests import Mismatch, compare, transactions
from steady import Sample, TooShort, by_name, steady

WARM_UP = 20_000
POLL_SECONDS = 0.05
# No run may take longer, nor may this much time pass without progress at its start (a table of millions is restored).
PATIENCE_SECONDS = 900


def arguments():
    parser = argparse.ArgumentParser(prog="benches/router/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=2_000_000, help="in each round")
    parser.add_argument("--recipients", type=int, default=500_000)
    parser.add_argument("--shards", type=int, default=1, help="of the router, and threads of the copy")
    parser.add_argument("--streams-threads", default="1,2", help="a Kafka Streams contestant for each")
    parser.add_argument("--only", default="", help="names of contestants, separated by commas; notilog always runs first")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--chart", type=Path, help="file for a chart of the CPU (SVG)")
    help_binary = "the build of notilog to measure, in place of Cargo's: what dev/release prints"
    parser.add_argument("--binary", type=Path, metavar="FILE", help=help_binary)
    help_other = "another build of notilog, beside this one, to see what a change does; may be given several times"
    parser.add_argument("--other", type=Path, action="append", default=[], metavar="BINARY", help=help_other)
    parser.add_argument("--cargo-profile", default="bench", help="dev: to work on the benchmark itself")
    return parser.parse_args()


def build(profile):
    """The router as users build it, this benchmark's tool and the Kafka Streams application."""
    command = ["cargo", "bench", "--locked", "--no-run", "--bench", "router", "--profile", profile]
    command.append("--message-format=json-render-diagnostics")
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    built = {}
    for message in map(json.loads, lines):
        if message["reason"] == "compiler-artifact" and message["executable"]:
            built[(message["target"]["kind"][0], message["target"]["name"])] = message["executable"]
    subprocess.run(["mvn", "-q", "-B", "-ntp", "-f", PEER / "pom.xml", "package"], check=True)
    return built[("bin", "notilog")], built[("bench", "router")]


class Bench:
    def __init__(self, options, folder, built):
        self.options, self.folder = options, folder
        self.kafka, self.registry = os.environ["NOTILOG_KAFKA_PORT"], os.environ["NOTILOG_REGISTRY_PORT"]
        self.prefix = f"bench-router-{uuid.uuid4().hex[:8]}."
        self.cluster = Cluster(f"127.0.0.1:{self.kafka}", self.prefix)
        self.broker = process.broker()
        self.binary, self.tool = built
        self.configuration = contestants.configuration(
            self.prefix, folder, self.kafka, self.registry, options.shards
        )
        self.events, self.written = f"{self.prefix}notify.events.shop", 0
        self.decisions = f"{self.prefix}notify.decisions"
        self.outputs = [f"{self.prefix}notify.outbound.{channel}" for channel in ("email", "telegram")]
        self.outputs.append(self.decisions)

    def prepare(self):
        for what in ("schemas", "topics"):
            command = [self.binary, what, "apply", "--yes", "--config", self.configuration]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        self.fill("preferences", self.options.recipients)

    def call(self, *words):
        command = [self.tool, "--config", self.configuration, *map(str, words)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def fill(self, what, count, first=0):
        self.call("fill", what, "--first", first, "--count", count, "--recipients", self.options.recipients)

    def new_events(self, count):
        self.fill("events", count, self.written)
        self.written += count

    def digest(self, contestant):
        opaque = ["--opaque"] if contestant.name == "copy" else []
        return json.loads(self.call("digest", *opaque))

    def warm_up(self):
        """A small round that shows that all write the same, and how large the copy's records have to be."""
        options, prefix = self.options, self.prefix
        facts = json.loads(self.call("facts"))
        self.new_events(WARM_UP)
        router = contestants.notilog(self.binary, self.configuration, prefix)
        _, reference = self.run(router, WARM_UP)
        compare(router.name, reference, None, WARM_UP)
        copy = contestants.copy(self.tool, self.configuration, prefix, options.shards, reference)
        threads = [int(number) for number in options.streams_threads.split(",") if number]
        streams = [contestants.streams(facts, self.folder, prefix, self.kafka, number) for number in threads]
        wanted = options.only.split(",") if options.only else None
        others = [one for one in (copy, *streams) if wanted is None or one.name in wanted]
        builds = enumerate(options.other, 1)
        others += [contestants.notilog(binary, self.configuration, prefix, f"other-{nth}") for nth, binary in builds]
        for other in others:
            _, account = self.run(other, WARM_UP)
            compare(other.name, account, None if other is copy else reference, WARM_UP)
        return router, others

    def round(self, router, others):
        """Everyone once on the same new events; notilog first, because the others are compared with it."""
        events, reference, figures = self.options.events, None, {}
        self.new_events(events)
        for one in (router, *others):
            samples, account = self.run(one, events)
            compare(one.name, account, None if one.name == "copy" else reference, events)
            reference = reference or account
            figures[one.name] = steady(samples, events), transactions(account)
            say(f"  {one.name:<10} {figures[one.name][0].cpu_us:6.2f} µs of CPU an event")
        return figures

    def run(self, contestant, events):
        """Lets it work until all is routed; gives the samples and what it wrote."""
        self.cluster.make_anew(self.outputs)
        log_path = self.folder / f"{contestant.name}.log"
        with open(log_path, "ab") as log:
            child = contestant.start(log)
            try:
                samples = self.watch(child, contestant, events)
            except Failed as error:
                raise SystemExit(f"{contestant.name}: {error}; its last words:\n{tail(log_path)}") from error
            finally:
                process.end(child)
        return samples, self.digest(contestant)

    def watch(self, child, contestant, events):
        samples, deadline = [], time.monotonic() + PATIENCE_SECONDS
        inputs = [self.events, *contestant.inputs]
        while True:
            if child.poll() is not None:
                raise Failed(f"ended with {child.returncode} before its work")
            samples.append(self.sample(child.pid))
            if samples[-1].done >= events and self.cluster.is_at_end(contestant.group, inputs):
                return samples
            if time.monotonic() > deadline:
                raise Failed(f"only {samples[-1].done:,} of {events:,} events in {PATIENCE_SECONDS} s")
            time.sleep(POLL_SECONDS)

    def sample(self, pid):
        # The places of a few markers are counted with the decisions: one for each partition and transaction.
        done = sum(self.cluster.ends(self.decisions))
        return Sample(
            at=time.monotonic(),
            done=done,
            cpu=process.cpu(pid),
            broker_cpu=process.cpu(self.broker),
            busy=process.busy(),
            resident=process.resident(pid),
        )


class Failed(Exception):
    """A contestant did not do its work."""


def tail(path):
    return "\n".join(path.read_text(errors="replace").splitlines()[-20:])


def say(text):
    print(text, flush=True)


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-router-") as folder:
        binary, tool = build(options.cargo_profile)
        bench = Bench(options, Path(folder), (options.binary or binary, tool))
        try:
            say(f"{options.recipients:,} recipients, rounds of {options.events:,} events; a small round first")
            bench.prepare()
            router, others = bench.warm_up()
            rounds = []
            for number in range(options.rounds):
                say(f"round {number + 1} of {options.rounds}")
                rounds.append(bench.round(router, others))
        except Mismatch as error:
            sys.exit(f"invalid: {error}")
        except TooShort as error:
            sys.exit(str(error))
        finally:
            bench.cluster.delete_all()
    say(report.table(rounds))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(options, rounds), indent=2) + "\n")
    if options.chart:
        options.chart.write_text(chart.bars("CPU µs an event", by_name(rounds, "cpu_us")))


if __name__ == "__main__":
    main()
