"""What came of it, for people and for programs."""

import dataclasses
import datetime
import os
import subprocess
from pathlib import Path

from contestants import COMMIT_INTERVAL_MS, EVENT_PARTITIONS, JVM, ROOT
from steady import median, ratios

COLUMNS = ["CPU µs/event", "events/s", "MB", "broker µs/event", "transactions", "other cores"]


def cells(figures, transactions):
    return [
        f"{figures.cpu_us:.2f}",
        f"{figures.per_second:,.0f}",
        f"{figures.resident_mb:,.0f}",
        f"{figures.broker_cpu_us:.2f}",
        f"{transactions:,}",
        f"{figures.other_cores:.2f}",
    ]


def table(rounds):
    """Every round, then the medians, then notilog's ratios within the rounds."""
    names = list(rounds[0])
    lines = [row("", "", COLUMNS)]
    for number, figures in enumerate(rounds, 1):
        lines += [row(f"round {number}", name, cells(*figures[name])) for name in names]
    lines += [row("median", name, medians(rounds, name)) for name in names]
    lines.append("")
    for name in names[1:]:
        for figure, words in FIGURES.items():
            values = ratios(plain(rounds), "notilog", name, figure)
            each = " ".join(f"{value:.2f}" for value in values)
            lines.append(f"notilog / {name}: {words:<14} {median(values):.2f}   (by round {each})")
    return "\n".join(lines)


FIGURES = {"cpu_us": "CPU an event", "per_second": "events/s", "resident_mb": "memory"}


def row(first, second, cells):
    return f"{first:<9}{second:<11}" + "".join(f"{cell:>16}" for cell in cells)


def plain(rounds):
    return [{name: figures for name, (figures, _) in one.items()} for one in rounds]


def medians(rounds, name):
    values = [one[name] for one in rounds]
    middle = {
        field.name: median([getattr(figures, field.name) for figures, _ in values])
        for field in dataclasses.fields(values[0][0])
    }
    return cells(dataclasses.replace(values[0][0], **middle), round(median([count for _, count in values])))


def as_json(options, rounds):
    names = list(rounds[0])
    return {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": output("git", "rev-parse", "HEAD"),
        "machine": {"cores": os.cpu_count(), "cpu": cpu_model(), "kernel": os.uname().release},
        "settings": {
            "events": options.events,
            "recipients": options.recipients,
            "event_partitions": EVENT_PARTITIONS,
            "commit_interval_ms": COMMIT_INTERVAL_MS,
            "shards": options.shards,
            "jvm": JVM,
        },
        "rounds": [
            {name: dataclasses.asdict(figures) | {"transactions": count} for name, (figures, count) in one.items()}
            for one in rounds
        ],
        "ratios": {
            name: {
                figure: {"by_round": values, "median": median(values)}
                for figure in FIGURES
                for values in [ratios(plain(rounds), "notilog", name, figure)]
            }
            for name in names[1:]
        },
    }


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def cpu_model():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
