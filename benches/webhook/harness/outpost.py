"""Hookdeck's Outpost: its three services with the RabbitMQ, Redis and PostgreSQL that the caller started for it.

The delivery service is what is compared: it takes events from its queue, signs and calls, and puts each attempt's log
on another queue, as `notilog deliver` writes a status. The API, which takes events in, and the log service, which
writes attempts to PostgreSQL, run beside it, and their CPU is told apart.
"""

import asyncio
import time
import uuid

import aiohttp
import process
from fill import envelope, recipient
from senders import Sender

KEY = "bench"
TOPIC = "order.shipped"
DESTINATIONS = 20
PUBLISHERS = 32


class Outpost:
    def __init__(self, options, folder, receiver, secret):
        self.options, self.folder, self.receiver, self.secret = options, folder, receiver, secret
        self.api = f"http://127.0.0.1:{options.outpost_port}/api/v1"
        self.beside = {}
        self.destinations = []
        self.tenant = f"bench-{uuid.uuid4().hex[:8]}"
        names = uuid.uuid4().hex[:8]
        redis_host, redis_port = options.outpost_redis.rsplit(":", 1)
        password, _, redis_host = redis_host.rpartition("@")
        self.environment = {
            "API_KEY": KEY,
            "API_JWT_SECRET": KEY,
            "AES_ENCRYPTION_SECRET": "0123456789abcdef",
            "TOPICS": TOPIC,
            "POSTGRES_URL": options.outpost_postgres,
            "REDIS_HOST": redis_host,
            "REDIS_PORT": redis_port,
            "REDIS_PASSWORD": password,
            "REDIS_DATABASE": "0",
            "RABBITMQ_SERVER_URL": options.outpost_rabbitmq,
            "RABBITMQ_EXCHANGE": f"bench-{names}",
            "RABBITMQ_DELIVERY_QUEUE": f"bench-delivery-{names}",
            "RABBITMQ_LOG_QUEUE": f"bench-log-{names}",
            "DESTINATIONS_WEBHOOK_MODE": "standard",
            # Its defaults are one at a time.
            "DELIVERY_MAX_CONCURRENCY": str(options.max_in_flight),
            "LOG_MAX_CONCURRENCY": "64",
            "MAX_DESTINATIONS_PER_TENANT": str(DESTINATIONS),
            "LOG_LEVEL": "warn",
            "GIN_MODE": "release",
            "DISABLE_TELEMETRY": "true",
        }

    def sender(self, service="delivery", port=0):
        port = port or self.options.outpost_port + 1
        environment = {**self.environment, "SERVICE": service, "API_PORT": str(port)}
        return Sender("outpost", [self.options.outpost / "outpost-server"], environment=environment)

    def prepare(self):
        """Starts what runs beside the delivery service, and makes a tenant with its endpoints."""
        migrate = Sender("outpost", [self.options.outpost / "outpost", "migrate", "apply", "--yes"])
        with open(self.folder / "outpost-beside.log", "ab") as log:
            if Sender("", migrate.command, environment=self.environment).start(log).wait(120):
                raise SystemExit(f"outpost migrate: {(self.folder / 'outpost-beside.log').read_text()[-2000:]}")
            for nth, service in ((0, "api"), (2, "log")):
                self.beside[service] = self.sender(service, self.options.outpost_port + nth).start(log)
        asyncio.run(self.introduce())

    async def introduce(self):
        async with self.session() as session:
            await self.until_up(session)
            await self.ask(session, "PUT", f"/tenants/{self.tenant}", None)
            for nth in range(DESTINATIONS):
                body = {
                    "type": "webhook",
                    "topics": [TOPIC],
                    "config": {"url": f"{self.receiver}/hook/{recipient(nth)}"},
                    "credentials": {"secret": self.secret},
                }
                made = await self.ask(session, "POST", f"/tenants/{self.tenant}/destinations", body)
                self.destinations.append(made["id"])

    def session(self):
        return aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"})

    async def until_up(self, session):
        deadline = time.monotonic() + 60
        while True:
            try:
                async with session.get(f"{self.api}/topics") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            if time.monotonic() > deadline:
                raise SystemExit(f"outpost is not up: {(self.folder / 'outpost-beside.log').read_text()[-2000:]}")
            await asyncio.sleep(0.2)

    async def ask(self, session, method, path, body):
        async with session.request(method, self.api + path, json=body) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise SystemExit(f"outpost: {method} {path}: {answer.status} {text[:500]}")
            return await answer.json()

    def write(self, first, count):
        """Publishes through its API, one event for one endpoint, until all are in its queue."""
        asyncio.run(self.publish(iter(range(first, first + count))))

    async def publish(self, numbers):
        async with self.session() as session:

            async def publisher():
                for number in numbers:
                    place = self.destinations[number % DESTINATIONS]
                    body = {"tenant_id": self.tenant, "destination_id": place, "topic": TOPIC, "data": envelope(number)}
                    await self.ask(session, "POST", "/publish", body)

            await asyncio.gather(*(publisher() for _ in range(PUBLISHERS)))

    def cpu(self, service):
        return process.cpu(self.beside[service].pid)

    def stop(self):
        for child in self.beside.values():
            child.terminate()
        for child in self.beside.values():
            child.wait(60)
