# shellcheck shell=bash
# What runs once for each node: containerd, kubelet, kube-proxy. Every function takes the node's name; its directory holds
# all it writes.

# Root may lack CAP_SYS_RESOURCE (bit 24), as in a container: then runc cannot lower a process's OOM score, and no sandbox starts.
restricts_oom_score() {
  local effective
  effective=$(awk '/^CapEff:/ { print $2 }' /proc/self/status)
  if [ $((0x$effective >> 24 & 1)) = 0 ]; then say true; else say false; fi
}

containerd_up() {
  local node=$1 dir
  dir=$(node_dir "$node")
  mkdir -p "$dir/cni"
  cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd"
state = "$dir/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "$dir/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Pods' network namespaces below this directory too, so that they go with it.
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = $(restricts_oom_score)
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "$dir/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
TOML
  # dataDir: host-local otherwise keeps its leases in one place for the whole machine.
  cat >"$dir/cni/10-holdfast.conflist" <<JSON
{
  "cniVersion": "0.4.0",
  "name": "$CGROUP",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "pods$(node_number "$node")",
      "isGateway": true,
      "ipMasq": false,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "$(node_pods "$node")"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "$dir/cni-leases"
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
  spawn "containerd-$node" nsenter --net="$(node_netns "$node")" -- containerd --config "$dir/containerd.toml"
}

containerd_ready() { ctr --address "$(node_dir "$1")/containerd.sock" plugins list | grep -q 'grpc.v1 *cri .*ok'; }

kubelet_up() {
  local node=$1 dir ip
  dir=$(node_dir "$node") ip=$(node_ip "$1")
  certificate "kubelet-$node" "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$ip"
  kubeconfig "kubelet-$node" "https://$CONTROL_PLANE_IP:6443" "$dir/kubelet.kubeconfig"
  echo '# Nothing outside the cluster can be resolved.' >"$dir/resolv.conf"
  cat >"$dir/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ip
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-$node.crt
tlsPrivateKeyFile: $PKI/kubelet-$node.key
containerRuntimeEndpoint: unix://$dir/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/$node
enforceNodeAllocatable: [none]
failSwapOn: false
# Evict for memory only: the disk belongs to the machine, and how full others have made it is no reason.
evictionHard: {memory.available: 100Mi}
# Imported images cannot be pulled again: never collect them.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
# A controller that a story kills comes back at once, and not later each time.
featureGates: {KubeletCrashLoopBackOffMax: true}
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
podLogsDir: $dir/logs
volumePluginDir: $dir/volume-plugins
resolvConf: $dir/resolv.conf
clusterDomain: cluster.local
clusterDNS: [$DNS_SERVICE_IP]
healthzBindAddress: $ip
YAML
  spawn "kubelet-$node" nsenter --net="$(node_netns "$node")" -- "$(tool kubelet)" --config="$dir/kubelet.yaml" --root-dir="$dir/kubelet" \
    --kubeconfig="$dir/kubelet.kubeconfig" --hostname-override="$node" --node-ip="$ip"
}

proxy_up() {
  local node=$1 dir
  dir=$(node_dir "$node")
  certificate kube-proxy /CN=system:kube-proxy
  kubeconfig kube-proxy "https://$CONTROL_PLANE_IP:6443" "$dir/kube-proxy.kubeconfig"
  spawn "kube-proxy-$node" nsenter --net="$(node_netns "$node")" -- "$(tool kube-proxy)" --kubeconfig="$dir/kube-proxy.kubeconfig" \
    --hostname-override="$node" --proxy-mode=nftables --cluster-cidr="$POD_RANGE" --conntrack-max-per-core=0
}

node_ready() {
  [ "$(kubectl get node "$1" --output='jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}
