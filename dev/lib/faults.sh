# shellcheck shell=bash disable=SC2034,SC2154
# Kafkas that a test may kill: one node (--faults), and three on loopback (--cluster). Small, with short sessions, so
# that what a broker's death does is seen within seconds.

use_faults() {
  NOTILOG_SERVICES_DIR=$NOTILOG_SERVICES_DIR/faults
  all_services=(faults_kafka)
}

use_cluster() {
  NOTILOG_SERVICES_DIR=$NOTILOG_SERVICES_DIR/cluster
  all_services=(cluster_1 cluster_2 cluster_3)
}

faults_java_options() { say "${NOTILOG_FAULTS_JAVA_OPTS:--Xmx400m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}"; }

faults_kafka_ports() {
  say "$NOTILOG_FAULTS_KAFKA_PORT NOTILOG_FAULTS_KAFKA_PORT"
  say "$NOTILOG_FAULTS_KAFKA_CONTROLLER_PORT NOTILOG_FAULTS_KAFKA_CONTROLLER_PORT"
}
faults_kafka_address() { say "127.0.0.1:$NOTILOG_FAULTS_KAFKA_PORT"; }
faults_kafka_answers() { broker_answers "$NOTILOG_FAULTS_KAFKA_PORT"; }
start_faults_kafka() {
  start_broker faults_kafka faults_kafka_properties "$(faults_java_options)" "$(new_kafka_id)" --standalone
}

# loopback_listeners PORT CONTROLLER_PORT
loopback_listeners() {
  cat <<EOF
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
advertised.listeners=PLAINTEXT://127.0.0.1:$1
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
EOF
}

faults_kafka_properties() {
  loopback_listeners "$NOTILOG_FAULTS_KAFKA_PORT" "$NOTILOG_FAULTS_KAFKA_CONTROLLER_PORT"
  cat <<EOF
controller.quorum.bootstrap.servers=127.0.0.1:$NOTILOG_FAULTS_KAFKA_CONTROLLER_PORT
log.dirs=$(data_dir faults_kafka)/log
log.cleaner.backoff.ms=300
log.retention.check.interval.ms=1000
EOF
  single_node_properties
}

# Node N of the cluster listens at NOTILOG_CLUSTER_PORT + N - 1, its controller ten above.
cluster_port() { say $((NOTILOG_CLUSTER_PORT + $1 - 1)); }
cluster_controller_port() { say $((NOTILOG_CLUSTER_PORT + $1 + 9)); }
# Each node is formatted on its own, and all must agree on these.
cluster_id=NotilogClusterAAAAAAAA
cluster_directory_id() { say "NotilogNode$1AAAAAAAAAA"; }

# The three nodes as "node@controller:directory", one a line.
cluster_voters() {
  local node
  for node in 1 2 3; do
    say "$node@127.0.0.1:$(cluster_controller_port "$node"):$(cluster_directory_id "$node")"
  done
}

cluster_controllers() {
  local node
  for node in 1 2 3; do say "127.0.0.1:$(cluster_controller_port "$node")"; done
}

cluster_properties() {
  loopback_listeners "$(cluster_port "$1")" "$(cluster_controller_port "$1")"
  cat <<EOF
process.roles=broker,controller
node.id=$1
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=$(cluster_controllers | paste -sd,)
log.dirs=$(data_dir "cluster_$1")/log
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=10
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
share.coordinator.state.topic.num.partitions=5
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.timeout.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=33554432
EOF
}

start_cluster_node() {
  start_broker "cluster_$1" "cluster_$1_properties" "$(faults_java_options)" "$cluster_id" \
    --initial-controllers "$(cluster_voters | paste -sd,)"
}

cluster_1_properties() { cluster_properties 1; }
cluster_2_properties() { cluster_properties 2; }
cluster_3_properties() { cluster_properties 3; }
cluster_1_ports() { say "$(cluster_port 1) NOTILOG_CLUSTER_PORT"; }
cluster_2_ports() { say "$(cluster_port 2) NOTILOG_CLUSTER_PORT"; }
cluster_3_ports() { say "$(cluster_port 3) NOTILOG_CLUSTER_PORT"; }
cluster_1_address() { say "127.0.0.1:$(cluster_port 1)"; }
cluster_2_address() { say "127.0.0.1:$(cluster_port 2)"; }
cluster_3_address() { say "127.0.0.1:$(cluster_port 3)"; }
cluster_1_answers() { broker_answers "$(cluster_port 1)"; }
cluster_2_answers() { broker_answers "$(cluster_port 2)"; }
cluster_3_answers() { broker_answers "$(cluster_port 3)"; }
start_cluster_1() { start_cluster_node 1; }
start_cluster_2() { start_cluster_node 2; }
start_cluster_3() { start_cluster_node 3; }
