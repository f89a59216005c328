# shellcheck shell=bash
# Steps with a name and a time, for the scripts that run several.

# stage NAME COMMAND...: one line before, one line after; ends the script where the command fails.
stage() {
  local name=$1 began=$SECONDS code=0
  shift
  say "== $name"
  "$@" || code=$?
  if ((code)); then
    warn "== $name: FAILED with exit code $code after $((SECONDS - began)) s"
    exit "$code"
  fi
  say "== $name: ok, $((SECONDS - began)) s"
}
