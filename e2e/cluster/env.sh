# shellcheck shell=bash disable=SC2034
# Where things are: the cache shared by every clone, and the directory of one running cluster. Sourced by every script
# here, it defines and prints nothing but what it is asked for, and refuses nothing but a shell without bash 4.

CLUSTER_SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions.sh
. "$CLUSTER_SCRIPTS/versions.sh"

# The cache: keyed by version, written by rename only, so what is there is whole. It lives outside the work tree, hence a
# fresh clone is warm.
CACHE=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}
BIN=$CACHE/bin
IMAGES=$CACHE/images

# One cluster: its name, and everything it writes, logs and listens on.
CLUSTER=${HOLDFAST_CLUSTER:-dev}
STATE=${HOLDFAST_CLUSTER_DIR:-$CACHE/clusters}/$CLUSTER

# ChromaDB's own program as Python, without the package around it, whose import takes longer than the server's start.
CHROMA_PROGRAM="import sys, chromadb_rust_bindings; sys.argv[0] = 'chroma'; chromadb_rust_bindings.cli(sys.argv)"

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
  warn "${0##*/}: $*"
  exit 1
}

# Milliseconds since the epoch, and what has passed since such a time, as "1.2 s".
clock() { date +%s%3N; }
since() {
  local ms=$(($(clock) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# exclusively NAME: holds the cache's lock NAME until the calling script ends, so that two clones never build one thing twice.
exclusively() {
  mkdir -p "$CACHE/locks"
  exec {CACHE_LOCK}>"$CACHE/locks/$1"
  if ! flock --nonblock "$CACHE_LOCK"; then
    warn "waiting: another process is preparing $1"
    flock "$CACHE_LOCK"
  fi
}

# scratch NAME: a fresh directory beside what will become of it (one file system, so that rename is atomic). What a killed
# build left there goes after a day.
scratch() {
  mkdir -p "$CACHE/tmp"
  find "$CACHE/tmp" -mindepth 1 -maxdepth 1 -mmin +1440 -exec rm -rf --one-file-system {} + 2>/dev/null || true
  mktemp -d "$CACHE/tmp/$1.XXXXXX"
}
