"""The demo's account must not be content with what does not add up: each of these breaks one thing."""

import unittest
from datetime import UTC, datetime, timedelta

from ledger import Ledger
from providers import Taken
from summary import Summary
from topics import Record

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
EVENT = {"tenant": "default", "source": "shop", "id": "e-1", "type": "order.placed", "category": "orders"}
ABOUT = {"tenant": "default", "source": "shop", "event_id": "e-1"}
NOTE = {"notification_id": "n-1", "channel": "email"}


def event(**more):
    return Record("notify.events.shop", 0, 7, NOW_MS, {}, EVENT | more)


def decision(verdict="ROUTED", reason="routed", user="ada", note=True, until=None):
    outcome = {"user_id": user, "channel": "email", "verdict": verdict, "reason": reason, "until": until}
    outcome["notification_id"] = NOTE["notification_id"] if note else None
    return Record("notify.decisions", 0, 0, NOW_MS, {}, ABOUT | {"outcomes": [outcome]})


def outbound(topic="notify.outbound.email", **headers):
    return Record(topic, 0, 0, NOW_MS, headers, ABOUT | NOTE)


def status(state, reason="accepted", attempt=1):
    value = NOTE | {"state": state, "reason": reason, "attempt": attempt, "occurred_at": NOW, "provider_message_id": None}
    return Record("notify.delivery-status", 0, 0, NOW_MS, {}, value)


def letter(offset=7, reason="not_an_event"):
    headers = {"__dlq.errors.topic": "notify.events.shop", "__dlq.errors.partition": "0"}
    headers |= {"__dlq.errors.offset": str(offset), "notify-reason": reason}
    return Record("dlq.notify.events", 0, 0, NOW_MS, headers)


GOOD = [event(), decision(), outbound(), status("SENT")]


def account(records, taken=("n-1",), produced=1):
    ledger = Ledger()
    for record in records:
        ledger.take(record)
    providers = {channel: Taken() for channel in ("email", "telegram", "webhook")}
    providers["email"].ids.update(taken)
    return Summary(ledger, produced, providers, "e-", NOW_MS)


def end_of(summary):
    return [end for end, events in summary.ends.items() if events]


class Account(unittest.TestCase):
    def test_what_was_sent_and_taken_is_delivered(self):
        summary = account(GOOD)
        self.assertEqual((end_of(summary), summary.findings), (["delivered"], []))

    def test_topics_may_be_read_in_any_order(self):
        summary = account(GOOD[::-1])
        self.assertEqual((end_of(summary), summary.findings), (["delivered"], []))

    def test_an_event_without_a_decision_is_a_finding(self):
        self.assertEqual(account([event()], taken=()).findings, ["event e-1: no decision"])

    def test_an_event_that_is_not_on_the_topics_is_a_finding(self):
        self.assertIn("2 events were produced and 1 are on the topics", account(GOOD, produced=2).findings)

    def test_a_notification_that_never_ends_is_a_finding(self):
        self.assertIn("event e-1: email QUEUED", account(GOOD[:3], taken=()).findings)

    def test_a_decision_without_an_outbound_record_is_a_finding(self):
        records = [event(), decision(), status("SENT")]
        self.assertIn("notification n-1 (email): decided, but no outbound record", account(records).findings)

    def test_an_outbound_record_that_is_there_twice_is_a_finding(self):
        self.assertIn("written 2 times", account([*GOOD, outbound()]).findings[0])

    def test_what_the_provider_did_not_take_is_a_finding(self):
        self.assertIn("its provider took it 0 times", account(GOOD, taken=()).findings[0])

    def test_what_the_provider_took_twice_is_a_finding(self):
        self.assertIn("its provider took it 2 times", account(GOOD, taken=("n-1", "n-1")).findings[0])

    def test_what_the_provider_took_without_a_status_is_a_finding(self):
        records = [*GOOD[:3], status("FAILED", "blocked")]
        self.assertIn("of which no status says SENT", account(records).findings[0])

    def test_a_wrong_signature_is_a_finding(self):
        summary = account(GOOD)
        summary.taken["webhook"].unverified = 1
        summary._find()
        self.assertIn("webhook: 1 requests with a wrong signature", summary.findings)

    def test_dead_without_a_dead_letter_is_a_finding(self):
        records = [*GOOD[:3], status("DEAD", "attempts_exhausted", 5)]
        self.assertIn("DEAD with 0 dead letters", account(records, taken=()).findings[0])

    def test_what_waits_for_long_is_waiting_and_what_waits_for_short_is_unaccounted(self):
        def waiting(seconds):
            until = NOW + timedelta(seconds=seconds)
            tier = outbound("notify.outbound.email.retry.1h", **{"notify-not-before-ms": str(int(until.timestamp() * 1000))})
            return account([event(), decision("DEFERRED", "quiet_hours", until=until), tier], taken=())

        self.assertEqual((end_of(waiting(3600)), waiting(3600).findings), (["waiting"], []))
        self.assertEqual(end_of(waiting(5)), ["unaccounted"])

    def test_a_decision_after_the_sign_up_replaces_the_waiting(self):
        first = decision("DEFERRED", "unknown_recipient", note=False, until=NOW)
        self.assertEqual(end_of(account([event(), first], taken=())), ["unaccounted"])
        summary = account([event(), first, *GOOD[1:]])
        self.assertEqual((end_of(summary), summary.findings), (["delivered"], []))

    def test_every_no_has_its_place(self):
        suppressed = [event(), decision("SUPPRESSED", "opted_out_category", note=False)]
        rejected = [event(), decision("REJECTED", "no_category", user="", note=False), letter()]
        self.assertEqual(end_of(account(suppressed, taken=())), ["suppressed"])
        self.assertEqual(end_of(account(rejected, taken=())), ["rejected"])

    def test_bytes_that_are_no_event_need_their_dead_letter(self):
        bytes_only = Record("notify.events.shop", 0, 7, NOW_MS)
        self.assertEqual(end_of(account([bytes_only, letter()], taken=())), ["unreadable"])
        self.assertEqual(end_of(account([letter(), bytes_only], taken=())), ["unreadable"])
        self.assertEqual(end_of(account([bytes_only, letter(offset=8)], taken=())), ["unaccounted"])

    def test_other_runs_events_do_not_count(self):
        strangers = [decision(), outbound(), status("SENT")]
        for record in strangers:
            record.value = record.value | {"event_id": "other-1", "notification_id": "n-9"}
        summary = account([*GOOD, strangers[2]])
        self.assertEqual((end_of(summary), summary.findings), (["delivered"], []))


if __name__ == "__main__":
    unittest.main()
