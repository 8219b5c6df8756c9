#!/usr/bin/env bash
# Loads image archives into every node of the running cluster. One whose very content is there under its name is skipped.
#
#   import.sh ARCHIVE...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$CLUSTER_SCRIPTS/cluster.sh"

as_root
[ $# -gt 0 ] || die "import.sh ARCHIVE..."
for archive in "$@"; do
  manifest=$(tar --extract --occurrence=1 --to-stdout --file "$archive" manifest.json)
  reference=$(jq --raw-output '.[0].RepoTags[0]' <<<"$manifest")
  digest=$(jq --raw-output '.[0].Config' <<<"$manifest")
  for socket in "$STATE"/node*/containerd.sock; do
    [ -S "$socket" ] || die "the cluster $CLUSTER is not up: e2e/cluster/up.sh"
    # A tag may move to other content, so what is remembered is the digest; it goes with the node's directory.
    record=$(dirname "$socket")/images/${reference//\//_}
    if [ -e "$record" ] && [ "$(<"$record")" = "$digest" ]; then
      say "$reference: there"
      continue
    fi
    started=$(clock)
    ctr --address "$socket" --namespace k8s.io images import --snapshotter overlayfs "$archive" >/dev/null
    mkdir -p "$(dirname "$record")"
    printf '%s\n' "$digest" >"$record.$$"
    mv "$record.$$" "$record"
    say "$reference: imported in $(since "$started")"
  done
done
