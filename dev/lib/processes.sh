# shellcheck shell=bash
# Starting, finding and ending the services' processes by pid files that cannot name a stranger.

pid_file() { say "$NOTILOG_SERVICES_DIR/pids/$1"; }
log_file() { say "$NOTILOG_SERVICES_DIR/logs/$1.log"; }
data_dir() { say "$NOTILOG_SERVICES_DIR/data/$1"; }

# The kernel's start time of a process: with it, a pid that was given to another process is noticed.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The command's name may hold blanks and brackets: fields count from the last bracket.
  stat=${stat##*) }
  read -ra stat <<<"$stat"
  [[ ${stat[0]} != Z ]] || return 1
  say "${stat[19]}"
}

# Prints the pid of a service that runs; fails, and forgets a stale pid file, otherwise.
running_pid() {
  local file pid started
  file=$(pid_file "$1")
  [[ -f $file ]] || return 1
  read -r pid started <"$file" || true
  if [[ -n $pid && -n $started && $(start_time "$pid") == "$started" ]]; then
    say "$pid"
    return 0
  fi
  rm -f "$file"
  return 1
}

# spawn NAME COMMAND...: runs on without the shell, its output in the service's log.
spawn() {
  local name=$1 log pid fd
  shift
  log=$(log_file "$name")
  [[ ! -f $log ]] || mv -f "$log" "$log.1"
  (
    # A pipe that the caller waits on, or our lock, must not stay open in a service.
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      ((fd <= 2)) || eval "exec $fd>&-"
    done
    exec setsid nohup "$@" >"$log" 2>&1 </dev/null
  ) &
  pid=$!
  say "$pid $(start_time "$pid")" >"$(pid_file "$name")"
}

stop_service() {
  local name=$1 pid waited=0
  pid=$(running_pid "$name") || return 0
  kill -TERM "$pid" 2>/dev/null || true
  while running_pid "$name" >/dev/null; do
    if ((waited == 100)); then
      warn "$name did not end within 10 s: killing it"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    sleep 0.1
    ((++waited))
  done
  say "$(printf '%-12s stopped' "$name")"
}

port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# require_free_port SERVICE PORT VARIABLE
require_free_port() {
  local holder=""
  port_is_open "$2" || return 0
  if command -v ss >/dev/null; then
    holder=$(ss -Hltnp "sport = :$2" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ by \1 (pid \2)/p' | head -n 1)
  fi
  die "port $2, wanted for $1, is taken$holder: end that process or set $3 to a free port"
}
