"""What came of it, for people and for programs."""

import dataclasses
import statistics

from figures import middle
from report import made

HEAD = ["p50 ms", "p99 ms", "p99.9 ms", "CPU µs/event", "broker µs/event", "markers/event", "MB"]


def line(rate, interval, name, one):
    cells = [f"{value:.1f}" for value in (one.p50, one.p99, one.p999, one.cpu_us, one.broker_cpu_us)]
    cells += [f"{one.markers:.2f}", f"{one.resident_mb:.0f}"]
    return row(rate, interval, name, cells)


def row(rate, interval, name, cells):
    return f"{rate:>8}{interval:>9}  {name:<12}" + "".join(f"{cell:>16}" for cell in cells)


def table(rounds):
    """Medians, and notilog's ratios to the others within the rounds."""
    lines = [row("events/s", "interval", "medians", HEAD)]
    lines += [line(*key, middle(rounds, key)) for key in rounds[0]]
    lines.append("")
    for rate, interval, name in others(rounds):
        for figure in ("p50", "p99", "p999"):
            values = ratios(rounds, rate, interval, name, figure)
            each = " ".join(f"{value:.2f}" for value in values)
            what = f"{rate}/s, {interval} ms: notilog / {name}: {figure}"
            lines.append(f"{what:<48} {statistics.median(values):.2f}   (by round {each})")
    return "\n".join(lines)


def others(rounds):
    return [key for key in rounds[0] if key[2] != "notilog" and (key[0], key[1], "notilog") in rounds[0]]


def ratios(rounds, rate, interval, name, figure):
    """notilog's figure by another's, within each round."""
    return [
        getattr(one[rate, interval, "notilog"], figure) / getattr(one[rate, interval, name], figure) for one in rounds
    ]


def as_json(options, rounds):
    flat = lambda key, one: dict(zip(("rate", "interval_ms", "contestant"), key)) | dataclasses.asdict(one)
    return {
        **made(),
        "settings": {
            "recipients": options.recipients,
            "warm_up_seconds": options.warm_up,
            "seconds": options.seconds,
            "notilog": options.set,
        },
        "rounds": [[flat(key, one) for key, one in figures.items()] for figures in rounds],
    }
