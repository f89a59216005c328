"""What the kernel says about processes: CPU time and memory."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_of_stat(text):
    """Seconds of CPU, user and system, of all threads, from /proc/<pid>/stat."""
    # The command's name may hold blanks and brackets: fields count from the last bracket. utime and stime are 14 and 15.
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_of_status(text):
    """MB of resident memory from /proc/<pid>/status."""
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError("no VmRSS: the process has ended")


def busy_of_stat(text):
    """Seconds of CPU that anything on this machine used, from /proc/stat."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, text.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def cpu(pid):
    return cpu_of_stat(Path(f"/proc/{pid}/stat").read_text())


def resident(pid):
    return resident_of_status(Path(f"/proc/{pid}/status").read_text())


def busy():
    return busy_of_stat(Path("/proc/stat").read_text())


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"cores": os.cpu_count(), "cpu": cpu, "kernel": os.uname().release}


def broker():
    """The pid of the Kafka that dev/services runs."""
    status = subprocess.run(["dev/services", "status", "kafka"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    words = status.stdout.split()
    return int(words[words.index("pid") + 1])


def end(child):
    """Asks a child to end, and makes it."""
    child.terminate()
    try:
        child.wait(60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
