#!/usr/bin/env bash
# Prints the path of the local cluster's kubeconfig. Its server can be reached from inside the cluster's namespace: nsenter.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$CLUSTER_SCRIPTS/cluster.sh"
[ -e "$KUBECONFIG_FILE" ] || die "the cluster $CLUSTER is not up: e2e/cluster/up.sh"
say "$KUBECONFIG_FILE"
