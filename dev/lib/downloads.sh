# shellcheck shell=bash disable=SC2154
# What the services are made of, fetched once by the packages' own clients and kept by the digest of
# the file that pins it.

# fetched NAME PIN_FILE FUNCTION: runs FUNCTION DIR where DIR does not hold what PIN_FILE names.
fetched() {
  local name=$1 pins=$2 dir=$NOTILOG_DOWNLOADS/$1 digest log=$NOTILOG_DOWNLOADS/$1.log
  digest=$(sha256sum <"$pins")
  if [[ -f $dir/.complete && $(cat "$dir/.complete") == "$digest" ]]; then return 0; fi
  say "fetching $name"
  rm -rf "$dir"
  mkdir -p "$dir"
  if ! "$3" "$dir" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "$name could not be fetched; all output is in $log"
  fi
  say "$digest" >"$dir/.complete"
}

maven_package() { mvn -q -B -ntp -f "$root/dev/lib/$1/pom.xml" package "-Dout=$2"; }

fetch_kafka() { maven_package kafka "$1"; }

fetch_registry() {
  maven_package registry "$1" &&
    tar -xzf "$1"/*.tar.gz -C "$1" &&
    rm "$1"/*.tar.gz
}

fetch_python() {
  python3 -m venv "$1" &&
    "$1/bin/pip" install -q --disable-pip-version-check -r "$root/dev/lib/requirements.txt"
}

fetch_node() {
  cp "$root/dev/lib/package.json" "$root/dev/lib/package-lock.json" "$1" &&
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
}

fetch_test_python() {
  python3 -m venv "$1" &&
    "$1/bin/pip" install -q --disable-pip-version-check -r "$root/dev/lib/tests/requirements.txt"
}

fetch_test_node() {
  cp "$root/dev/lib/tests/package.json" "$root/dev/lib/tests/package-lock.json" "$1" &&
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
}

fetch_test_java() { maven_package tests "$1"; }

# What only tests need: they start these counterparties themselves.
fetch_for_tests() {
  local jobs=() job failed=0
  mkdir -p "$NOTILOG_DOWNLOADS"
  exec 8>"$NOTILOG_DOWNLOADS/.lock"
  flock 8
  fetched test-python "$root/dev/lib/tests/requirements.txt" fetch_test_python &
  jobs+=($!)
  fetched test-node "$root/dev/lib/tests/package-lock.json" fetch_test_node &
  jobs+=($!)
  fetched test-java "$root/dev/lib/tests/pom.xml" fetch_test_java &
  jobs+=($!)
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  exec 8>&-
  ((failed == 0)) || exit 1
}

fetch_kafka_once() { fetched kafka "$root/dev/lib/kafka/pom.xml" fetch_kafka; }
fetch_registry_once() { fetched registry "$root/dev/lib/registry/pom.xml" fetch_registry; }
fetch_python_once() { fetched python "$root/dev/lib/requirements.txt" fetch_python; }
fetch_node_once() { fetched node "$root/dev/lib/package-lock.json" fetch_node; }

# fetch_for SERVICE...: Maven beside pip and npm, but the two Maven runs in turn: its local repository
# does not take two writers.
fetch_for() {
  local names=" $* " jobs=() job failed=0
  mkdir -p "$NOTILOG_DOWNLOADS"
  exec 8>"$NOTILOG_DOWNLOADS/.lock"
  flock 8
  (
    [[ ! $names =~ kafka|cluster ]] || fetch_kafka_once
    [[ $names != *" registry "* ]] || fetch_registry_once
  ) &
  jobs+=($!)
  if [[ $names == *" smtp "* || $names == *" webhook "* || $names == *" secure_kafka "* ]]; then
    fetch_python_once &
    jobs+=($!)
  fi
  if [[ $names == *" telegram "* ]]; then
    fetch_node_once &
    jobs+=($!)
  fi
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  exec 8>&-
  ((failed == 0)) || exit 1
}
