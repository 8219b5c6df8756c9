#!/usr/bin/env bash
# kubectl against the local cluster, from inside its network namespace.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$CLUSTER_SCRIPTS/cluster.sh"
as_root
[ -e "$KUBECONFIG_FILE" ] || die "the cluster $CLUSTER is not up: e2e/cluster/up.sh"
exec nsenter --net="$NETNS" -- "$KUBECTL" --kubeconfig="$KUBECONFIG_FILE" "$@"
