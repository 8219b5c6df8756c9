# shellcheck shell=bash
# What run.sh and demo.sh have in common: everything that a run of the e2e program needs is made, and taken away again.
# A cluster that was up before stays up. With HOLDFAST_E2E_CLUSTER=existing and KUBECONFIG set, none is started.

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$E2E/.." && pwd)
# shellcheck source=cluster/env.sh
. "$E2E/cluster/env.sh"

bed_started=false
bed_child=''
bed_signal=''
# Notes of this run: `child`, the one under way, and `archives`, the product's images.
bed_notes=''
bed_guard=''
# Names the run that a cluster was started by, and only for.
bed_owner=$STATE/owner

# step TEXT: a line of progress.
step() { printf '%5s s  %s\n' $((SECONDS)) "$*"; }

existing() { [ "${HOLDFAST_E2E_CLUSTER:-}" = existing ]; }

# started PID: when it was started, in the kernel's ticks; tells it from a later process with the same number.
started() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -r -a stat <<<"${stat##*) }"
  say "${stat[19]}"
}

# doing COMMAND...: in a process group of its own and not waited for by the shell itself, so that a signal is answered at
# once and ends all of it, whatever it has started. `through` instead lets it come to its end.
doing() { bed_do group "$@"; }
through() { bed_do none "$@"; }
bed_do() {
  local how=$1 code=0
  shift
  set -m
  "$@" &
  set +m
  bed_child=$!
  case $how in
    group) bed_signal=-$bed_child ;;
    process) bed_signal=$bed_child ;;
    none) bed_signal='' ;;
  esac
  echo "$bed_child $bed_signal" >"$bed_notes/child"
  wait "$bed_child" || code=$?
  bed_child=''
  : >"$bed_notes/child"
  return "$code"
}

# bed_watch: what no trap can do. When this shell is killed, a process in a session of its own ends what it had begun, and takes
# the cluster away that it had started.
bed_watch() {
  bed_notes=$(mktemp --directory)
  # shellcheck disable=SC2016
  setsid bash -c '
    tail --pid="$1" -f /dev/null
    if read -r child signal <"$2/child"; then
      [ -z "$signal" ] || kill -TERM -- "$signal"
      tail --pid="$child" -f /dev/null
    fi
    rm -rf "$2"
    exec "$4" --owner "$3"
  ' guard $$ "$bed_notes" "$$ $(started $$)" "$E2E/cluster/down.sh" </dev/null >/dev/null 2>&1 &
  bed_guard=$!
}

bed_down() {
  local code=$?
  trap '' INT TERM HUP
  if [ -n "$bed_child" ]; then
    [ -z "$bed_signal" ] || kill -TERM -- "$bed_signal" 2>/dev/null || true
    wait "$bed_child" || true
  fi
  if $bed_started; then "$E2E/cluster/down.sh" || code=1; fi
  kill -TERM -- "-$bed_guard" 2>/dev/null || true
  rm -rf "$bed_notes"
  exit "$code"
}

# bed_own: this run's cluster is its own, unless somebody has it up.
bed_own() {
  local pid since
  if [ -e "$bed_owner" ]; then
    read -r pid since <"$bed_owner"
    [ "$(started "$pid")" != "$since" ] || die "run $pid plays in cluster $CLUSTER: wait for it, or take another one, HOLDFAST_CLUSTER=NAME"
    # It was killed.
    "$E2E/cluster/down.sh"
  elif [ -e "$STATE/kubeconfig" ]; then
    return
  fi
  # Before the first daemon, so that a half-started cluster is taken down as well.
  bed_started=true
  mkdir -p "$STATE"
  echo "$$ $(started $$)" >"$bed_owner"
}

# What was there already is not worth a line.
without_cached() { "$@" | { grep --invert-match --line-buffered ': cached$' || true; }; }

# bed_up: packages, tools, images, cluster, the product, the e2e program.
bed_up() {
  trap bed_down EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  bed_watch
  if existing; then
    [ -n "${KUBECONFIG:-}" ] || die "HOLDFAST_E2E_CLUSTER=existing wants KUBECONFIG as well"
    step "kubectl, helm and ChromaDB's server"
    doing without_cached "$E2E/cluster/tools.sh" kubectl helm
    doing "$E2E/cluster/python.sh" chromadb >/dev/null
  else
    step "Debian packages, tools, images (the first time this takes long)"
    # A package that is half installed is nobody's wish.
    through "$E2E/cluster/deps.sh"
    doing without_cached "$E2E/cluster/tools.sh"
    doing "$E2E/cluster/python.sh" >/dev/null
    doing without_cached "$E2E/cluster/images.sh"
  fi
  step "the product's programs and images"
  doing "$E2E/cluster/holdfast-images.sh" >"$bed_notes/archives"
  step "the e2e program"
  doing env --chdir="$ROOT" "$E2E/cluster/crates.sh" restore
  # A test is named so that the features are those of make test, and nothing is compiled twice.
  doing cargo build --quiet --manifest-path "$ROOT/Cargo.toml" --workspace --bin e2e --test layers
  if ! existing; then
    step "the cluster"
    bed_own
    doing "$E2E/cluster/up.sh"
    # shellcheck disable=SC2046 # two paths without blanks
    doing "$E2E/cluster/import.sh" $(<"$bed_notes/archives")
  fi
}

# bed_run COMMAND [ARGUMENTS...]: the e2e program, where it can reach the pods.
bed_run() {
  local program=${CARGO_TARGET_DIR:-$ROOT/target}/debug/e2e enter=() passing=() command=$1
  shift
  HOLDFAST_CLI=${HOLDFAST_CLI:-$("$E2E/cluster/holdfast-images.sh" --print-cli)}
  export HOLDFAST_CLI
  existing || enter=("$E2E/cluster/nsenter.sh" --bound)
  # Nobody looks into a cluster that goes, so nothing in it has to be tidied up.
  ! $bed_started || passing=(--passing-cluster)
  step "e2e $command $*"
  # To the program alone: it ends what it has started.
  bed_do process ${enter[@]+"${enter[@]}"} "$program" "$command" ${passing[@]+"${passing[@]}"} "$@"
}
