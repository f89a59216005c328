"""One piece of work under callgrind: how many instructions, how many allocations."""

import dataclasses
import subprocess
from pathlib import Path

# Whoever of these is called by another of them is no allocation more.
ALLOCATORS = {"malloc", "calloc", "realloc", "reallocarray", "aligned_alloc", "posix_memalign", "memalign"}
PATIENCE_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of doing it once."""

    instructions: float
    allocations: float


def count(binary, name, times, folder):
    """Runs `binary` (see benches/micro/counting.rs) under callgrind; only its main thread counts, from where
    the work is done `times` times."""
    out = folder / name.replace("/", "-")
    command = ["valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes", "--compress-strings=no"]
    # What was before goes to a file of its own. Not `--zero-before` or `--toggle-collect`: they leave the calls counted.
    command += ["--dump-before=*counting::from_here_on*", f"--callgrind-out-file={out}"]
    command += [binary, "count", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"`{name}` ended with {done.returncode} under valgrind:\n{done.stdout}")
    if not Path(f"{out}.1-01").exists():
        raise RuntimeError(f"callgrind saw no call of `counting::from_here_on` in `{name}`")
    instructions, allocations = parse(Path(f"{out}-01").read_text(errors="replace").splitlines())
    return Cost(round(instructions / times, 1), round(allocations / times, 3))


def parse(lines):
    """Instructions and allocations in callgrind's output with names in full."""
    instructions = allocations = 0
    caller = callee = ""
    for line in lines:
        if line.startswith("fn="):
            caller = _plain(line[3:])
        elif line.startswith("cfn="):
            callee = _plain(line[4:])
        elif line.startswith("calls="):
            if callee in ALLOCATORS and caller not in ALLOCATORS:
                allocations += int(line[6:].split()[0])
        elif line.startswith("totals:"):
            instructions = int(line.split()[1])
    return instructions, allocations


def _plain(name):
    """Without the mark of a call within itself (`malloc'2`), and of another allocator that took the library's place."""
    return name.partition("'")[0].removeprefix("mi_").removeprefix("__libc_")
