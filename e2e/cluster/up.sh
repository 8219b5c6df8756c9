#!/usr/bin/env bash
# Brings up the local cluster and returns when it works: names resolve, a claim binds and can be snapshotted, the bucket takes a
# write. Up already, it says so; half up, it completes. Cold it builds everything first.
#
#   [HOLDFAST_CLUSTER=NAME] [HOLDFAST_NODES=2] up.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ "$(id -u)" = 0 ] || die "only root can make namespaces and mounts: run it with sudo"

"$CLUSTER_SCRIPTS/deps.sh"
"$CLUSTER_SCRIPTS/tools.sh" etcd kube-apiserver kubectl kubelet kube-controller-manager kube-scheduler kube-proxy csi-btrfs \
  coredns csi-provisioner csi-snapshotter snapshot-controller snapshot-crds | { grep --invert-match --line-buffered ': cached$' || true; }
"$CLUSTER_SCRIPTS/images.sh" | { grep --invert-match ': cached$' || true; }
"$CLUSTER_SCRIPTS/seed.sh"
"$CLUSTER_SCRIPTS/python.sh" weed >/dev/null

. "$CLUSTER_SCRIPTS/cluster.sh"
. "$CLUSTER_SCRIPTS/process.sh"
. "$CLUSTER_SCRIPTS/certs.sh"
. "$CLUSTER_SCRIPTS/network.sh"
. "$CLUSTER_SCRIPTS/control-plane.sh"
. "$CLUSTER_SCRIPTS/node.sh"
. "$CLUSTER_SCRIPTS/storage.sh"
exclusively "cluster-$CLUSTER"

mapfile -t NODES < <(seq --format='node%g' "${HOLDFAST_NODES:-2}")
DAEMONS=(etcd kube-apiserver kube-controller-manager kube-scheduler csi-provisioner csi-snapshotter snapshot-controller seaweedfs)
for node in "${NODES[@]}"; do DAEMONS+=("containerd-$node" "kubelet-$node" "kube-proxy-$node" "csi-$node"); done

stage() { printf '  %-28s %s\n' "$1" "$(since "$started")"; }

dns_answers() { within timeout 1 bash -c ": </dev/tcp/$DNS_SERVICE_IP/53"; }
dns_available() {
  [ "$(kubectl get deployment coredns --namespace=kube-system --output='jsonpath={.status.availableReplicas}')" = 1 ] && dns_answers
}

healthy() {
  local daemon node
  for daemon in "${DAEMONS[@]}"; do alive "$daemon" || return 1; done
  for node in "${NODES[@]}"; do node_ready "$node" || return 1; done
  apiserver_ready && dns_available
}

if [ -d "$RUN" ] && healthy >/dev/null 2>&1; then
  say "cluster $CLUSTER is up"
  exit
fi

started=$(clock)
say "cluster $CLUSTER: starting (logs: $RUN)"
mkdir -p "$STATE"
chmod 711 "$STATE"
cgroup_up "${NODES[@]}"
for node in "${NODES[@]}"; do network_node "$node"; done
etcd_up
for node in "${NODES[@]}"; do
  mkdir -p "$(node_dir "$node")"
  "$CLUSTER_SCRIPTS/seed.sh" --plant "$(node_dir "$node")"
  containerd_up "$node"
done
pool_up
control_plane_certificates
apiserver_up
s3_up
for node in "${NODES[@]}"; do
  await "containerd on $node" 20 "containerd-$node" containerd_ready "$node"
done
stage "containerd"
await "the API server" 60 kube-apiserver apiserver_ready
stage "API server"
controllers_up
for node in "${NODES[@]}"; do
  csi_up "$node"
  kubelet_up "$node"
  proxy_up "$node"
done
snapshot_api_up
sed "s/:VERSION$/:$COREDNS_VERSION/" "$CLUSTER_SCRIPTS/manifests/coredns.yaml" |
  kubectl apply --server-side --filename=- --filename="$CLUSTER_SCRIPTS/manifests/storage.yaml" >/dev/null
await "the snapshots' API" 30 kube-apiserver snapshot_api_served
provisioner_up
snapshots_up
for node in "${NODES[@]}"; do
  await "node $node to be Ready" 60 "kubelet-$node" node_ready "$node"
done
stage "node"
await "a claim to bind" 60 csi-provisioner claim_binds
stage "volumes"
snapshot_ready >/dev/null 2>&1 || true # only begun: there is more to wait for meanwhile
await "the bucket $S3_BUCKET" 60 seaweedfs bucket_ready
stage "S3"
await "CoreDNS to be available" 60 "kubelet-node1" dns_available
stage "DNS"
await "a snapshot" 60 csi-snapshotter snapshot_ready
stage "snapshots"
kubectl delete volumesnapshot,pvc holdfast-probe --namespace=kube-system --wait=false >/dev/null
say "cluster $CLUSTER is up after $(since "$started"): e2e/cluster/kubectl.sh get pods -A"
