"""Judges DKIM signatures with dkimpy, and makes keys as OpenSSL does, with the records that belong into DNS.

dkim_verify.py keys FOLDER    leaves rsa.pem (PKCS#8), rsa1.pem (PKCS#1) and ed25519.pem; prints {"rsa": <TXT>, ...}
dkim_verify.py judge < {"records": {"s._domainkey.example.com": <TXT>}, "mails": [<raw>, ...]}

`judge` prints, for each mail, a list with "pass" or "fail" for each of its signatures, from the topmost on.
"""

import base64
import json
import sys
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def keep(path: Path, key, form: PrivateFormat) -> None:
    path.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))


def record(kind: str, public: bytes) -> str:
    return f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode()}"


def make_keys(folder: Path) -> dict:
    one, other = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    keep(folder / "rsa.pem", one, PrivateFormat.PKCS8)
    keep(folder / "rsa1.pem", one, PrivateFormat.TraditionalOpenSSL)
    keep(folder / "ed25519.pem", other, PrivateFormat.PKCS8)
    spki = one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = other.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"rsa": record("rsa", spki), "ed25519": record("ed25519", raw)}


def judge(mail: str, records: dict) -> list:
    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        found = records.get(name.decode().rstrip("."))
        return found and found.encode()

    judged = dkim.DKIM(mail.encode())
    count = sum(name.lower() == b"dkim-signature" for name, _ in judged.headers)
    verdicts = []
    for index in range(count):
        try:
            verdicts.append("pass" if judged.verify(idx=index, dnsfunc=txt) else "fail")
        except dkim.ValidationError:
            verdicts.append("fail")
    return verdicts


if sys.argv[1] == "keys":
    print(json.dumps(make_keys(Path(sys.argv[2]))))
else:
    asked = json.load(sys.stdin)
    print(json.dumps([judge(mail, asked["records"]) for mail in asked["mails"]]))
