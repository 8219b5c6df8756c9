# shellcheck shell=bash
# The cluster's network: a namespace for each node, linked to each other and to nothing else. Pods reach each other, the nodes and
# the services; there is no way out.

# network_node NODE: the node's namespace and address, on a bridge without ports (not every kernel has the dummy device). Any node but
# the first is linked to the first.
network_node() {
  local node=$1 netns
  netns=$(node_netns "$node")
  if ! on "$node" true 2>/dev/null; then
    : >"$netns"
    unshare --net="$netns" true
  fi
  on "$node" ip link set lo up
  on "$node" sysctl --quiet --write net.ipv4.ip_forward=1
  on "$node" ip link show "$node" >/dev/null 2>&1 || on "$node" ip link add "$node" type bridge
  on "$node" ip link set "$node" up
  on "$node" ip address replace "$(node_ip "$node")/32" dev "$node"
  # Without a route to them, the kernel would refuse service addresses before kube-proxy's rules see the packet.
  on "$node" ip route replace "$SERVICE_RANGE" dev "$node"
  [ "$node" = node1 ] || link_to_first "$node"
}

# link_to_first NODE: a cable between the two, and who is behind it. Node1 is the way to all other nodes and their pods; a node's
# own pods have a route that says more, by the bridge that CNI makes.
link_to_first() {
  local node=$1 address first_address
  address=$(node_ip "$node") first_address=$(node_ip node1)
  within ip link show "link-$node" >/dev/null 2>&1 ||
    within ip link add "link-$node" type veth peer name link-node1 netns "$(node_netns "$node")"
  within ip link set "link-$node" up
  on "$node" ip link set link-node1 up
  # The links have no addresses of their own: each end answers for its node's.
  within ip route replace "$address" dev "link-$node" src "$first_address"
  within ip route replace "$(node_pods "$node")" via "$address" dev "link-$node" src "$first_address"
  on "$node" ip route replace "$first_address" dev link-node1 src "$address"
  on "$node" ip route replace "$NODE_RANGE" via "$first_address" dev link-node1 src "$address"
  on "$node" ip route replace "$POD_RANGE" via "$first_address" dev link-node1 src "$address"
}
