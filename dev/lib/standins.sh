# shellcheck shell=bash disable=SC2154
# The providers' stand-ins: what notilog delivers to, with answers that a test can script.

smtp_ports() { say "$NOTILOG_SMTP_PORT NOTILOG_SMTP_PORT" "$NOTILOG_SMTP_CONTROL_PORT NOTILOG_SMTP_CONTROL_PORT"; }
smtp_address() {
  say "127.0.0.1:$NOTILOG_SMTP_PORT (control http://127.0.0.1:$NOTILOG_SMTP_CONTROL_PORT, CA $(data_dir smtp)/ca.pem)"
}
start_smtp() {
  mkdir -p "$(data_dir smtp)"
  spawn smtp "$NOTILOG_DOWNLOADS/python/bin/python" "$root/dev/standins/smtp.py" \
    --port "$NOTILOG_SMTP_PORT" --control-port "$NOTILOG_SMTP_CONTROL_PORT" --tls-dir "$(data_dir smtp)"
}
smtp_answers() {
  local banner
  banner=$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$NOTILOG_SMTP_PORT" || exit
    IFS= read -r -t 2 banner <&3
    printf 'QUIT\r\n' >&3
    say "$banner"
  )
  [[ $banner == 220* ]] && healthy "$NOTILOG_SMTP_CONTROL_PORT"
}

telegram_ports() { say "$NOTILOG_TELEGRAM_PORT NOTILOG_TELEGRAM_PORT"; }
telegram_address() { say "http://127.0.0.1:$NOTILOG_TELEGRAM_PORT"; }
start_telegram() {
  spawn telegram env "NODE_PATH=$NOTILOG_DOWNLOADS/node/node_modules" node "$root/dev/standins/telegram.js" \
    --port "$NOTILOG_TELEGRAM_PORT" --token "$NOTILOG_TELEGRAM_TOKEN"
}
telegram_answers() { healthy "$NOTILOG_TELEGRAM_PORT"; }

webhook_ports() { say "$NOTILOG_WEBHOOK_PORT NOTILOG_WEBHOOK_PORT"; }
webhook_address() { say "http://127.0.0.1:$NOTILOG_WEBHOOK_PORT"; }
start_webhook() {
  spawn webhook "$NOTILOG_DOWNLOADS/python/bin/python" "$root/dev/standins/webhook.py" \
    --port "$NOTILOG_WEBHOOK_PORT" --secret "$NOTILOG_WEBHOOK_SECRET"
}
webhook_answers() { healthy "$NOTILOG_WEBHOOK_PORT"; }

healthy() { curl -sf -m 2 -o /dev/null --noproxy '*' "http://127.0.0.1:$1/healthz"; }
