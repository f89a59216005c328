"""Measures notilog's router alone over one thing at a time: shards, partitions, recipients, fan-out, size of events.

Each point of a sweep has topics, recipients and a state folder of its own. In each round every point in turn routes new
events; figures are of the steady half of a run, ratios within a round, to the point that all sweeps have in common.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import chart
import contestants
import report
from bench import WARM_UP, Bench, build, say
from digests import Mismatch
from steady import TooShort, by_name, median, middle, plain, ratios, steady


@dataclass(frozen=True)
class Point:
    """How one measurement is set up."""

    shards: int = 1
    partitions: int = contestants.EVENT_PARTITIONS
    recipients: int = 500_000
    endpoints: int = 2
    event_bytes: int = 220
    # Fewer where each makes many outputs or is large.
    events: int = 300_000


COMMON = Point()

SWEEPS = {
    "shards": ("shards", [1, 2, 4]),
    "partitions": ("partitions", [1, 2, 4, 8, 12, 16, 32, 64]),
    "recipients": ("recipients", [10_000, 100_000, 500_000, 1_000_000, 2_000_000]),
    "fan-out": ("endpoints", [1, 2, 5, 20]),
    "size": ("event_bytes", [220, 1_000, 5_000, 20_000]),
}


def points(sweep, values, events):
    """By the swept value; the common one is among them."""
    field, usual = SWEEPS[sweep]
    chosen = sorted({*(values or usual), getattr(COMMON, field)})
    return {value: dataclasses.replace(COMMON, **{field: value}, events=shorter(events, field, value)) for value in chosen}


def shorter(events, field, value):
    """So that a round of many or large outputs takes no longer than others by much."""
    divisor = {"endpoints": max(1, value // 5), "event_bytes": max(1, value // 5_000)}.get(field, 1)
    return events // divisor


class Spot(Bench):
    """The bench of one point."""

    def __init__(self, point, folder, built):
        folder.mkdir()
        super().__init__(point, folder, built)
        self.configuration = contestants.configuration(
            self.prefix, folder, self.kafka, self.registry, point.shards, point.partitions
        )
        self.router = contestants.notilog(self.binary, self.configuration, self.prefix)

    def fill(self, what, count, first=0):
        words = ["--first", first, "--count", count]
        for name in ("recipients", "endpoints", "event_bytes"):
            words += [f"--{name.replace('_', '-')}", getattr(self.options, name)]
        self.call("fill", what, *words)

    def digest(self, contestant):
        return json.loads(self.call("digest", "--opaque"))

    def warm_up(self):
        """A small run that must be right, after which the snapshot lies there and the group has read the preferences."""
        self.new_events(WARM_UP)
        _, account = self.run(self.router, WARM_UP)
        counted(account, WARM_UP, self.options.endpoints)

    def figures(self, events):
        self.new_events(events)
        samples, account = self.run(self.router, events)
        counted(account, events, self.options.endpoints)
        return steady(samples, events)


def counted(account, events, endpoints):
    """Each event must have its decision and a record for each endpoint; channels have those in turn. What the records hold
    is compared by benches/router/run."""
    expected = {"email": (endpoints + 1) // 2 * events, "telegram": endpoints // 2 * events, "decisions": events}
    for topic, records in expected.items():
        if account[topic]["records"] != records:
            raise Mismatch(f"{account[topic]['records']:,} records in {topic}, not {records:,}")


def arguments():
    parser = argparse.ArgumentParser(prog="benches/router/scale", description=__doc__)
    parser.add_argument("--sweep", choices=SWEEPS, required=True)
    parser.add_argument("--values", default="", help="other values than the usual ones, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=COMMON.events, help="in each run; fewer of many or large outputs")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--chart", type=Path, help="file for a chart (SVG)")
    parser.add_argument("--cargo-profile", default="bench", help="dev: to work on the benchmark itself")
    parser.add_argument("--built", type=Path, nargs=2, metavar=("NOTILOG", "TOOL"), help="binaries that are there already")
    return parser.parse_args()


def measured(benches, rounds):
    """Rounds over all points: {value: figures}."""
    found = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        figures = {}
        for value, bench in benches.items():
            figures[value] = bench.figures(bench.options.events), None
            say(f"  {value:>12,} {figures[value][0].cpu_us:7.2f} µs of CPU an event")
        found.append(figures)
    return found


def table(sweep, rounds, common):
    """The medians of each point, and its ratio to the common one within rounds."""
    lines = [f"| {sweep} | CPU µs/event (rounds) | × {common:,} | events/s | resident MB | broker µs/event | other cores |"]
    lines.append("|" + "---|" * 7)
    for value in rounds[0]:
        figures = middle(rounds, value)
        each = ", ".join(f"{one[value].cpu_us:.1f}" for one in plain(rounds))
        times = median(ratios(plain(rounds), value, common, "cpu_us"))
        lines.append(
            f"| {value:,} | {figures.cpu_us:.1f} ({each}) | {times:.2f} | {figures.per_second:,.0f} | "
            f"{figures.resident_mb:,.0f} | {figures.broker_cpu_us:.1f} | {figures.other_cores:.2f} |"
        )
    return "\n".join(lines)


def as_json(options, rounds, benches):
    return {
        **report.made(),
        "sweep": options.sweep,
        "points": {str(value): dataclasses.asdict(bench.options) for value, bench in benches.items()},
        "rounds": [{str(value): dataclasses.asdict(one) for value, one in each.items()} for each in plain(rounds)],
    }


def main():
    options = arguments()
    field, _ = SWEEPS[options.sweep]
    built = options.built or build(options.cargo_profile)
    values = [int(value) for value in options.values.split(",") if value]
    benches, common = {}, getattr(COMMON, field)
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        try:
            for value, point in points(options.sweep, values, options.events).items():
                say(f"{options.sweep} {value:,}: recipients and a small run")
                benches[value] = Spot(point, Path(folder) / str(value), built)
                benches[value].prepare()
                benches[value].warm_up()
            rounds = measured(benches, options.rounds)
        except Mismatch as error:
            sys.exit(f"invalid: {error}")
        except TooShort as error:
            sys.exit(str(error))
        finally:
            for bench in benches.values():
                bench.cluster.delete_all()
    say(table(options.sweep, rounds, common))
    if options.json:
        options.json.write_text(json.dumps(as_json(options, rounds, benches), indent=1) + "\n")
    if options.chart:
        cpu = by_name(rounds, "cpu_us")
        options.chart.write_text(chart.line(f"CPU µs an event over {options.sweep}", options.sweep, cpu))


if __name__ == "__main__":
    main()
