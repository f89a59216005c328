"""The judge is code that has to be right, too: each fault, sown into records that are fine, is found and no other."""

import struct
import unittest

import segments
from judge import KINDS, Judge

EVENTS, POISON = 40, 10
DECISIONS, OUTBOUND, LETTERS = "p.notify.decisions", "p.notify.outbound.email", "p.dlq.notify.events"


def clean():
    """What a router makes of 40 events for 5 users, every tenth poisonous: lists of (topic, value), in order."""
    outbound, decisions, letters = [], [], []
    for n in range(EVENTS):
        event, user = f"e-{n}", f"u-{n % 5}"
        if n % POISON == POISON - 1:
            outcomes = [{"verdict": "REJECTED", "reason": "too_large", "notification_id": None}]
            letters.append({"id": event})
        else:
            outcomes = [{"verdict": "ROUTED", "reason": "routed", "notification_id": f"n-{n}"}]
            outbound.append({"notification_id": f"n-{n}", "event_id": event, "user_id": user})
        decisions.append({"event_id": event, "outcomes": outcomes})
    return outbound, decisions, letters


def judge_of(outbound, decisions, letters):
    judge = Judge()
    for offset, value in enumerate(outbound):
        judge.outbound((OUTBOUND, 0, offset), f"o{offset}", value)
    for offset, value in enumerate(decisions):
        judge.decision((DECISIONS, 0, offset), f"d{offset}", value)
    for offset, value in enumerate(letters):
        judge.letter((LETTERS, 0, offset), f"l{offset}", value["id"])
    return judge


class Faults(unittest.TestCase):
    def only(self, verdict, *kinds):
        self.assertEqual({kind for kind in KINDS if verdict[kind]}, set(kinds), verdict["examples"])

    def test_what_is_right_is_right(self):
        judge = judge_of(*clean())
        judge.again(dict(judge.shown))
        judge.log(OUTBOUND, 0, set(range(36)), {36, 37})
        self.only(judge.verdict(EVENTS, POISON))

    def test_an_event_without_a_decision_is_lost(self):
        outbound, decisions, letters = clean()
        decisions = [d for d in decisions if d["event_id"] != "e-7"]
        outbound = [o for o in outbound if o["event_id"] != "e-7"]
        self.only(judge_of(outbound, decisions, letters).verdict(EVENTS, POISON), "lost")

    def test_a_second_decision_is_double(self):
        outbound, decisions, letters = clean()
        self.only(judge_of(outbound, [*decisions, decisions[3]], letters).verdict(EVENTS, POISON), "double")

    def test_a_second_outbound_record_is_double_and_out_of_order(self):
        outbound, decisions, letters = clean()
        self.only(
            judge_of([*outbound, outbound[3]], decisions, letters).verdict(EVENTS, POISON), "double", "disordered"
        )

    def test_a_second_dead_letter_is_double(self):
        outbound, decisions, letters = clean()
        self.only(judge_of(outbound, decisions, [*letters, letters[0]]).verdict(EVENTS, POISON), "double")

    def test_what_follows_from_an_aborted_event_is_found(self):
        outbound, decisions, letters = clean()
        ghost = {"verdict": "ROUTED", "reason": "routed", "notification_id": "g"}
        decisions.append({"event_id": "ghost-1", "outcomes": [ghost]})
        self.only(judge_of(outbound, decisions, letters).verdict(EVENTS, POISON), "aborted_input")

    def test_an_event_decided_as_of_a_stranger_is_found(self):
        outbound, decisions, letters = clean()
        decisions[2]["outcomes"] = [{"verdict": "SUPPRESSED", "reason": "unknown_recipient", "notification_id": None}]
        outbound = [o for o in outbound if o["event_id"] != "e-2"]
        self.only(judge_of(outbound, decisions, letters).verdict(EVENTS, POISON), "not_routed")

    def test_two_of_one_recipient_that_changed_places_are_found(self):
        outbound, decisions, letters = clean()
        outbound[0], outbound[5] = outbound[5], outbound[0]
        self.only(judge_of(outbound, decisions, letters).verdict(EVENTS, POISON), "disordered")

    def test_of_two_recipients_none_comes_first(self):
        outbound, decisions, letters = clean()
        outbound[0], outbound[1] = outbound[1], outbound[0]
        self.only(judge_of(outbound, decisions, letters).verdict(EVENTS, POISON))

    def test_a_decision_without_its_outbound_record(self):
        outbound, decisions, letters = clean()
        self.only(judge_of(outbound[1:], decisions, letters).verdict(EVENTS, POISON), "decision_without_outbound")

    def test_an_outbound_record_without_its_decision(self):
        outbound, decisions, letters = clean()
        outbound.append({"notification_id": "n-x", "event_id": "e-39", "user_id": "u-4"})
        self.only(judge_of(outbound, decisions, letters).verdict(EVENTS, POISON), "outbound_without_decision")

    def test_a_rejection_without_its_letter_and_the_reverse(self):
        outbound, decisions, letters = clean()
        self.only(judge_of(outbound, decisions, letters[1:]).verdict(EVENTS, POISON), "rejected_without_letter")
        letters.append({"id": "e-3"})
        self.only(judge_of(outbound, decisions, letters).verdict(EVENTS, POISON), "letter_without_rejection")

    def test_what_was_shown_and_is_gone_or_another_vanished(self):
        judge = judge_of(*clean())
        second = dict(judge.shown)
        del second[OUTBOUND, 0, 4]
        second[OUTBOUND, 0, 5] = "another"
        judge.again(second)
        verdict = judge.verdict(EVENTS, POISON)
        self.only(verdict, "vanished")
        self.assertEqual(verdict["vanished"], 2)

    def test_what_was_passed_over_and_is_there_appeared(self):
        judge = judge_of(*clean())
        second = dict(judge.shown)
        del judge.shown[OUTBOUND, 0, 4]
        judge.again(second)
        self.only(judge.verdict(EVENTS, POISON), "appeared")

    def test_what_came_after_the_first_reader_left_did_not_appear(self):
        judge = judge_of(*clean())
        judge.again({**judge.shown, (OUTBOUND, 0, 99): "later"})
        self.only(judge.verdict(EVENTS, POISON))

    def test_a_record_of_an_aborted_transaction_that_was_shown(self):
        judge = judge_of(*clean())
        judge.log(OUTBOUND, 0, set(range(36)) - {11}, {11})
        self.only(judge.verdict(EVENTS, POISON), "aborted_read")

    def test_a_committed_record_that_was_not_shown(self):
        judge = judge_of(*clean())
        judge.log(OUTBOUND, 0, {*range(36), 50}, set())
        self.only(judge.verdict(EVENTS, POISON), "hidden")


def batch(base, count, producer, transactional=True, marker=None):
    records = b"" if marker is None else bytes([16, 0, 0, 0, 8]) + struct.pack(">hh", 0, marker)
    attributes = (segments.TRANSACTIONAL if transactional else 0) | (0 if marker is None else segments.CONTROL)
    length = segments.HEADER.size - 12 + len(records)
    header = segments.HEADER.pack(base, length, 0, 2, 0, attributes, count - 1, 0, 0, producer, 0, 0, count)
    return header + records


class Segments(unittest.TestCase):
    def test_each_producers_records_end_as_its_own_marker_says(self):
        log = batch(0, 3, 7) + batch(3, 2, 8) + batch(5, 1, 7, marker=1) + batch(6, 1, 8, marker=0) + batch(7, 2, 7)
        self.assertEqual(segments.judged([log]), ({0, 1, 2}, {3, 4, 7, 8}))

    def test_a_transaction_may_end_in_the_next_file(self):
        self.assertEqual(segments.judged([batch(0, 2, 7), batch(2, 1, 7, marker=1)]), ({0, 1}, set()))

    def test_what_is_not_transactional_is_committed(self):
        self.assertEqual(segments.judged([batch(0, 2, -1, transactional=False)]), ({0, 1}, set()))

    def test_a_batch_that_is_not_whole_yet_is_left_out(self):
        log = batch(0, 1, -1, transactional=False) + batch(1, 1, -1, transactional=False)[:-1]
        self.assertEqual(segments.judged([log]), ({0}, set()))


if __name__ == "__main__":
    unittest.main()
