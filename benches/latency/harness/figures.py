"""From what the pacer and the kernel say to the figures of a run: pure."""

import dataclasses
import statistics
from dataclasses import dataclass

# Outbound records and decisions of an event of this benchmark.
RECORDS_PER_EVENT = 3


@dataclass(frozen=True)
class Mark:
    """Taken when the window begins and when it ends."""

    cpu: float
    broker_cpu: float
    # Ends of the outputs' logs, summed: records, and the markers of transactions.
    places: int
    resident: float


@dataclass(frozen=True)
class Figures:
    """Latencies in milliseconds; CPU in microseconds an event; markers an event."""

    p50: float
    p99: float
    p999: float
    most: float
    cpu_us: float
    broker_cpu_us: float
    markers: float
    resident_mb: float
    # How late the pacer was itself, in milliseconds.
    pacer_p99: float
    events: int


def figures(latencies, begin, end):
    events = latencies["events"]
    ms = lambda name: latencies[name] / 1_000
    return Figures(
        p50=ms("p50"),
        p99=ms("p99"),
        p999=ms("p999"),
        most=ms("max"),
        cpu_us=(end.cpu - begin.cpu) / events * 1e6,
        broker_cpu_us=(end.broker_cpu - begin.broker_cpu) / events * 1e6,
        markers=(end.places - begin.places) / events - RECORDS_PER_EVENT,
        resident_mb=end.resident,
        pacer_p99=ms("pacer_p99"),
        events=events,
    )


def middle(rounds, key):
    """The median of each figure of one contestant at one rate and interval."""
    values = [dataclasses.asdict(one[key]) for one in rounds]
    return Figures(**{name: statistics.median([one[name] for one in values]) for name in values[0]})
