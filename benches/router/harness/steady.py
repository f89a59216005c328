"""From samples of a run to its figures: pure."""

import dataclasses
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """Taken while a contestant works: seconds, events done, CPU seconds and MB."""

    at: float
    done: int
    cpu: float
    broker_cpu: float
    busy: float
    resident: float


@dataclass(frozen=True)
class Figures:
    """Of the steady part of a run: between a quarter and three quarters of its events."""

    cpu_us: float
    per_second: float
    resident_mb: float
    broker_cpu_us: float
    # Cores that neither the contestant nor the broker used: what else went on.
    other_cores: float
    seconds: float


class TooShort(Exception):
    """There is no steady part to speak of."""


def steady(samples, events):
    """The figures between the first sample past a quarter of the events and the last one before three quarters."""
    inside = [sample for sample in samples if events * 0.25 <= sample.done <= events * 0.75]
    if len(inside) < 3:
        raise TooShort(f"only {len(inside)} samples between a quarter and three quarters: take more --events")
    first, last = inside[0], inside[-1]
    seconds, done = last.at - first.at, last.done - first.done
    cpu, broker = last.cpu - first.cpu, last.broker_cpu - first.broker_cpu
    return Figures(
        cpu_us=cpu / done * 1e6,
        per_second=done / seconds,
        resident_mb=max(sample.resident for sample in inside),
        broker_cpu_us=broker / done * 1e6,
        other_cores=(last.busy - first.busy - cpu - broker) / seconds,
        seconds=seconds,
    )


def ratios(rounds, of, to, figure):
    """One contestant's figure by another's, within each round: what differs between rounds is left out of it."""
    return [getattr(one[of], figure) / getattr(one[to], figure) for one in rounds]


def median(values):
    return statistics.median(values)


def plain(rounds):
    """Rounds of (figures, something else) without the something else."""
    return [{name: figures for name, (figures, _) in one.items()} for one in rounds]


def by_name(rounds, figure):
    """One figure of each contestant in every round: `{name: [value]}`."""
    return {name: [getattr(one[name], figure) for one in plain(rounds)] for name in rounds[0]}


def middle(rounds, name):
    """The median of each figure of one contestant."""
    values = [one[name] for one in plain(rounds)]
    fields = {
        field.name: median([getattr(figures, field.name) for figures in values])
        for field in dataclasses.fields(values[0])
    }
    return dataclasses.replace(values[0], **fields)
