"""Sends push notifications with firebase-admin to the stand-in, and prints what that SDK made of the answer.

fcm_sdk.py PORT < lines of {"token": "..."}

Prints one JSON object for each line: {"sent": <name>} or {"error": <class of the SDK's error>}.
"""

import json
import sys

import firebase_admin
import requests
from firebase_admin import credentials, exceptions, messaging
from google.auth.credentials import Credentials

BASE = f"http://127.0.0.1:{sys.argv[1]}"
messaging._MessagingService.FCM_URL = BASE + "/v1/projects/{0}/messages:send"


class Judge(credentials.Base):
    """A token that the stand-in knows the judge by."""

    def get_credential(self):
        return Held()


class Held(Credentials):
    def __init__(self):
        super().__init__()
        self.token = "judge"

    def refresh(self, request):
        pass


firebase_admin.initialize_app(Judge(), {"projectId": "notilog-test"})
# The SDK's own retries of 503 would take the next scripted answers.
service = messaging._get_messaging_service(firebase_admin.get_app())
service._client.session.adapters.clear()
service._client.session.mount("http://", requests.adapters.HTTPAdapter(max_retries=0))

for line in sys.stdin:
    message = messaging.Message(
        token=json.loads(line)["token"], notification=messaging.Notification(title="Order A-1", body="on its way")
    )
    try:
        print(json.dumps({"sent": messaging.send(message)}))
    except exceptions.FirebaseError as error:
        print(json.dumps({"error": type(error).__name__, "code": error.code}))
