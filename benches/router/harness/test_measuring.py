"""What the figures rest on: python -m unittest in this folder."""

import unittest

from digests import Mismatch, compare
from process import TICKS_PER_SECOND, busy_of_stat, cpu_of_stat, resident_of_status
from steady import Figures, Sample, TooShort, ratios, steady


def sample(at, done, cpu=0.0, broker=0.0, busy=0.0, resident=0.0):
    return Sample(at, done, cpu, broker, busy, resident)


def figures(cpu_us):
    return Figures(cpu_us, 1, 1, 1, 0, 1)


def account(**changes):
    topic = {"records": 10, "digest": "ab", "markers": 1}
    return {name: dict(topic, **changes.get(name, {})) for name in ("email", "telegram", "decisions")}


class Process(unittest.TestCase):
    def test_cpu_is_user_and_system_time_whatever_the_command_is_called(self):
        fields = ["S"] + ["0"] * 10 + [str(3 * TICKS_PER_SECOND), str(TICKS_PER_SECOND)] + ["99"] * 30
        self.assertEqual(cpu_of_stat(f"12 (a) b (c) {' '.join(fields)}\n"), 4)

    def test_resident_memory_is_in_megabytes(self):
        self.assertEqual(resident_of_status("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t  1000000 kB\n"), 1024)
        with self.assertRaises(ValueError):
            resident_of_status("Name:\tzombie\n")

    def test_waiting_is_not_busy(self):
        line = " ".join(str(n * TICKS_PER_SECOND) for n in (1, 2, 4, 1000, 1000, 8, 16, 32, 0, 0))
        self.assertEqual(busy_of_stat(f"cpu  {line}\ncpu0 1 2 3\n"), 63)


class Steady(unittest.TestCase):
    def test_the_beginning_and_the_end_do_not_count(self):
        run = [
            sample(0, 0),
            sample(9, 249, cpu=90),
            sample(10, 250, cpu=100, broker=10, busy=200, resident=5),
            sample(11, 500, cpu=101, broker=11, busy=203, resident=7),
            sample(12, 750, cpu=102, broker=11, busy=205, resident=6),
            sample(30, 1000, cpu=200, resident=99),
        ]
        self.assertEqual(steady(run, 1000), Figures(4000, 250, 7, 2000, 1, 2))

    def test_a_run_without_a_steady_part_has_no_figures(self):
        with self.assertRaises(TooShort):
            steady([sample(0, 0), sample(1, 300), sample(2, 1000)], 1000)

    def test_ratios_stay_within_their_round(self):
        rounds = [{"a": figures(1), "b": figures(2)}, {"a": figures(6), "b": figures(3)}]
        self.assertEqual(ratios(rounds, "a", "b", "cpu_us"), [0.5, 2])


class Digests(unittest.TestCase):
    def test_equal_outputs_pass(self):
        compare("streams", account(email={"markers": 7}), account(), 10)

    def test_another_digest_makes_the_run_invalid(self):
        with self.assertRaisesRegex(Mismatch, "telegram"):
            compare("streams", account(telegram={"digest": "cd"}), account(), 10)

    def test_a_record_too_many_makes_the_run_invalid(self):
        with self.assertRaisesRegex(Mismatch, "decisions"):
            compare("copy", account(decisions={"records": 11}), None, 10)


if __name__ == "__main__":
    unittest.main()
