# shellcheck shell=bash disable=SC2034,SC2154
# The program and the fault suite, built with the feature `failpoints`, and the services that they need.

# Sets `faults_bin`, `faults_suite` and `faults_chaos`: copies, which no later build takes away under a run.
build_failpoints() {
  local folder=$NOTILOG_SERVICES_DIR/failpoints messages name path
  mkdir -p "$folder"
  messages=$(cargo test --locked --features failpoints --test faults --test chaos --no-run --message-format json) ||
    die "the fault suite does not build"
  for name in faults chaos; do
    path=$(sed -n "s/.*\"executable\":\"\([^\"]*\/deps\/$name-[^\"]*\)\".*/\1/p" <<<"$messages" | tail -n 1)
    [[ -x $path ]] || die "cargo names no executable of the test '$name'"
    install -m 755 "$path" "$folder/$name"
  done
  path=$(sed -n 's/.*"executable":"\([^"]*\/notilog\)".*/\1/p' <<<"$messages" | tail -n 1)
  [[ -x $path ]] || path=$(dirname -- "$(dirname -- "$path")")/notilog
  install -m 755 "$path" "$folder/notilog"
  faults_suite=$folder/faults faults_chaos=$folder/chaos
  export NOTILOG_FAULTS_BIN=$folder/notilog
}

# Starts the plain set's Kafka, registry and mail server, unless they run, and the Kafkas that may be killed, empty: after a
# kill a broker looks through every log it has. What was started ends with the script.
start_faults_services() {
  faults_started=()
  trap stop_faults_services EXIT
  local name set
  for name in kafka registry smtp; do
    "$root/dev/services" status "$name" >/dev/null || faults_started+=("$name")
  done
  "$root/dev/services" up kafka registry smtp
  for set in "$@"; do
    faults_started+=("$set")
    "$root/dev/services" down --wipe "$set"
    "$root/dev/services" up "$set"
  done
  eval "$("$root/dev/services" env)"
  export NOTILOG_TEST_SERVICES=1
}

stop_faults_services() {
  local what
  for what in "${faults_started[@]}"; do
    "$root/dev/services" down "$what" >/dev/null || true
  done
}
