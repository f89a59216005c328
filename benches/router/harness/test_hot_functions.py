"""The part of a profile that dev/release keeps."""

import unittest

from hot_functions import NoProfile, hot

PROFILE = """# IR level Instrumentation Flag
:ir
seldom
# Func Hash:
1
# Num Counters:
2
# Counter Values:
99
3

often
# Func Hash:
2
# Num Counters:
2
# Counter Values:
0
100
# Num Value Kinds:
1
# ValueKind = IPVK_MemOPSize:
1
# NumValueSites:
1
1
5000:7

"""


class HotFunctions(unittest.TestCase):
    def test_the_busiest_place_of_a_function_decides(self):
        kept = hot(PROFILE, 100)
        self.assertIn("often\n", kept)
        self.assertNotIn("seldom", kept)

    def test_what_is_kept_is_kept_whole(self):
        head, _, rest = hot(PROFILE, 100).partition("often\n")
        self.assertEqual(head, "# IR level Instrumentation Flag\n:ir\n\n")
        self.assertTrue(PROFILE.endswith(f"often\n{rest}\n"))

    def test_values_that_are_no_counters_make_nothing_hot(self):
        with self.assertRaises(NoProfile):
            hot(PROFILE, 101)

    def test_what_is_no_profile_is_refused(self):
        for text in ("", PROFILE.replace(":ir", ":csir")):
            with self.assertRaises(NoProfile):
                hot(text, 1)


if __name__ == "__main__":
    unittest.main()
