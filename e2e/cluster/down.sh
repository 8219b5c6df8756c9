#!/usr/bin/env bash
# Takes the local cluster down, whatever state it is in: no process, mount, namespace, device or cgroup of it stays, nor its
# data. Works after a kill of anything, and after half an up.sh. The logs of its daemons are kept in the cache.
#
#   [HOLDFAST_CLUSTER=NAME] down.sh [--owner RUN]    --owner: unless another run has started it, see e2e/bed.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$CLUSTER_SCRIPTS/cluster.sh"
. "$CLUSTER_SCRIPTS/process.sh"
as_root
exclusively "cluster-$CLUSTER"
if [ "${1:-}" = --owner ] && [ "$(cat "$STATE/owner" 2>/dev/null || true)" != "${2:?--owner wants what the file owner holds}" ]; then exit; fi
started=$(clock)

# The mount points below $STATE, the innermost first.
mounts() {
  local point
  awk '{ print $5 }' /proc/self/mountinfo | tac | while read -r point; do
    printf -v point '%b' "${point//\\/\\0}"
    [[ $point != "$STATE"/* ]] || printf '%s\n' "$point"
  done
}

# What the container tools keep outside of their directories, in places that the whole machine shares: sockets of shims, the
# last result of each CNI call, links to logs. Read before the cluster's own directory is gone.
litter() {
  local task id
  for task in "$STATE"/node*/containerd-state/io.containerd.runtime.v2.task/k8s.io/*; do
    [ -d "$task" ] || continue
    id=$(basename "$task")
    [ ! -s "$task/address" ] || sed 's|^unix://||' "$task/address"
    printf '\n%s\n' "/var/lib/cni/results/$CGROUP-$id-eth0" "/var/lib/cni/results/cni-loopback-$id-lo"
  done
  find /var/lib/cni/results -regextype posix-extended -regex ".*/$CGROUP-[0-9a-f]{64}-eth0" 2>/dev/null || true
  find /var/log/containers -maxdepth 1 -lname "$STATE/*" 2>/dev/null || true
}

if [ ! -e "$STATE" ] && [ -z "$(cgroup_processes)" ]; then
  cgroup_down
  say "cluster $CLUSTER is not up"
  exit
fi

# Who would start others again goes first; then everything in the cluster's cgroups at once. Its data goes with it, so
# nothing needs to end gracefully.
left=$(litter)
for record in "$RUN"/kubelet-*.pid "$RUN"/*.pid; do
  [ -e "$record" ] || continue
  name=$(basename "$record" .pid)
  finish "$name" 0
done
cgroup_down

deadline=$(($(clock) + 20000))
while [ -n "$(mounts)" ]; do
  while read -r point; do umount "$point" 2>/dev/null || true; done < <(mounts)
  [ "$(clock)" -lt "$deadline" ] || die "these do not unmount: $(mounts | tr '\n' ' ')"
done
if [ -e "$STATE/pool.img" ]; then
  losetup --associated "$STATE/pool.img" --output NAME --noheadings | while read -r device; do losetup --detach "$device"; done
fi

xargs --no-run-if-empty --delimiter='\n' rm -f <<<"$left"
for shared in /run/containerd/s /run/containerd /var/log/containers /var/lib/cni/results /var/lib/cni; do
  rmdir --ignore-fail-on-non-empty "$shared" 2>/dev/null || true
done

if [ -d "$RUN" ]; then
  mkdir -p "$CACHE/logs"
  rm -rf "$CACHE/logs/cluster-$CLUSTER"
  mv "$RUN" "$CACHE/logs/cluster-$CLUSTER"
fi
for node in "$STATE"/node*; do
  [ ! -d "$node" ] || "$CLUSTER_SCRIPTS/seed.sh" --uproot "$node"
done
rm -rf --one-file-system "$STATE"
say "cluster $CLUSTER is down after $(since "$started")"
