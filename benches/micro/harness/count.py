"""Counts what each piece of the router's work costs, and holds it against the baseline.

The router's code is optimised, what it depends on is built as `cargo test` builds it and so is there already. The counts
therefore speak of changes, not of the release build.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import callgrind
from baseline import Baseline

ROOT = Path(__file__).resolve().parents[3]
BASELINE = ROOT / "benches/micro/baseline.json"
# For this program alone, whose modules are the sources that are measured: all that it links is as the tests have it. In
# one unit, so that what is inlined does not hang on how the code was cut up.
FLAGS = "opt-level=3 codegen-units=1 debug-assertions=off overflow-checks=off debuginfo=0".split()


def arguments():
    parser = argparse.ArgumentParser(prog="benches/micro/run", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--renew", action="store_true", help="make what is counted now the baseline")
    what.add_argument("--binary", type=Path, help="another build, to look at: compared with nothing")
    return parser.parse_args()


def build():
    command = ["cargo", "rustc", "--locked", "--bench", "micro", "--profile", "dev"]
    command += ["--message-format=json-render-diagnostics", "--"]
    command += [part for flag in FLAGS for part in ("-C", flag)]
    # As it is by default, and so for the tests: what is inlined depends on it.
    environment = os.environ | {"CARGO_INCREMENTAL": "1"}
    lines = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    for message in map(json.loads, lines.splitlines()):
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "micro" and message["executable"]:
            return message["executable"]
    raise RuntimeError("cargo built no executable")


def made_with():
    def said(*command):
        return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    # What callgrind lets a program see of the processor.
    avx2 = "avx2" in Path("/proc/cpuinfo").read_text().split()
    return {
        "machine": platform.machine(),
        "processor": "with AVX2" if avx2 else "without AVX2",
        "rustc": said("rustc", "--version"),
        "valgrind": said("valgrind", "--version"),
        "libc": " ".join(platform.libc_ver()),
        "flags": " ".join(FLAGS),
    }


def main():
    options = arguments()
    binary = options.binary or build()
    listed = subprocess.run([binary, "list"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    work = [(name, int(times)) for name, times in map(str.split, listed)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        # The longest is the last one.
        counted = {name: pool.submit(callgrind.count, binary, name, times, Path(folder)) for name, times in work[::-1]}
        costs = {name: counted[name].result() for name, _ in work}
    kept, facts = Baseline.read(BASELINE), made_with()
    if options.binary:
        print(kept.renewed({}, facts).table(costs))
        return
    print(kept.table(costs))
    if options.renew:
        kept.renewed(costs, facts).write(BASELINE)
        return
    if facts["machine"] != kept.made_with.get("machine"):
        print(f"The baseline is for {kept.made_with.get('machine')}, this is {facts['machine']}: nothing is compared.")
        return
    complaints = kept.complaints(costs, facts)
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
