"""What came of it, for people and for programs."""

import dataclasses
import datetime

import process
from steady import median, middle, plain, ratios

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
    lines += [row("median", name, medians(rounds, name)) for name in names]
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


def medians(rounds, name):
    accounts = [one[name][1] for one in rounds]
    return cells(middle(rounds, name), {what: sum(account[what] for account in accounts) for what in accounts[0]})


def as_json(options, rounds):
    return {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": process.machine(),
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
