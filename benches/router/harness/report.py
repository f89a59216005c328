"""What came of it, for people and for programs."""

import dataclasses
import datetime
import subprocess

import process
from contestants import COMMIT_INTERVAL_MS, EVENT_PARTITIONS, JVM, ROOT
from steady import median, middle, plain, ratios

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


def medians(rounds, name):
    counts = [one[name][1] for one in rounds]
    return cells(middle(rounds, name), round(median(counts)))


def as_json(options, rounds):
    names = list(rounds[0])
    return {
        **made(),
        "settings": {
            "binary": str(options.binary) if options.binary else "cargo's release build",
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


def made():
    """When figures were taken, of what and where."""
    return {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": output("git", "rev-parse", "HEAD"),
        "machine": process.machine(),
    }


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
