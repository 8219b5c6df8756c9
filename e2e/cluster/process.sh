# shellcheck shell=bash
# Daemons: started with a log, a record of who they are and a cgroup that holds all they ever fork; waited for by a
# condition; ended by that record or that cgroup, never by a name. $RUN is the directory of records and logs, set by whoever
# sources this; $DAEMONS_CGROUP is optional.

# spawn NAME COMMAND...: starts a daemon, unless the one recorded under NAME is alive.
spawn() {
  local name=$1
  shift
  if alive "$name"; then return; fi
  mkdir -p "$RUN"
  # The child writes its own record before it becomes the daemon, so that a kill of this script between the two leaves
  # nothing unrecorded. The start time tells it from a later process with the same number.
  # shellcheck disable=SC2016
  RECORD=$RUN/$name.pid CGROUP=${DAEMONS_CGROUP:-} LOCK=${CACHE_LOCK:-} setsid bash -c '
    read -r -a stat </proc/$$/stat
    echo "$$ ${stat[21]}" >"$RECORD"
    [ -z "$CGROUP" ] || echo $$ >"$CGROUP/cgroup.procs"
    [ -z "$LOCK" ] || exec {LOCK}>&- # a daemon must not hold the lock of the script that started it
    unset RECORD CGROUP LOCK
    exec "$@"
  ' "$name" "$@" </dev/null >"$RUN/$name.log" 2>&1 &
}

# alive NAME: the recorded process runs, and is the one recorded.
alive() {
  local pid started stat
  { read -r pid started <"$RUN/$1.pid"; } 2>/dev/null || return 1
  { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 1
  # The name in brackets may contain blanks; what follows the last bracket does not. A zombie has ended.
  read -r -a stat <<<"${stat##*) }"
  [ "${stat[19]}" = "$started" ] && [ "${stat[0]}" != Z ]
}

# finish NAME [SECONDS]: asks the recorded process to end, insists after that long, returns when it is gone.
finish() {
  local name=$1 patience=${2:-5} pid deadline
  if alive "$name"; then
    read -r pid _ <"$RUN/$name.pid"
    kill -TERM "$pid" 2>/dev/null || true
    deadline=$(($(clock) + patience * 1000))
    while alive "$name" && [ "$(clock)" -lt "$deadline" ]; do sleep 0.05; done
    if alive "$name"; then
      kill -KILL "$pid" 2>/dev/null || true
      while alive "$name"; do sleep 0.05; done
    fi
  fi
  rm -f "$RUN/$name.pid"
}

# await WHAT SECONDS DAEMON COMMAND...: polls until the command succeeds. When the time is up, or the daemon behind it has
# ended, it shows the end of that daemon's log and gives up.
await() {
  local what=$1 patience=$2 daemon=$3 deadline
  shift 3
  deadline=$(($(clock) + patience * 1000))
  until "$@" >/dev/null 2>&1; do
    if [ -n "$daemon" ] && ! alive "$daemon"; then
      blame "$daemon"
      die "$daemon ended while waiting for $what"
    fi
    if [ "$(clock)" -ge "$deadline" ]; then
      [ -z "$daemon" ] || blame "$daemon"
      die "waited $patience s for $what"
    fi
    sleep 0.1
  done
}

# blame DAEMON: the end of its log.
blame() {
  warn "the end of $RUN/$1.log:"
  tail -n 15 "$RUN/$1.log" | cut -c 1-400 >&2 || true
}
