"""Keeps the functions of a profile that ran often: hot_functions.py COUNT <all.proftext >hot.proftext

A profile in LLVM's text form (https://llvm.org/docs/CommandGuide/llvm-profdata.html) has a function a paragraph. Of those
that are left out the compiler knows nothing, and builds them nearly as it would without a profile; so a profile of one
command does not take the speed of the others.
"""

import sys


class NoProfile(Exception):
    """It holds nothing that could guide a build."""


def most(paragraph):
    """How often the busiest place of a function ran."""
    lines = paragraph.splitlines()
    counters = lines[lines.index("# Counter Values:") + 1 :]
    count = int(lines[lines.index("# Num Counters:") + 1])
    return max(map(int, counters[:count]))


def hot(text, at_least):
    head, found, rest = text.partition("\n:ir\n")
    if not found:
        raise NoProfile("it is not what -Cprofile-generate gives")
    functions = [paragraph.strip("\n") for paragraph in rest.split("\n\n") if paragraph.strip()]
    kept = [one for one in functions if most(one) >= at_least]
    if not kept:
        raise NoProfile(f"none of its {len(functions)} functions ran {at_least} times")
    return "\n\n".join([head + "\n:ir", *kept]) + "\n"


if __name__ == "__main__":
    try:
        sys.stdout.write(hot(sys.stdin.read(), int(sys.argv[1])))
    except NoProfile as error:
        sys.exit(f"no profile: {error}")
