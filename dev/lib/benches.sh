# shellcheck shell=bash
# What benchmarks run on: Kafka, the registry and Python. Sourced after settings, prerequisites and downloads.

# As Kafka's own kafka-server-start.sh has it. The small one of dev/services stands still for 200 ms now and then, to collect
# what is no longer used.
broker_java_options="-Xms1G -Xmx1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 \
-XX:+ExplicitGCInvokesConcurrent"

# Starts Kafka and the registry unless they run, for as long as the script does, and tells it where they are.
bench_services() {
  mkdir -p "$NOTILOG_DOWNLOADS"
  fetch_python_once
  if ! dev/services status kafka registry >/dev/null; then
    trap 'dev/services down kafka registry' EXIT
    NOTILOG_KAFKA_JAVA_OPTS=${NOTILOG_KAFKA_JAVA_OPTS:-$broker_java_options} dev/services up kafka registry
  fi
  eval "$(dev/services env)"
}
