"""Sends text messages with the vendors' own SDKs to the stand-in, and prints what each SDK made of the answer.

sms_sdk.py PORT < lines of {"vendor": "twilio"|"vonage", "to": "+49...", "from": "...", "text": "..."}

Prints one JSON object for each line: {"sent": <message id>} or {"code": <error code, as the SDK found it>}.
"""

import json
import re
import sys

from requests.adapters import HTTPAdapter
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client
from vonage_http_client.auth import Auth
from vonage_http_client.http_client import HttpClient
from vonage_sms import Sms, SmsMessage
from vonage_sms.errors import PartialFailureError, SmsError

BASE = f"http://127.0.0.1:{sys.argv[1]}"
ACCOUNT, SECRET = "AC1", "secret-for-tests"


class HereInstead(TwilioHttpClient):
    """Twilio's own client, save where it calls."""

    def request(self, method, url, **more):
        return super().request(method, url.replace("https://api.twilio.com", BASE), **more)


class LocalAdapter(HTTPAdapter):
    """Vonage's client insists on https and a host of its own."""

    def send(self, request, **more):
        request.url = re.sub(r"^https://[^/]+", BASE, request.url)
        return super().send(request, **more)


def by_twilio(item):
    client = Client(ACCOUNT, SECRET, http_client=HereInstead())
    try:
        message = client.messages.create(to=item["to"], from_=item["from"], body=item["text"])
    except TwilioRestException as error:
        return {"code": str(error.code), "status": error.status}
    return {"sent": message.sid, "state": message.status}


def by_vonage(item):
    client = HttpClient(Auth(api_key=ACCOUNT, api_secret=SECRET))
    client._session.mount("https://", LocalAdapter())
    try:
        answer = Sms(client).send(SmsMessage(to=item["to"].lstrip("+"), from_=item["from"], text=item["text"]))
    except PartialFailureError as error:
        failed = [part["status"] for part in error.response["messages"] if part["status"] != "0"]
        return {"code": failed[0]}
    except SmsError as error:
        return {"code": re.search(r"error code (\S+):", str(error)).group(1)}
    return {"sent": answer.messages[0].message_id}


for line in sys.stdin:
    item = json.loads(line)
    print(json.dumps({"twilio": by_twilio, "vonage": by_vonage}[item["vendor"]](item)))
