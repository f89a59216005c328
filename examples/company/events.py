#!/usr/bin/env python3
"""What happens in the demo's company: a shop, a monitoring system and a bank, in the words of notilog's Event.

The same seed gives the same events. Times are kept as `timedelta`s from the moment of producing. Knows nothing of
Kafka or channels, as a producer should; `python events.py --events 5` shows some.
"""

import argparse
import itertools
import json
import random
from dataclasses import dataclass
from datetime import timedelta

PACE = 100  # events a second
ODDITIES_UNTIL = 0.7  # of the whole: what is slow to be settled should not come last

CUSTOMERS = [
    "ada.lindqvist", "bruno.keller", "chiara.moreau", "elif.yildiz", "farid.haddad", "hiro.tanabe", "iwona.zielinska",
    "jonas.weber", "kiri.walker", "lucia.ortega", "mina.rao", "noah.fischer", "olga.marin", "parcels.partner",
]  # fmt: skip
RARE_CUSTOMERS = ["dario.fontaine", "greta.nyman", "quinn.former", "zoe.stranger"]
BANK_CUSTOMERS = [name for name in CUSTOMERS if name != "parcels.partner"]
READERS = [name for name in CUSTOMERS + RARE_CUSTOMERS if name != "parcels.partner"]

GOODS = [
    ("Walking boots", 12900), ("Rain jacket", 8950), ("Enamel mug", 1490), ("Wool socks", 1250), ("Head torch", 3990),
    ("Tent for two", 24900), ("Sleeping mat", 6490), ("Trail map", 1190), ("Water filter", 4450), ("Pocket knife", 2990),
]  # fmt: skip
CARRIERS = ["Yellow Parcel", "Northern Post", "Bike Couriers"]
LETTERS = [
    ("Autumn on the coast", "Three walks that are best when everyone else has gone home."),
    ("Mend, do not bin", "Bring your old jacket: our workshop is open on Saturdays."),
    ("What the huts need", "Volunteers wanted for one weekend in spring."),
]
SERVICES = ["checkout", "search", "ledger", "card-gateway", "warehouse-sync", "mail-relay"]
TROUBLES = ["5xx above 2 %", "p99 above 1.5 s", "disk 91 % full", "replication lag 40 s", "certificate ends in 6 days"]
DEVICES = ["Firefox on Linux", "an Android phone", "Safari on an iPad", "Edge on Windows"]
CITIES = ["Graz", "Lyon", "Porto", "Turku", "Gdynia", "Lima", "Osaka"]
CARD_REASONS = ["reported lost", "unusual payments abroad", "wrong PIN three times"]


@dataclass
class Planned:
    """One record to produce: an event, or bytes that are none; and how its recipient's preferences change around it."""

    at: float  # seconds after the first
    domain: str
    key: str | None
    event: dict | None
    raw: bytes | None = None
    before: dict | None = None  # preferences that another program writes first
    later: tuple[float, dict] | None = None  # and some seconds after


class Company:
    """Makes events one after another; `run` is part of each id, so that no two runs share one."""

    def __init__(self, seed: int, run: str):
        self.random = random.Random(seed)
        self.run = run
        self.number = itertools.count(1)
        self.orders = itertools.count(self.random.randrange(10_000, 90_000))
        self.firing: list[tuple[str, str, str]] = []

    def plan(self, count: int) -> list[Planned]:
        """`count` events at a steady pace; the odd ones, one of each kind, lie scattered among the first."""
        kinds = self.oddities()
        oddities = [kind() for kind in self.random.sample(kinds, min(len(kinds), count // 2))]
        early = max(len(oddities), int(count * ODDITIES_UNTIL))
        places = dict(zip(self.random.sample(range(early), len(oddities)), oddities))
        return [self.numbered(places.get(n) or self.usual(), n / PACE) for n in range(count)]

    def usual(self) -> Planned:
        makers = [self.order_placed, self.order_shipped, self.newsletter, self.alert, self.login, self.card, self.transfer]
        return self.random.choices(makers, weights=[34, 24, 2, 20, 9, 3, 8])[0]()

    def numbered(self, planned: Planned, at: float) -> Planned:
        planned.at = at
        number = next(self.number)
        if planned.event is not None:
            planned.event["id"] = f"{planned.domain}-{self.run}-{number:04}"
        return planned

    def event(self, domain: str, source: str, kind: str, category: str, recipients: list[str], data, /, **more) -> Planned:
        value = {
            "id": "",
            "source": source,
            "type": kind,
            "time": timedelta(milliseconds=-self.random.randrange(2, 40)),
            "tenant": "default",
            "category": category,
            "priority": "NORMAL",
            "recipients": recipients,
            "data": data if isinstance(data, str) else json.dumps(data, ensure_ascii=False),
        } | more
        key = f"default/{recipients[0]}" if len(recipients) == 1 else None
        return Planned(0, domain, key, value)

    # The shop.

    def customer(self) -> str:
        return self.random.choice(RARE_CUSTOMERS if self.random.random() < 0.06 else CUSTOMERS)

    def order_data(self) -> dict:
        goods = [(name, price, self.random.randrange(1, 4)) for name, price in self.random.sample(GOODS, 2)]
        return {
            "order_id": f"SO-{next(self.orders)}",
            "items": [{"name": name, "qty": count} for name, _, count in goods],
            "total": sum(price * count for _, price, count in goods) / 100,
            "currency": "EUR",
        }

    def order(self, kind: str, data, who: str | None = None, **more) -> Planned:
        return self.event("shop", "shop/orders", kind, "orders", [who or self.customer()], data, **more)

    def order_placed(self) -> Planned:
        return self.order("order.placed", self.order_data())

    def order_shipped(self) -> Planned:
        tracking = f"NP{self.random.randrange(10**9, 10**10)}"
        data = self.order_data() | {"carrier": self.random.choice(CARRIERS), "tracking": tracking}
        return self.order("order.shipped", data)

    def newsletter(self, **more) -> Planned:
        title, text = self.random.choice(LETTERS)
        readers = self.random.sample(READERS, 8)
        data = {"title": title, "text": text}
        return self.event("shop", "shop/letters", "newsletter.issue", "marketing", readers, data, priority="LOW", **more)

    # The monitoring system.

    def alert(self, who: list[str] | None = None, **more) -> Planned:
        if self.firing and self.random.random() < 0.45:
            state = "resolved"
            service, summary, severity = self.firing.pop(self.random.randrange(len(self.firing)))
        else:
            state = "firing"
            severity = self.random.choices(["warning", "critical"], weights=[7, 3])[0]
            service, summary = self.random.choice(SERVICES), self.random.choice(TROUBLES)
            self.firing.append((service, summary, severity))
        if who is None:
            who = self.random.choices([["oncall.rosa"], ["oncall.samir"], ["oncall.rosa", "oncall.samir"]], [6, 3, 1])[0]
            who = who + (["oncall.status-page"] if self.random.random() < 0.03 else [])
        data = {"service": service, "severity": severity, "state": state, "summary": f"{service}: {summary}"}
        data["url"] = f"https://monitoring.example.org/alerts/{service}"
        priority = {"critical": "CRITICAL", "warning": "HIGH"}[severity] if state == "firing" else "NORMAL"
        given = {"priority": priority} | more
        return self.event("monitoring", "monitoring/alerts", f"alert.{state}", "monitoring", who, data, **given)

    # The bank.

    def security(self, kind: str, data: dict, who: str | None = None, **more) -> Planned:
        given = {"priority": "HIGH"} | more
        recipient = who or self.random.choice(BANK_CUSTOMERS)
        return self.event("bank", "bank/security", kind, "security", [recipient], data, **given)

    def login(self, **more) -> Planned:
        data = {"device": self.random.choice(DEVICES), "city": self.random.choice(CITIES), "at": "2026-11-20T17:42:00Z"}
        return self.security("login.new_device", data, **more)

    def card(self) -> Planned:
        last4 = f"{self.random.randrange(10_000):04}"
        return self.security("card.blocked", {"card_last4": last4, "reason": self.random.choice(CARD_REASONS)})

    def transfer(self, **more) -> Planned:
        account = f"DE•• •••• •••• {self.random.randrange(10_000):04}"
        data = {"amount": self.random.randrange(5_000, 40_000), "currency": "EUR", "to_masked": account}
        who = [self.random.choice(BANK_CUSTOMERS)]
        return self.event("bank", "bank/payments", "transfer.large", "payments", who, data, **more)

    # People of one run only, whose preferences change while notilog works.

    def someone(self, name: str, **more) -> dict:
        user = f"{name}.{self.run}"
        mail = {"channel": "email", "address": f"{user}@example.org", "verified": True}
        return {"user_id": user, "locale": "en", "timezone": "Europe/Lisbon", "endpoints": [mail]} | more

    def welcome(self) -> Planned:
        """Overtakes the sign-up that it is about."""
        nora = self.someone("nora")
        planned = self.event("shop", "shop/accounts", "account.welcome", "account", [nora["user_id"]], {"title": "Welcome"})
        planned.later = (2, nora)
        return planned

    def order_of(self, before: dict, later: dict | None = None, **more) -> Planned:
        planned = self.order("order.placed", self.order_data(), before["user_id"], **more)
        planned.before, planned.later = before, later and (3, later)
        return planned

    # What should not happen, and does.

    def oddities(self) -> list:
        orders, seconds, hours = self.order_data, lambda n: timedelta(seconds=n), lambda n: timedelta(hours=n)
        placed, no_orders = "order.placed", {"orders": {"enabled": False}}
        moved = [{"channel": "email", "address": f"will.new.{self.run}@example.org", "verified": True}]

        def recipients(names: list[str]) -> Planned:
            return self.event("shop", "shop/letters", "newsletter.issue", "marketing", names, {"title": "All", "text": "of you"})

        return [
            # Too late, too early.
            lambda: self.transfer(expires_at=seconds(-60)),
            lambda: self.alert(time=hours(-2)),
            lambda: self.order(placed, orders(), "ada.lindqvist", not_before=seconds(6)),
            lambda: self.order("order.delivered", {"title": "Tomorrow"}, "noah.fischer", not_before=hours(20)),
            # Nobody, or nobody who can be reached.
            lambda: self.order(placed, orders(), "zoe.stranger"),
            lambda: self.order(placed, orders(), "quinn.former"),
            lambda: self.order(placed, orders(), "greta.nyman"),
            lambda: self.order(placed, orders(), "jonas.weber"),
            lambda: self.order(placed, orders(), "hiro.tanabe"),
            lambda: self.order(placed, orders(), "farid.haddad"),
            lambda: self.order(placed, orders(), "dario.fontaine"),
            # Preferences that came late, that nobody can read, that change while a notification waits.
            self.welcome,
            lambda: self.order_of(self.someone("otto", timezone="Europe/Atlantis")),
            lambda: self.order_of(self.someone("vera"), self.someone("vera", categories=no_orders), not_before=seconds(6)),
            lambda: self.order_of(self.someone("will"), self.someone("will", endpoints=moved), not_before=seconds(6)),
            lambda: self.order_of(self.someone("xena"), not_before=seconds(6), expires_at=seconds(4)),
            lambda: self.event("shop", "shop/letters", "newsletter.issue", "marketing", ["mina.rao"], {"title": "For Mina", "text": "…"}),
            # Channels that nobody wants, or that do not exist.
            lambda: self.newsletter(channels=["sms"]),
            lambda: self.login(channels=["telegram"]),
            lambda: self.order(placed, orders(), channels=["fax"]),
            # Templates that do not exist, or that need more than the event says.
            lambda: self.order("order.delivered", {}, "ada.lindqvist", template="gift_card"),
            lambda: self.order(placed, {"order_id": "SO-1"}, "chiara.moreau"),
            # A provider that is busy, one that is slow to want more, an endpoint that is gone for good.
            lambda: self.alert(["oncall.rosa", "oncall.samir", "oncall.status-page"]),
            # Breaches of the contract.
            lambda: self.order(placed, orders(), priority="CRITICAL"),
            lambda: self.order("login.new_device", orders(), category="security"),
            lambda: self.order(placed, orders(), tenant=""),
            lambda: self.order(placed, orders(), category=""),
            lambda: self.order(placed, orders(), category="weather"),
            lambda: self.order(placed, '{"order_id": "SO-2",'),
            lambda: recipients([]),
            lambda: recipients([f"reader.{n}" for n in range(1_001)]),
            lambda: self.event("shop", "shop/letters", "newsletter.issue", "marketing", [], {}, audience="everyone"),
            # Not even events.
            lambda: Planned(0, "shop", None, None, b'{"order": "in plain JSON, from a script nobody owns"}'),
            lambda: Planned(0, "bank", None, None, bytes([0]) + (999_999_999).to_bytes(4, "big") + b"of another registry"),
            lambda: Planned(0, "monitoring", None, None, b""),
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for planned in Company(options.seed, "show").plan(options.events):
        value = planned.event or {"bytes": (planned.raw or b"").hex()}
        print(json.dumps({"at": round(planned.at, 3), "domain": planned.domain} | value, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
