"""Reads a mail with Python's own parser, as a mail program would.

mail_parts.py < raw mail

Prints its leaves: [{"type", "disposition", "filename", "text" or null, "base64", "defects"}], in order.
"""

import base64
import email
import email.policy
import json
import sys

mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)


def leaf(part) -> dict:
    content = part.get_payload(decode=True)
    return {
        "type": part.get_content_type(),
        "disposition": part.get_content_disposition(),
        "filename": part.get_filename(),
        "base64": base64.b64encode(content).decode(),
        "text": content.decode("utf-8", "replace"),
        "defects": [type(defect).__name__ for defect in part.defects],
    }


print(json.dumps({"type": mail.get_content_type(), "leaves": [leaf(part) for part in mail.walk() if not part.is_multipart()]}))
