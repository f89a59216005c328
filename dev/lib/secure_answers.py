"""Exit code 0 once the secured Kafka lets admin in: secure_answers.py ADDRESS CA_FILE, the password in the environment."""

import os
import sys

from confluent_kafka.admin import AdminClient

address, ca = sys.argv[1:]
client = AdminClient(
    {
        "bootstrap.servers": address,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "admin",
        "sasl.password": os.environ["NOTILOG_SECURE_PASSWORD_ADMIN"],
        "ssl.ca.location": ca,
        "log_level": 0,
    }
)
sys.exit(0 if client.list_topics(timeout=3).brokers else 1)
