"""What the counts rest on: python -m unittest in this folder."""

import tempfile
import unittest
from pathlib import Path

from baseline import RENEW, Baseline
from callgrind import Cost, parse

MADE_WITH = {"machine": "x86_64", "rustc": "1.95.0"}


def baseline(**costs):
    return Baseline(MADE_WITH, 3, {"router": 2}, costs)


class Callgrind(unittest.TestCase):
    def test_instructions_and_calls_of_allocators_are_read(self):
        lines = """fn=__rustc::__rdl_alloc
12 30
cfn=malloc
calls=21 0
12 900
cfn=free
calls=7 0
12 90
fn=rd_malloc
cfn=malloc'2
calls=2 0
1 40
fn=realloc
cfn=malloc
calls=5 0
1 40
totals: 2541020""".splitlines()
        self.assertEqual(parse(lines), (2541020, 23))


class Complaints(unittest.TestCase):
    def of(self, kept, **costs):
        return kept.complaints(costs, MADE_WITH)

    def test_what_is_as_it_was_or_better_is_no_cause(self):
        kept = baseline(encode=Cost(1000, 2))
        self.assertEqual(self.of(kept, encode=Cost(1000, 2)), [])
        self.assertEqual(self.of(kept, encode=Cost(1029, 2)), [])
        self.assertEqual(self.of(kept, encode=Cost(500, 0)), [])

    def test_growth_beyond_the_limit_is_named_with_both_figures_and_the_way_out(self):
        said = self.of(baseline(encode=Cost(1000, 2), decode=Cost(10, 0)), encode=Cost(1040, 2), decode=Cost(10, 0))
        self.assertIn("encode takes 1,040 instructions, 4.0 % more than the baseline's 1,000", said[0])
        self.assertIn(RENEW, said[-1])
        self.assertFalse(any("decode" in line for line in said))

    def test_one_allocation_more_is_too_many_unless_the_baseline_is_loose_about_it(self):
        self.assertIn("encode allocates 3 times", self.of(baseline(encode=Cost(1000, 2)), encode=Cost(1000, 3))[0])
        kept = baseline(router=Cost(1000, 100))
        self.assertEqual(self.of(kept, router=Cost(1000, 101.9)), [])
        self.assertTrue(self.of(kept, router=Cost(1000, 102.1)))

    def test_a_benchmark_without_a_baseline_and_a_baseline_without_a_benchmark_are_named(self):
        said = self.of(baseline(old=Cost(1, 0)), new=Cost(1, 0))
        self.assertIn("new is not in the baseline", said[0])
        self.assertIn("old is in the baseline, and is no benchmark", said[1])

    def test_what_else_differs_is_said_with_a_complaint(self):
        said = baseline(encode=Cost(1000, 2)).complaints({"encode": Cost(2000, 2)}, MADE_WITH | {"rustc": "1.99.0"})
        self.assertIn("rustc was 1.95.0, is 1.99.0", said[1])


class Kept(unittest.TestCase):
    def test_a_renewed_baseline_reads_back_and_keeps_its_limits(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "baseline.json"
            renewed = baseline(old=Cost(1, 0)).renewed({"new": Cost(2.5, 1)}, {"rustc": "2"})
            renewed.write(path)
            self.assertEqual(Baseline.read(path), Baseline({"rustc": "2"}, 3, {"router": 2}, {"new": Cost(2.5, 1)}))


if __name__ == "__main__":
    unittest.main()
