"""Measures how long events take from their producer's timestamp until their outbound record is visible under
read_committed: notilog's router and a Kafka Streams application at the same commit intervals, in rounds.

Events come at a steady rate. Each contestant in turn begins with new topics, is warmed up at that rate, and is then
measured for some seconds. Ratios are within a round.
"""

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "router/harness"))

import chart  # noqa: E402
import contestants  # noqa: E402
import process  # noqa: E402
import table  # noqa: E402
from bench import Failed, build, say, tail  # noqa: E402
from cluster import Cluster, settled  # noqa: E402
from contestants import ROOT  # noqa: E402
from figures import Figures, Mark, figures  # noqa: E402


def numbers(text):
    return [int(word) for word in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(prog="benches/latency/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rates", type=numbers, default=[1_000, 5_000], help="events a second, with commas")
    parser.add_argument("--intervals", type=numbers, default=[5, 10, 20, 100], help="commit intervals in milliseconds")
    parser.add_argument("--warm-up", type=int, default=8, help="seconds at the rate that are not measured")
    parser.add_argument("--seconds", type=int, default=15, help="that are measured")
    parser.add_argument("--recipients", type=int, default=20_000)
    parser.add_argument("--partitions", type=int, default=6, help="of each output")
    parser.add_argument("--lingers", type=numbers, default=[0], help="of Kafka Streams, a contestant for each")
    parser.add_argument("--only", default="", help="names of contestants, with commas")
    parser.add_argument("--set", action="append", default=[], help="a setting of notilog, as its command line takes it")
    parser.add_argument("--binary", type=Path, help="a notilog that is built already; needs --tool")
    parser.add_argument("--tool", type=Path, help="the tool of benches/router that is built already")
    help_other = "another build of notilog, beside this one, to see what a change does; may be given several times"
    parser.add_argument("--other", type=Path, action="append", default=[], metavar="BINARY", help=help_other)
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--chart", type=Path, help="file for a chart (SVG)")
    return parser.parse_args()


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder, self.runs = options, folder, 0
        self.broker = process.broker()
        self.binary, self.tool = (options.binary, options.tool) if options.binary else build("bench")

    def contestants(self, interval):
        """Name, and what starts it in a scene."""
        settings = [word for setting in self.options.set for word in ("--set", setting)]
        settings += ["--set", f"router.commit_interval={interval}ms"]
        for nth, binary in enumerate([self.binary, *self.options.other]):
            name = f"other-{nth}" if nth else "notilog"
            yield name, lambda scene, binary=binary: scene.notilog(binary, settings)
        for linger in self.options.lingers:
            name = f"streams-{linger}" if len(self.options.lingers) > 1 else "streams"
            yield name, lambda scene, linger=linger: scene.streams(contestants.prompt(interval, linger))

    def round(self):
        """Figures by rate, interval and contestant."""
        found, only = {}, [name for name in self.options.only.split(",") if name]
        for rate, interval in itertools.product(self.options.rates, self.options.intervals):
            for name, start in self.contestants(interval):
                if not only or name in only:
                    one = self.run(name, start, rate)
                    say(table.line(rate, interval, name, one))
                    found[rate, interval, name] = one
        return found

    def run(self, name, start, rate) -> Figures:
        self.runs += 1
        path = self.folder / f"{self.runs}.log"
        with Scene(self, self.folder / str(self.runs)) as scene, open(path, "ab") as log:
            child = start(scene).start(log)
            try:
                return self.measure(scene, child, rate)
            except Failed as error:
                raise SystemExit(f"{name}: {error}; its last words:\n{tail(path)}") from error
            finally:
                process.end(child)

    def measure(self, scene, child, rate):
        options = self.options
        words = ["--rate", rate, "--warm-up", options.warm_up, "--seconds", options.seconds]
        words += ["--recipients", options.recipients]
        command = scene.command("latency", *words)
        marks = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pacer:
            for line in pacer.stdout:
                word = line.strip()
                if word in ("begin", "end"):
                    marks[word] = self.mark(scene, child)
                else:
                    latencies = json.loads(word)
        if pacer.returncode or len(marks) < 2:
            raise Failed(f"the pacer ended with {pacer.returncode}")
        return figures(latencies, marks["begin"], marks["end"])

    def mark(self, scene, child):
        if child.poll() is not None:
            raise Failed(f"ended with {child.returncode} while it was measured")
        return Mark(
            cpu=process.cpu(child.pid),
            broker_cpu=process.cpu(self.broker),
            places=scene.places(),
            resident=process.resident(child.pid),
        )


class Scene:
    """Topics, preferences and files of one run; gone after it."""

    def __init__(self, bench, folder):
        kafka, registry = os.environ["NOTILOG_KAFKA_PORT"], os.environ["NOTILOG_REGISTRY_PORT"]
        self.folder, self.kafka, self.tool = folder, kafka, bench.tool
        self.prefix = f"bench-latency-{uuid.uuid4().hex[:8]}."
        self.cluster = Cluster(f"127.0.0.1:{kafka}", self.prefix)
        folder.mkdir()
        self.configuration = contestants.configuration(self.prefix, folder, kafka, registry, 1)
        with self.configuration.open("a") as more:
            more.writelines(f"topics.partitions.{name} = {bench.options.partitions}\n" for name in ("outbound", "decisions"))
        self.outputs = [f"{self.prefix}notify.{name}" for name in ("outbound.email", "outbound.telegram", "decisions")]
        for what in ("schemas", "topics"):
            command = [bench.binary, what, "apply", "--yes", "--config", self.configuration]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        settled(self.places)
        recipients = bench.options.recipients
        self.call("fill", "preferences", "--count", recipients, "--recipients", recipients)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cluster.delete_all()

    def command(self, *words):
        return [self.tool, "--config", self.configuration, *map(str, words)]

    def call(self, *words):
        return subprocess.run(self.command(*words), check=True, stdout=subprocess.PIPE, text=True).stdout

    def notilog(self, binary, settings):
        one = contestants.notilog(binary, self.configuration, self.prefix)
        return dataclasses.replace(one, command=[*one.command, *settings])

    def streams(self, changes):
        return contestants.streams(json.loads(self.call("facts")), self.folder, self.prefix, self.kafka, 1, changes)

    def places(self):
        """Ends of the outputs' logs, summed."""
        return sum(sum(self.cluster.ends(topic)) for topic in self.outputs)


def main():
    options = arguments()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-latency-") as folder:
        bench = Bench(options, Path(folder))
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            rounds.append(bench.round())
    say(table.table(rounds))
    if options.json:
        options.json.write_text(json.dumps(table.as_json(options, rounds), indent=2) + "\n")
    if options.chart:
        options.chart.write_text(chart.draw(rounds))


if __name__ == "__main__":
    main()
