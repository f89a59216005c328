"""Measures what a mail costs notilog: CPU for each, and the memory of those in flight.

In each round `notilog deliver` works through as many outbound records, from a queue that holds all of them when it starts,
to an SMTP server that takes each mail at once. Each mail must have come. Figures are of the steady half of each run.
"""

import argparse
import dataclasses
import datetime
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parents[1] / "webhook/harness"), str(HERE.parents[1] / "router/harness")]

import bench  # noqa: E402
import fill  # noqa: E402
import memory  # noqa: E402
import process  # noqa: E402
import senders  # noqa: E402
import table  # noqa: E402
from bench import WARM_UP, say, work  # noqa: E402
from steady import steady  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="benches/email/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deliveries", type=int, default=20_000, help="in each round")
    parser.add_argument("--connections", type=int, default=10, help="channels.email.max_connections")
    parser.add_argument("--binary", type=Path, help="a notilog that is built already")
    parser.add_argument("--memory", action="store_true", help="memory by mails in flight, and nothing else")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args()


class Outbounds(fill.Outbounds):
    def record(self, number, now):
        goods = [{"name": "Walking boots", "qty": 1}, {"name": "Socks", "qty": 3}]
        address = f"{fill.recipient(number)}@mail.example.org"
        data = json.dumps(fill.data(number) | {"items": goods}, separators=(",", ":"))
        return super().record(number, now) | {"channel": "email", "address": address, "data": data}


class Mailbox(bench.Receiver):
    program = HERE / "inbox.py"

    def __init__(self):
        super().__init__()
        self.smtp = int(self.process.stdout.readline())


class Mails(bench.Bench):
    channel, receives, fills = "email", Mailbox, Outbounds

    def settings(self):
        return f"""topics.channels = ["email"]

[channels.email]
host = "127.0.0.1"
port = {self.receiver.smtp}
tls = "none"
from = "Shop <shop@example.com>"
unsubscribe_url = "https://example.com/unsubscribe?n={{notification_id}}"
"""

    def sender(self, in_flight):
        connections = f"channels.email.max_connections={in_flight}"
        return senders.notilog(self.binary, self.configuration, self.prefix, self.channel, max(256, in_flight), connections)

    def prepare_others(self):
        """There are none."""


def compare(mails, options):
    mails.deliver(options.connections, WARM_UP)
    rounds = []
    for number in range(options.rounds):
        _, (samples, account) = mails.deliver(options.connections, options.deliveries)
        rounds.append({"notilog": (steady(samples, options.deliveries), account)})
        say(f"round {number + 1} of {options.rounds}: {1e6 / rounds[-1]['notilog'][0].cpu_us:,.0f} mails per CPU second")
    say(table.text(rounds))
    say(f"the receiver took {rounds[-1]['notilog'][1]['receiver_cpu_us']:.0f} µs a mail")
    return {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": process.machine(),
        "settings": {"deliveries": options.deliveries, "connections": options.connections},
        "rounds": [dataclasses.asdict(one["notilog"][0]) | one["notilog"][1] for one in rounds],
    }


def main():
    options = arguments()
    limits = (10, 64, 256)
    work(Mails, options, lambda mails: memory.measure(mails, say, limits) if options.memory else compare(mails, options))


if __name__ == "__main__":
    main()
