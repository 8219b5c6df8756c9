# shellcheck shell=bash
# The cluster's network: a namespace of its own with no way out. Pods reach each other, the node and the services, nothing else.

network_up() {
  if ! within true 2>/dev/null; then
    : >"$NETNS"
    unshare --net="$NETNS" true
  fi
  within ip link set lo up
  within sysctl --quiet --write net.ipv4.ip_forward=1
}

# network_node NODE: the node's address, on a bridge without ports (not every kernel has the dummy device). A second node's
# namespace would be linked to the first's here.
network_node() {
  local bridge=$1
  within ip link show "$bridge" >/dev/null 2>&1 || within ip link add "$bridge" type bridge
  within ip link set "$bridge" up
  within ip address replace "$(node_ip "$1")/32" dev "$bridge"
  # Without a route to them, the kernel would refuse service addresses before kube-proxy's rules see the packet.
  within ip route replace "$SERVICE_RANGE" dev "$bridge"
}
