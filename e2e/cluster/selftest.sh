#!/usr/bin/env bash
# Proves the test bed itself, on a cluster of its own beside whatever runs: ChromaDB on a claim answers by its Service's name
# from another node and keeps its data when its pod goes; a claim made of a snapshot holds that data; a volume of one node is
# not to be had on the other; logs and exec work; nothing gets out; and after a kill -9 of the nodes' daemons down.sh leaves
# nothing behind. Takes under a minute once built.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
export HOLDFAST_CLUSTER=selftest HOLDFAST_NODES=2
CLUSTER=selftest STATE=${STATE%/*}/selftest
. "$CLUSTER_SCRIPTS/cluster.sh"

# What a cluster could leave behind that names it.
remains() {
  grep --fixed-strings "$STATE" /proc/self/mountinfo || true
  losetup --list --noheadings --output NAME,BACK-FILE | grep --fixed-strings "$STATE" || true
  find /sys/fs/cgroup -name 'holdfast-selftest' 2>/dev/null || true
  find /var/lib/cni /var/log/containers -name '*holdfast-selftest*' -o -lname "$STATE/*" 2>/dev/null || true
  find "$STATE" -maxdepth 0 2>/dev/null || true
  # Environment and arguments both: a shim names the directory only in its arguments.
  grep --files-with-matches --fixed-strings --text "$STATE" /proc/[0-9]*/cmdline 2>/dev/null || true
}

expect() {
  local what=$1
  shift
  "$@" >/dev/null || die "failed: $what"
  say "ok: $what"
}

kubectl() { "$CLUSTER_SCRIPTS/kubectl.sh" --namespace=selftest "$@"; }
# apply_manifest NAME: one of manifests/.
apply_manifest() {
  sed "s/CHROMADB_VERSION/$CHROMADB_VERSION/" "$CLUSTER_SCRIPTS/manifests/$1.yaml" | "$CLUSTER_SCRIPTS/kubectl.sh" apply --filename=- >/dev/null
}
# within_pod POD: runs the Python on standard input there.
within_pod() { kubectl exec --stdin "$1" -- python3 -; }
ask() { within_pod asker; }
# snapshot CLAIM NAME
snapshot() {
  kubectl apply --filename=- >/dev/null <<YAML
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: $2}
spec: {source: {persistentVolumeClaimName: $1}}
YAML
  kubectl wait --for=jsonpath='{.status.readyToUse}'=true "volumesnapshot/$2" --timeout=20s
}

# Python that talks to the database.
TALK='
import json, urllib.request
SERVER = "chroma"
COLLECTIONS = "http://%s:8000/api/v2/tenants/default_tenant/databases/default_database/collections"
def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(COLLECTIONS % SERVER + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
def post(path, body):
    return call("POST", path, body)
'

"$CLUSTER_SCRIPTS/down.sh"
trap '"$CLUSTER_SCRIPTS/down.sh"' EXIT
"$CLUSTER_SCRIPTS/up.sh"
apply_manifest selftest
kubectl rollout status statefulset/chroma --timeout=90s >/dev/null
kubectl wait --for=condition=Ready pod/asker --timeout=60s >/dev/null

expect "a pod on the other node writes through the Service's name" ask <<PYTHON
$TALK
papers = post("", {"name": "papers"})["id"]
post(f"/{papers}/add", {"ids": ["a", "b"], "embeddings": [[1.0, 2.0], [3.0, 4.0]], "documents": ["one", "two"]})
PYTHON
expect "logs can be read" grep --quiet "No telemetry" <(kubectl logs chroma-0)
expect "also from node2" grep --quiet "Serving HTTP" <(kubectl logs asker)
for pod in chroma-0 asker; do
  expect "the S3 server can be reached from $pod" within_pod "$pod" <<PYTHON
import socket
socket.create_connection(("$CONTROL_PLANE_IP", $S3_PORT), timeout=3)
PYTHON
done
expect "a pod of node1 reaches one of node2 directly" within_pod chroma-0 <<PYTHON
import urllib.request
urllib.request.urlopen("http://$(kubectl get pod asker --output='jsonpath={.status.podIP}'):8001", timeout=3)
PYTHON
kubectl delete pod chroma-0 >/dev/null
kubectl rollout status statefulset/chroma --timeout=60s >/dev/null
expect "the data outlives the pod" ask <<PYTHON
$TALK
papers = call("GET", "/papers")["id"]
assert call("GET", f"/{papers}/count") == 2
assert post(f"/{papers}/get", {"ids": ["b"], "include": ["documents"]})["documents"] == ["two"]
PYTHON
expect "a snapshot of the claim can be used" snapshot data-chroma-0 then
ask <<PYTHON
$TALK
papers = call("GET", "/papers")["id"]
post(f"/{papers}/add", {"ids": ["c"], "embeddings": [[5.0, 6.0]]})
PYTHON
apply_manifest selftest-restored
expect "a claim made of the snapshot binds" kubectl wait --for=jsonpath='{.status.phase}'=Bound pvc/restored --timeout=20s
kubectl wait --for=condition=Ready pod/restored --timeout=60s >/dev/null
expect "and holds what was there then, and nothing later" ask <<PYTHON
$TALK
assert call("GET", f"/{call('GET', '/papers')['id']}/count") == 3
SERVER = "restored"
papers = call("GET", "/papers")["id"]
assert call("GET", f"/{papers}/count") == 2
assert post(f"/{papers}/get", {"ids": ["b"], "include": ["documents"]})["documents"] == ["two"]
PYTHON
apply_manifest selftest-local
kubectl wait --for=condition=Ready pod/at-home --timeout=60s >/dev/null
within_pod at-home <<<'open("/data/file", "w").write("from node1")'
snapshot local local >/dev/null
apply_manifest selftest-away
expect "a pod that wants a volume of node1 on node2 is not placed" kubectl wait \
  --for=jsonpath='{.status.conditions[?(@.type=="PodScheduled")].reason}'=Unschedulable pod/away --timeout=20s
expect "for that reason" grep --quiet "PersistentVolume.s node affinity" \
  <(kubectl get pod away --output='jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}')
kubectl wait --for=condition=Ready pod/with-copy --timeout=60s >/dev/null
expect "a copy of that volume is on node2" within_pod with-copy <<<'assert open("/data/file").read() == "from node1"'
expect "names outside do not exist, at once" ask <<'PYTHON'
import socket, time
begun = time.monotonic()
try:
    socket.getaddrinfo("example.com", 80)
    raise SystemExit("example.com resolves")
except socket.gaierror:
    assert time.monotonic() - begun < 2, "the answer took too long"
PYTHON
expect "no address outside can be reached" ask <<'PYTHON'
import socket
# 192.0.2.1 is nobody's (RFC 5737).
try:
    socket.create_connection(("192.0.2.1", 80), timeout=3)
    raise SystemExit("there is a way out")
except OSError:
    pass
PYTHON

for daemon in kubelet-node1 containerd-node1 kubelet-node2 containerd-node2 kube-apiserver; do
  read -r pid _ <"$STATE/run/$daemon.pid"
  kill -KILL "$pid"
done
trap - EXIT
"$CLUSTER_SCRIPTS/down.sh"
left=$(remains)
[ -z "$left" ] || die "left behind: $left"
say "ok: nothing is left behind"
