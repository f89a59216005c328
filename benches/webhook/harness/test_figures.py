"""What the figures rest on: python -m unittest in this folder, with the router's harness in PYTHONPATH."""

import base64
import unittest
from datetime import datetime, timezone

from receiver import Account
from standardwebhooks import Webhook
from steady import Figures
from table import per_cpu_second

SECRET = "whsec_" + base64.b64encode(b"x" * 24).decode()


def body(number):
    return f'{{"message":"{{\\"order_id\\":\\"A-{number:010}\\"}}"}}'


def signed(text, secret=SECRET):
    at = datetime.now(timezone.utc)
    signature = Webhook(secret).sign("m-1", at, text)
    headers = {"Webhook-Id": "m-1", "Webhook-Timestamp": str(int(at.timestamp())), "Webhook-Signature": signature}
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class Received(unittest.TestCase):
    def test_what_comes_twice_is_one_delivery_and_two_requests(self):
        account = Account(first=7, count=2)
        for number in (7, 8, 8):
            account.note([], body(number).encode())
        self.assertEqual((account.requests, account.distinct, account.strangers), (3, 2, 0))

    def test_what_was_not_expected_is_no_delivery(self):
        account = Account(first=7, count=2)
        for text in (body(6), body(9), "nothing of ours"):
            account.note([], text.encode())
        self.assertEqual((account.distinct, account.strangers), (0, 3))

    def test_signatures_are_verified_where_a_secret_is_given(self):
        account = Account(first=0, count=3, secret=SECRET)
        account.note(signed(body(0)), body(0).encode())
        account.note(signed(body(0)), body(1).encode())
        account.note([], body(2).encode())
        self.assertEqual(account.unverified, 2)


class Table(unittest.TestCase):
    def test_twice_the_cpu_of_ours_is_half_the_deliveries(self):
        of = lambda cpu_us: (Figures(cpu_us, 1, 1, 1, 0, 1), {})
        self.assertEqual(per_cpu_second([{"notilog": of(100), "peer": of(200)}], "peer"), [2])


if __name__ == "__main__":
    unittest.main()
