# shellcheck shell=bash
# Apache Kafka in KRaft mode: one node that is broker and controller.

kafka_ports() { say "$NOTILOG_KAFKA_PORT NOTILOG_KAFKA_PORT" "$NOTILOG_KAFKA_CONTROLLER_PORT NOTILOG_KAFKA_CONTROLLER_PORT"; }
kafka_address() { say "127.0.0.1:$NOTILOG_KAFKA_PORT"; }

kafka_properties() {
  cat <<EOF
listeners=PLAINTEXT://127.0.0.1:$NOTILOG_KAFKA_PORT,CONTROLLER://127.0.0.1:$NOTILOG_KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$NOTILOG_KAFKA_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:$NOTILOG_KAFKA_CONTROLLER_PORT
log.dirs=$(data_dir kafka)/log
EOF
  single_node_properties
}

# What a broker that is also the controller, and alone, needs. The short session lets a killed broker come back at
# once: its id stays taken until the old one ends.
single_node_properties() {
  cat <<EOF
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=10
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=5
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=33554432
EOF
}

kafka_log4j() {
  cat <<'EOF'
status=warn
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %m (%c{1})%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
EOF
}

start_kafka() {
  start_broker kafka kafka_properties "${NOTILOG_KAFKA_JAVA_OPTS:--Xms256m -Xmx768m -XX:+UseSerialGC}" \
    "$(new_kafka_id)" --standalone
}

# A Kafka id is 16 bytes in URL-safe base64; the first letter is ours, for it must not be a dash.
new_kafka_id() { say "N$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)"; }

# start_broker NAME PROPERTIES JAVA_OPTIONS CLUSTER_ID FORMAT_OPTION...: formats the storage of a node that has none,
# and starts it.
start_broker() {
  local name=$1 properties=$2 java_options=$3 cluster=$4 data jars=$NOTILOG_DOWNLOADS/kafka config
  shift 4
  data=$(data_dir "$name")
  config=$data/server.properties
  mkdir -p "$data/log"
  "$properties" >"$config"
  kafka_log4j >"$data/log4j2.properties"
  if [[ ! -f $data/log/meta.properties ]]; then
    java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*" \
      "-Dlog4j2.configurationFile=$data/log4j2.properties" kafka.tools.StorageTool format \
      -t "$cluster" -c "$config" "$@" \
      >"$(log_file "$name-format")" 2>&1 ||
      die "Kafka's storage could not be formatted: see $(log_file "$name-format")"
  fi
  # shellcheck disable=SC2086  # a list of options
  spawn "$name" java $java_options "-Dlog4j2.configurationFile=$data/log4j2.properties" -Djava.awt.headless=true \
    -cp "$jars/*" kafka.Kafka "$config"
}

kafka_answers() { broker_answers "$NOTILOG_KAFKA_PORT"; }

# broker_answers PORT: true once the broker itself answers a Metadata request (version 1, no topics) and names a live
# broker.
broker_answers() {
  local answer
  answer=$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
    printf '\0\0\0\016\0\003\0\001\0\0\0\001\377\377\0\0\0\0' >&3
    timeout 2 head -c 12 <&3 | od -An -tx1 -j 8 | tr -d ' \n'
  )
  # The count of brokers that live.
  [[ $answer =~ ^0000000[1-9]$ ]]
}
