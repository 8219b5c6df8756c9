# shellcheck shell=bash disable=SC2034
# One running cluster: its paths, its addresses, its namespace, its cgroups. Everything it mounts and every socket lies under
# $STATE, every process in its cgroup: so nothing has to be remembered to take it down, and clusters with other names can run
# beside it.

[[ $CLUSTER =~ ^[a-z0-9]([a-z0-9-]{0,14}[a-z0-9])?$ ]] || die "HOLDFAST_CLUSTER=$CLUSTER: a cluster's name is up to 16 of a-z, 0-9 and -"
# A unix socket's path has at most 107 bytes, and kubelet's are the longest below this directory.
[ ${#STATE} -le 64 ] || die "$STATE is too long for the sockets in it: set HOLDFAST_CLUSTER_DIR to a shorter directory"

RUN=$STATE/run
PKI=$STATE/pki
NETNS=$STATE/netns
KUBECONFIG_FILE=$STATE/kubeconfig
S3_FILE=$STATE/s3.env
POOL=$STATE/pool
CGROUP=holdfast-$CLUSTER

# Benchmarking addresses (RFC 2544), routed nowhere; the namespace has no way out either. Every cluster uses the same ones.
POD_RANGE=198.18.0.0/17
NODE_RANGE=198.18.255.0/24
SERVICE_RANGE=198.19.0.0/16
API_SERVICE_IP=198.19.0.1
DNS_SERVICE_IP=198.19.0.10
CONTROL_PLANE_IP=198.18.255.1
S3_PORT=8333
S3_BUCKET=holdfast

# Of node N (node1, node2, ...): its number, its address, its pods' addresses, its directory.
node_number() { say "${1#node}"; }
node_ip() { say "198.18.255.${1#node}"; }
node_pods() { say "198.18.$((${1#node} - 1)).0/24"; }
node_dir() { say "$STATE/$1"; }
# Each node is a machine to the network: it has a namespace of its own. node1's is also the control plane's, S3's and ours.
node_netns() { if [ "$1" = node1 ]; then say "$NETNS"; else say "$NETNS-$1"; fi; }

# on NODE COMMAND...: runs it in the node's network namespace. By nsenter, since `ip netns exec` remounts /sys and so hides
# the cgroups.
on() {
  local node=$1
  shift
  nsenter --net="$(node_netns "$node")" -- "$@"
}
within() { on node1 "$@"; }

# tool NAME: the path of one of the programs that tools.sh builds.
declare -A tool_paths=()
tool() {
  tool_paths[$1]=${tool_paths[$1]:-$("$CLUSTER_SCRIPTS/tools.sh" --print-path "$1")}
  say "${tool_paths[$1]}"
}

KUBECTL=$(tool kubectl)
kubectl() { within "$KUBECTL" --kubeconfig="$KUBECONFIG_FILE" "$@"; }

as_root() { [ "$(id -u)" = 0 ] || die "only root can make namespaces and mounts: run it with sudo"; }

# The roots of the machine's cgroup hierarchies: one with cgroup v2; with v1 one for each controller, and often an empty v2 beside them.
cgroup_roots() { awk '$(NF - 2) ~ /^cgroup2?$/ && $5 ~ "^/sys/fs/cgroup" { print $5 }' /proc/self/mountinfo; }

# daemons_cgroup: the directory of the cgroup that holds the daemons.
daemons_cgroup() {
  local root
  while read -r root; do
    if [ "$root" = /sys/fs/cgroup ] || [[ $root == */pids ]]; then say "$root/$CGROUP/daemons"; fi
  done < <(cgroup_roots)
}

# cgroup_up NODE...: the daemons' cgroup, and one for the pods of each node.
cgroup_up() {
  local root node controller
  while read -r root; do
    mkdir -p "$root/$CGROUP/daemons"
    for node in "$@"; do mkdir -p "$root/$CGROUP/$node"; done
    # cgroup v2 hands down only the controllers that each level names.
    if [ "$root" = /sys/fs/cgroup ]; then
      for controller in $(<"$root/$CGROUP/cgroup.controllers"); do
        echo "+$controller" >"$root/$CGROUP/cgroup.subtree_control" 2>/dev/null || true
      done
    fi
  done < <(cgroup_roots)
  DAEMONS_CGROUP=$(daemons_cgroup)
  [ -n "$DAEMONS_CGROUP" ] || die "this machine has neither cgroup v2 nor the pids controller of v1"
}

# cgroup_processes: every process of the cluster: daemons, shims, what runs in pods.
cgroup_processes() {
  local root
  while read -r root; do
    [ ! -d "$root/$CGROUP" ] || find "$root/$CGROUP" -name cgroup.procs -exec cat {} + 2>/dev/null
  done < <(cgroup_roots) | sort -un
}

# cgroup_down: ends whatever is in the cluster's cgroups and removes them.
cgroup_down() {
  local root pid deadline
  deadline=$(($(clock) + 20000))
  while [ -n "$(cgroup_processes)" ]; do
    for pid in $(cgroup_processes); do kill -KILL "$pid" 2>/dev/null || true; done
    [ "$(clock)" -lt "$deadline" ] || die "these processes do not end: $(cgroup_processes | tr '\n' ' ')"
    sleep 0.05
  done
  while read -r root; do
    [ ! -d "$root/$CGROUP" ] || find "$root/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
    # The kernel lets go of a cgroup a moment after its last process.
    while [ -d "$root/$CGROUP" ] && [ "$(clock)" -lt "$deadline" ]; do
      find "$root/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
    done
    [ ! -d "$root/$CGROUP" ] || die "the cgroup $root/$CGROUP cannot be removed"
  done < <(cgroup_roots)
}
