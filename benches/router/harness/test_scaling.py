"""What the sweeps rest on: python -m unittest in this folder."""

import unittest
from xml.etree import ElementTree

import chart
from digests import Mismatch
from scale import COMMON, counted, points


def account(email, telegram, decisions):
    return {name: {"records": count} for name, count in (("email", email), ("telegram", telegram), ("decisions", decisions))}


class Points(unittest.TestCase):
    def test_one_thing_varies_and_the_common_point_is_there(self):
        found = points("recipients", [10], 300_000)
        self.assertEqual(list(found), [10, COMMON.recipients])
        self.assertEqual(found[COMMON.recipients], COMMON)
        self.assertEqual((found[10].recipients, found[10].shards), (10, COMMON.shards))

    def test_events_with_many_outputs_are_fewer(self):
        self.assertEqual([point.events for point in points("fan-out", [1, 20], 400).values()], [400, 400, 100])


class Counted(unittest.TestCase):
    def test_channels_have_the_endpoints_in_turn(self):
        counted(account(30, 20, 10), 10, 5)

    def test_a_record_too_few_is_found(self):
        with self.assertRaisesRegex(Mismatch, "telegram"):
            counted(account(30, 19, 10), 10, 5)


class Chart(unittest.TestCase):
    def test_it_is_well_formed_and_has_a_dot_for_each_value(self):
        drawn = ElementTree.fromstring(chart.line("a < b", "x", {1: [3.0, 4.0], 64: [5.0]}))
        self.assertEqual(len(drawn.findall("{*}circle")), 3)

    def test_a_bar_is_as_long_as_the_median_of_its_values(self):
        drawn = ElementTree.fromstring(chart.bars("a < b", {"one": [1.0, 2.0, 9.0], "two": [4.0]}))
        lengths = [float(bar.get("width")) for bar in drawn.findall("{*}rect")[1:]]
        self.assertAlmostEqual(lengths[1] / lengths[0], 2, places=2)
        self.assertEqual(len(drawn.findall("{*}circle")), 4)

    def test_the_axis_reaches_over_every_value(self):
        self.assertEqual([chart.nice(value) for value in (0.9, 1, 13.2, 81)], [1, 1, 20, 100])


if __name__ == "__main__":
    unittest.main()
