# shellcheck shell=bash
# Apicurio as schema registry: it speaks Confluent's interface under /apis/ccompat/v7.

registry_ports() { say "$NOTILOG_REGISTRY_PORT NOTILOG_REGISTRY_PORT"; }
registry_address() { say "http://127.0.0.1:$NOTILOG_REGISTRY_PORT/apis/ccompat/v7"; }

start_registry() {
  local data
  data=$(data_dir registry)
  mkdir -p "$data"
  # The default store is in memory. With a delayed write, a kill lets the id of a lost schema go to
  # another one. The canonical hash keeps one id for one schema whatever its white space.
  # shellcheck disable=SC2086  # a list of options
  spawn registry java ${NOTILOG_REGISTRY_JAVA_OPTS:--Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$NOTILOG_REGISTRY_PORT" \
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 \
    "-Dapicurio.datasource.url=jdbc:h2:file:$data/registry;WRITE_DELAY=0" \
    -Dapicurio.ccompat.use-canonical-hash=true \
    -jar "$(echo "$NOTILOG_DOWNLOADS"/registry/apicurio-registry-app-*-runner.jar)"
}

registry_answers() { curl -sf -m 2 -o /dev/null --noproxy '*' "$(registry_address)/subjects"; }
