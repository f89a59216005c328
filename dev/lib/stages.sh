# shellcheck shell=bash
# Steps with a name and a time, for the scripts that run several.

# MiB that are free where the project is built.
free_space() { df -Pm . | awk 'NR == 2 { print $4 }'; }

# require_space MIB: ends the script where there is less. A linker that finds none left says "Bus error".
require_space() {
  local free
  free=$(free_space)
  ((free >= $1)) || die "$free MiB of disk are free here, and a build from nothing wants $1 MiB"
}

# stage NAME COMMAND...: one line before, one line after; ends the script where the command fails.
stage() {
  local name=$1 began=$SECONDS code=0
  shift
  say "== $name"
  "$@" || code=$?
  if ((code)); then
    warn "== $name: FAILED with exit code $code after $((SECONDS - began)) s; $(free_space) MiB of disk are free"
    exit "$code"
  fi
  say "== $name: ok, $((SECONDS - began)) s"
}
