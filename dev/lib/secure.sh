# shellcheck shell=bash disable=SC2034,SC2154
# A Kafka that lets nobody in without TLS, a password and rights: SASL_SSL with SCRAM-SHA-512 and the standard
# authorizer, with users and a certificate authority of its own. The registry and the stand-ins are the plain set's.

# admin may do everything; the others may do nothing until someone grants it (notilog topics apply --acls).
secure_users=(admin router deliver cli producer reader)

# Everything of the secured set lies in a folder of its own.
use_secure() {
  NOTILOG_SERVICES_DIR=$NOTILOG_SERVICES_DIR/secure
  all_services=(secure_kafka)
}

secure_kafka_ports() {
  say "$NOTILOG_SECURE_KAFKA_PORT NOTILOG_SECURE_KAFKA_PORT"
  say "$NOTILOG_SECURE_KAFKA_CONTROLLER_PORT NOTILOG_SECURE_KAFKA_CONTROLLER_PORT"
}
secure_kafka_address() { say "localhost:$NOTILOG_SECURE_KAFKA_PORT (CA $(secure_tls_dir)/ca.pem, users $(secure_user_dir))"; }

secure_tls_dir() { say "$(data_dir secure_kafka)/tls"; }
secure_user_dir() { say "$(data_dir secure_kafka)/users"; }

# secure_password USER
secure_password() { cat "$(secure_user_dir)/$1" 2>/dev/null; }

# The node is its own controller's client: it shows its certificate there. Markers of transactions go from the broker
# to itself as admin.
secure_kafka_properties() {
  cat <<EOF
listeners=SASL_SSL://127.0.0.1:$NOTILOG_SECURE_KAFKA_PORT,CONTROLLER://127.0.0.1:$NOTILOG_SECURE_KAFKA_CONTROLLER_PORT
advertised.listeners=SASL_SSL://localhost:$NOTILOG_SECURE_KAFKA_PORT
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=SASL_SSL
controller.quorum.bootstrap.servers=localhost:$NOTILOG_SECURE_KAFKA_CONTROLLER_PORT
log.dirs=$(data_dir secure_kafka)/log
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="$(secure_password admin)";
ssl.keystore.type=PEM
ssl.keystore.location=$(secure_tls_dir)/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$(secure_tls_dir)/ca.pem
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:admin;User:CN=localhost
EOF
  single_node_properties
}

make_secrets() {
  local tls users user
  tls=$(secure_tls_dir)
  users=$(secure_user_dir)
  mkdir -p "$tls" "$users"
  "$NOTILOG_DOWNLOADS/python/bin/python" "$root/dev/standins/certificate.py" "$tls"
  cat "$tls/server.key" "$tls/server.pem" "$tls/ca.pem" >"$tls/keystore.pem"
  for user in "${secure_users[@]}"; do
    [[ -s $users/$user ]] || head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$users/$user"
  done
}

start_secure_kafka() {
  local user scram=()
  (
    umask 077
    make_secrets
  )
  for user in "${secure_users[@]}"; do
    scram+=(--add-scram "SCRAM-SHA-512=[name=$user,password=$(secure_password "$user")]")
  done
  (
    umask 077
    start_broker secure_kafka secure_kafka_properties \
      "${NOTILOG_SECURE_KAFKA_JAVA_OPTS:--Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}" \
      "$(new_kafka_id)" --standalone "${scram[@]}"
  )
}

# True once admin can log in and is told of a broker.
secure_kafka_answers() {
  NOTILOG_SECURE_PASSWORD_ADMIN=$(secure_password admin) "$NOTILOG_DOWNLOADS/python/bin/python" \
    "$root/dev/lib/secure_answers.py" "localhost:$NOTILOG_SECURE_KAFKA_PORT" "$(secure_tls_dir)/ca.pem" 2>/dev/null
}

print_secure_env() {
  local name user
  for name in "${!NOTILOG_SECURE_@}"; do printf 'export %s=%q\n' "$name" "${!name}"; done
  printf 'export NOTILOG_SECURE_KAFKA=%q\n' "localhost:$NOTILOG_SECURE_KAFKA_PORT"
  printf 'export NOTILOG_SECURE_CA=%q\n' "$(secure_tls_dir)/ca.pem"
  printf 'export NOTILOG_SECURE_USERS=%q\n' "$(secure_user_dir)"
  for user in "${secure_users[@]}"; do
    printf 'export NOTILOG_SECURE_PASSWORD_%s=%q\n' "${user^^}" "$(secure_password "$user" || true)"
  done
}
