"""What the figures rest on, seen with Python's own SMTP client: python -m unittest in this folder."""

import json
import smtplib
import subprocess
import sys
import unittest
import urllib.request
from pathlib import Path

INBOX = Path(__file__).resolve().parent / "inbox.py"


class Received(unittest.TestCase):
    def setUp(self):
        self.process = subprocess.Popen([sys.executable, INBOX], stdout=subprocess.PIPE, text=True)
        self.control, self.smtp = (int(self.process.stdout.readline()) for _ in range(2))
        self.ask("_begin", {"first": 7, "count": 2})

    def tearDown(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, path, body=None):
        data = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}/{path}", data) as answer:
            return answer.read()

    def test_mails_of_one_connection_are_counted_and_strangers_apart(self):
        with smtplib.SMTP("127.0.0.1", self.smtp) as client:
            for number in (7, 8, 8, 9):
                client.sendmail("shop@example.com", "ada@example.org", f"Subject: Order A-{number:010}\r\n\r\n.\r\ntext\r\n")
        account = json.loads(self.ask("_account"))
        self.assertEqual((account["requests"], account["distinct"], account["strangers"]), (4, 2, 1))


if __name__ == "__main__":
    unittest.main()
