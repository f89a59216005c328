"""What the figures rest on: python -m unittest in this folder, with benches/router/harness in PYTHONPATH."""

import unittest
import xml.etree.ElementTree as ElementTree

import chart
import table
from figures import Figures, Mark, figures, middle

LATENCIES = {"events": 1_000, "p50": 9_000, "p99": 20_500, "p999": 30_000, "max": 31_000, "pacer_p99": 100}


def one(p50, p99=40.0):
    return Figures(p50, p99, 50.0, 60.0, 1.0, 2.0, 0.5, 70.0, 0.1, 1_000)


class Measuring(unittest.TestCase):
    def test_figures_are_of_the_window_alone(self):
        begin = Mark(cpu=5.0, broker_cpu=7.0, places=100, resident=1.0)
        end = Mark(cpu=5.2, broker_cpu=7.1, places=100 + 3_000 + 250, resident=64.0)
        found = figures(LATENCIES, begin, end)
        self.assertEqual((found.p50, found.p99, found.p999, found.most), (9.0, 20.5, 30.0, 31.0))
        self.assertAlmostEqual(found.cpu_us, 200)
        self.assertAlmostEqual(found.broker_cpu_us, 100)
        self.assertAlmostEqual(found.markers, 0.25)
        self.assertEqual(found.resident_mb, 64.0)

    def test_the_middle_is_the_median_of_each_figure(self):
        rounds = [{"k": one(3.0, 10.0)}, {"k": one(1.0, 30.0)}, {"k": one(2.0, 20.0)}]
        self.assertEqual((middle(rounds, "k").p50, middle(rounds, "k").p99), (2.0, 20.0))

    def test_ratios_stay_within_their_round(self):
        key = lambda name: (1_000, 5, name)
        rounds = [{key("notilog"): one(p), key("streams"): one(q)} for p, q in ((1.0, 2.0), (6.0, 3.0))]
        self.assertEqual(table.others(rounds), [key("streams")])
        self.assertEqual(table.ratios(rounds, 1_000, 5, "streams", "p50"), [0.5, 2.0])
        self.assertIn("1.25   (by round 0.50 2.00)", table.table(rounds))

    def test_the_chart_is_well_formed_and_higher_is_slower(self):
        rounds = [{(1_000, 5, "notilog"): one(10.0), (1_000, 5, "streams"): one(20.0)}]
        tree = ElementTree.fromstring(chart.draw(rounds))
        dots = [float(dot.get("cy")) for dot in tree.iter("{http://www.w3.org/2000/svg}circle")]
        self.assertEqual(len(dots), 2)
        self.assertGreater(dots[0], dots[1])


if __name__ == "__main__":
    unittest.main()
