"""What came of it, for people and for programs."""

import dataclasses
import datetime
import os
from pathlib import Path

from steady import median, ratios

COLUMNS = ["per CPU second", "CPU µs each", "each second", "MB", "broker µs each", "body B", "sent twice", "other cores"]


def cells(figures, account):
    return [
        f"{1e6 / figures.cpu_us:,.0f}",
        f"{figures.cpu_us:.0f}",
        f"{figures.per_second:,.0f}",
        f"{figures.resident_mb:,.0f}",
        f"{figures.broker_cpu_us:.0f}",
        f"{account['body_bytes'] / account['requests']:.0f}",
        f"{account['requests'] - account['distinct']:,}",
        f"{figures.other_cores:.2f}",
    ]


def text(rounds):
    """Every round, then the medians, then notilog's ratios within the rounds."""
    names = list(rounds[0])
    lines = [row("", "", COLUMNS)]
    for number, figures in enumerate(rounds, 1):
        lines += [row(f"round {number}", name, cells(*figures[name])) for name in names]
    lines += [row("median", name, cells(*middle(rounds, name))) for name in names]
    lines.append("")
    for name in names[1:]:
        each = per_cpu_second(rounds, name)
        by_round = " ".join(f"{value:.1f}" for value in each)
        lines.append(f"notilog / {name}: deliveries per CPU second {median(each):.1f}   (by round {by_round})")
        each = ratios(plain(rounds), "notilog", name, "resident_mb")
        by_round = " ".join(f"{value:.2f}" for value in each)
        lines.append(f"notilog / {name}: memory {median(each):.2f}   (by round {by_round})")
    return "\n".join(lines)


def per_cpu_second(rounds, name):
    return ratios(plain(rounds), name, "notilog", "cpu_us")


def row(first, second, cells):
    return f"{first:<9}{second:<9}" + "".join(f"{cell:>16}" for cell in cells)


def plain(rounds):
    return [{name: figures for name, (figures, _) in one.items()} for one in rounds]


def middle(rounds, name):
    values = [one[name] for one in rounds]
    fields = {
        field.name: median([getattr(figures, field.name) for figures, _ in values])
        for field in dataclasses.fields(values[0][0])
    }
    accounts = {what: sum(account[what] for _, account in values) for what in values[0][1]}
    return dataclasses.replace(values[0][0], **fields), accounts


def as_json(options, rounds):
    return {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "cpu": cpu_model(), "kernel": os.uname().release},
        "settings": {
            "deliveries": options.deliveries,
            "max_in_flight": options.max_in_flight,
            "apprise_threads": options.apprise_threads,
        },
        "rounds": [
            {name: dataclasses.asdict(figures) | account for name, (figures, account) in one.items()} for one in rounds
        ],
        "per_cpu_second_ratios": {name: per_cpu_second(rounds, name) for name in list(rounds[0])[1:]},
    }


def cpu_model():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
