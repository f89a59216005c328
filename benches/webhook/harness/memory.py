"""What calls in flight take in memory: a receiver that holds each for a while, and more and more calls at once."""

import time

import process

LIMITS = (64, 256, 1_000)
HOLD_MS = 4_000
IDLE_SECONDS = 3
# Of records for each call that may be in flight: enough that the queue never empties.
FILL = 3


def measure(bench, say, limits=LIMITS):
    """MB resident before any call, and the most while all calls are in flight, for each limit."""
    found = []
    for limit in limits:
        with open(bench.folder / "notilog.log", "ab") as log:
            sender = bench.sender(limit)
            child = sender.start(log)
            try:
                found.append(one(bench, child, sender.group, limit))
            finally:
                child.terminate()
                child.wait(60)
        say("in flight {in_flight:>5}: {idle_mb:6.1f} MB before, {most_mb:6.1f} MB then".format(**found[-1]))
    return found


def one(bench, child, group, limit):
    wait_for(lambda: bench.cluster.admin.describe_consumer_groups([group])[group].result().members, "no member came")
    time.sleep(IDLE_SECONDS)
    idle = process.resident(child.pid)
    first, count = bench.written, limit * FILL
    bench.written += count
    bench.receiver.begin(first=first, count=count, delay_ms=HOLD_MS)
    bench.outbounds.write(first, count)
    most, deadline = 0, time.monotonic() + 120
    while (account := bench.receiver.account())["distinct"] < count:
        if time.monotonic() > deadline or child.poll() is not None:
            raise SystemExit(f"notilog did not deliver with {limit} in flight: {account}")
        most = max(most, process.resident(child.pid))
        time.sleep(0.05)
    return {"limit": limit, "in_flight": account["most_open"], "idle_mb": idle, "most_mb": most}


def wait_for(ask, what):
    deadline = time.monotonic() + 60
    while not ask():
        if time.monotonic() > deadline:
            raise SystemExit(what)
        time.sleep(0.1)
