#!/usr/bin/env bash
# Loads image archives into every node of the running cluster. One whose very content is there under its name is skipped.
#
#   import.sh ARCHIVE...
#   import.sh --node SOCKET RECORDS ARCHIVE...    into the containerd at SOCKET, remembering in the directory RECORDS
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# load SOCKET RECORDS ARCHIVE
load() {
  local socket=$1 records=$2 archive=$3 manifest reference digest record started
  manifest=$(tar --extract --occurrence=1 --to-stdout --file "$archive" manifest.json)
  reference=$(jq --raw-output '.[0].RepoTags[0]' <<<"$manifest")
  digest=$(jq --raw-output '.[0].Config' <<<"$manifest")
  # A tag may move to other content, so what is remembered is the digest; it goes with the node's directory.
  record=$records/${reference//\//_}
  if [ -e "$record" ] && [ "$(<"$record")" = "$digest" ]; then
    say "$reference: there"
    return
  fi
  started=$(clock)
  ctr --address "$socket" --namespace k8s.io images import --snapshotter overlayfs "$archive" >/dev/null
  mkdir -p "$records"
  printf '%s\n' "$digest" >"$record.$$"
  mv "$record.$$" "$record"
  say "$reference: imported in $(since "$started")"
}

if [ "${1:-}" = --node ]; then
  socket=$2 records=$3
  shift 3
  for archive in "$@"; do load "$socket" "$records" "$archive"; done
  exit
fi

. "$CLUSTER_SCRIPTS/cluster.sh"
as_root
[ $# -gt 0 ] || die "import.sh ARCHIVE..."
# Into all nodes at once.
imports=()
for socket in "$STATE"/node*/containerd.sock; do
  [ -S "$socket" ] || die "the cluster $CLUSTER is not up: e2e/cluster/up.sh"
  for archive in "$@"; do load "$socket" "$(dirname "$socket")/images" "$archive" | sed "s/^/$(basename "$(dirname "$socket")"): /"; done &
  imports+=($!)
done
for import in "${imports[@]}"; do wait "$import"; done
