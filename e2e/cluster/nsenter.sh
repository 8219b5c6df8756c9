#!/usr/bin/env bash
# Runs a command inside the local cluster's network namespace, with KUBECONFIG set: from there pods, services and the S3 server
# can be reached. Names of services resolve in pods only.
#
#   nsenter.sh [--bound] COMMAND...    --bound: and the command, with all it starts, ends with the cluster at the latest
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$CLUSTER_SCRIPTS/cluster.sh"
as_root
[ -e "$KUBECONFIG_FILE" ] || die "the cluster $CLUSTER is not up: e2e/cluster/up.sh"
if [ "${1:-}" = --bound ]; then
  shift
  echo $$ >"$(daemons_cgroup)/cgroup.procs"
fi
KUBECONFIG=$KUBECONFIG_FILE exec nsenter --net="$NETNS" -- "$@"
