# Owns the network namespace that holds a full cluster, and the veth pair to the host. Sourced.
# Iptables rules of kube-proxy and the pods' bridge stay inside; pods reach the host at HOST_IP.

network_up() {
  ip netns add "$NETNS"
  ip link add "$HOST_LINK" type veth peer name "$NODE_LINK" netns "$NETNS"
  ip addr add "$HOST_IP/30" dev "$HOST_LINK"
  ip link set "$HOST_LINK" up
  in_netns ip addr add "$API_IP/30" dev "$NODE_LINK"
  in_netns ip link set "$NODE_LINK" up
  in_netns ip link set lo up
  # Kubelet and kube-proxy want a default route; the host does not forward, so it leads nowhere.
  in_netns ip route add default via "$HOST_IP"
  in_netns sysctl -qew net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 net.ipv4.conf.all.route_localnet=1
  ip route replace "$PODS" via "$API_IP"
  ip route replace "$SERVICES" via "$API_IP"
}

network_down() {
  [ -z "$SLOT" ] || ip link del "$HOST_LINK" 2>/dev/null || true
  ip netns del "$NETNS" 2>/dev/null || true
}

# Whether this user may make namespaces at all; says why not on standard output.
network_refusal() {
  local probe=pt-probe-$$
  [ "$(id -u)" = 0 ] || { echo "not root"; return; }
  ip netns add "$probe" 2>/dev/null || { echo "network namespaces cannot be made here"; return; }
  ip netns del "$probe"
}
