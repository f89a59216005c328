# shellcheck shell=bash disable=SC2034
# Folders and ports of the development services, each changeable by environment.
# Sourced by dev/services and by the scripts that use what it starts.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)

NOTILOG_SERVICES_DIR=${NOTILOG_SERVICES_DIR:-$root/.services}
# What is fetched, and does not change with ports or data: two sets of services can share it.
NOTILOG_DOWNLOADS=${NOTILOG_DOWNLOADS:-$root/.services/downloads}

NOTILOG_KAFKA_PORT=${NOTILOG_KAFKA_PORT:-9092}
NOTILOG_KAFKA_CONTROLLER_PORT=${NOTILOG_KAFKA_CONTROLLER_PORT:-9093}
NOTILOG_REGISTRY_PORT=${NOTILOG_REGISTRY_PORT:-8081}
NOTILOG_SMTP_PORT=${NOTILOG_SMTP_PORT:-2525}
NOTILOG_SMTP_CONTROL_PORT=${NOTILOG_SMTP_CONTROL_PORT:-2526}
NOTILOG_TELEGRAM_PORT=${NOTILOG_TELEGRAM_PORT:-8082}
NOTILOG_TELEGRAM_TOKEN=${NOTILOG_TELEGRAM_TOKEN:-123456:TEST}
NOTILOG_WEBHOOK_PORT=${NOTILOG_WEBHOOK_PORT:-8083}
NOTILOG_WEBHOOK_SECRET=${NOTILOG_WEBHOOK_SECRET:-whsec_bm90aWxvZy1kZXZlbG9wbWVudC1zZWNyZXQtMDE=}

# The secured Kafka of `--secure`, beside the plain one.
NOTILOG_SECURE_KAFKA_PORT=${NOTILOG_SECURE_KAFKA_PORT:-9094}
NOTILOG_SECURE_KAFKA_CONTROLLER_PORT=${NOTILOG_SECURE_KAFKA_CONTROLLER_PORT:-9095}

# The Kafkas that tests kill: one node of `--faults`, three of `--cluster` (and their controllers, ten above).
NOTILOG_FAULTS_KAFKA_PORT=${NOTILOG_FAULTS_KAFKA_PORT:-9096}
NOTILOG_FAULTS_KAFKA_CONTROLLER_PORT=${NOTILOG_FAULTS_KAFKA_CONTROLLER_PORT:-9097}
NOTILOG_CLUSTER_PORT=${NOTILOG_CLUSTER_PORT:-9101}

# Relative folders are taken from where the caller stands, once, so that a later `cd` cannot move them.
[[ $NOTILOG_SERVICES_DIR == /* ]] || NOTILOG_SERVICES_DIR=$PWD/$NOTILOG_SERVICES_DIR
[[ $NOTILOG_DOWNLOADS == /* ]] || NOTILOG_DOWNLOADS=$PWD/$NOTILOG_DOWNLOADS

all_services=(kafka registry smtp telegram webhook)

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
  warn "error: $*"
  exit 1
}
