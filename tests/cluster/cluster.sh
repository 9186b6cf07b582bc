#!/usr/bin/env bash
# Owns a test cluster from `up` to `down`: a real Kubernetes on this machine, no registry, any number
# side by side. Writes INSTANCE's facts to an env file and prints them.
#
#   cluster.sh up [--api] [--owner PID] INSTANCE   full: etcd, control plane, containerd, kubelet,
#                                                  kube-proxy, metrics-server; --api: etcd and API server
#   cluster.sh down INSTANCE | down-owned PID | down-all
#   cluster.sh env INSTANCE                        prints the env file; path, the folder it lies in
#   cluster.sh kill-apiserver INSTANCE             SIGKILL; start-apiserver brings it back and waits
#   cluster.sh kill COMPONENT INSTANCE             the same for any: etcd, kubelet, containerd, ...
#   cluster.sh start COMPONENT INSTANCE
#   cluster.sh gc                                  ends the instances whose owner has died
#
# `up` first clears what a killed run left, known by the instance's own records. Without root, or
# where namespaces are refused, `up` falls back to --api and says why in CLUSTER_MISSING.
. "$(dirname "${BASH_SOURCE[0]}")/instance.sh"
. "$HERE/binaries.sh"; . "$HERE/pki.sh"; . "$HERE/network.sh"; . "$HERE/control.sh"
. "$HERE/images.sh"; . "$HERE/node.sh"; . "$HERE/metrics.sh"

kubectl_admin() { "$(path kubectl)" --kubeconfig "$DIR/kubeconfig" "$@"; }

# lock: one of up and down at a time for an instance; the lock dies with its holder.
lock() {
  mkdir -p "$STATE"; chmod 700 "$STATE"
  exec 8>"$STATE/.$ID.lock"
  flock -w 300 8 || die "another command works on $ID for five minutes"
}

clear() {
  local pid
  [ -d "$DIR" ] || return 0
  stop "$RUN"/*.pid
  if [ -e "/run/netns/$NETNS" ] && [ "$(id -u)" = 0 ]; then
    # What is left in our namespace: the shims of containerd, whose parent is gone.
    for pid in $(ip netns pids "$NETNS" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
  fi
  if [ "$SHAPE" = full ]; then node_down; network_down; fi
  [ -z "$SLOT" ] || rm -rf "$STATE/.slots/$SLOT"
  rm -rf --one-file-system "$DIR"
}

write_env() {
  {
    echo "CLUSTER_INSTANCE=$ID"
    echo "CLUSTER_SHAPE=$SHAPE"
    echo "CLUSTER_MISSING=$(printf %q "$MISSING")"
    echo "CLUSTER_DIR=$DIR"
    echo "KUBECONFIG=$DIR/kubeconfig"
    echo "CLUSTER_API=$API_URL"
    echo "CLUSTER_KUBECTL=$(path kubectl)"
    echo "CLUSTER_HELM=$(built helm && path helm || true)"
    echo "CLUSTER_INFORMER=$(built informer && path informer || true)"
    echo "CLUSTER_AUDIT_LOG=$AUDIT"
    echo "CLUSTER_PKI=$PKI"
    echo "CLUSTER_CA=$PKI/ca.crt"
    echo "CLUSTER_ADMIN_TOKEN=$ADMIN_TOKEN"
    echo "CLUSTER_VIEWER_TOKEN=$VIEWER_TOKEN"
    # Where a pod, and the API server, reach a program under test on the host.
    if [ "$SHAPE" = full ]; then echo "CLUSTER_HOST_IP=$HOST_IP"; else echo "CLUSTER_HOST_IP=127.0.0.1"; fi
    echo "CLUSTER_SH=$HERE/cluster.sh"
  } >"$ENV"
  cat "$ENV"
}

up() {
  local want=$1 owner=$2 from=$SECONDS
  MISSING=
  clear
  mkdir -p "$RUN" "$LOG" "$CFG" "$DATA" "$PKI"; : >"$LOG/.keep"
  [ -z "$owner" ] || record "$DIR/owner" "$owner"
  if [ "$want" = full ]; then MISSING=$(network_refusal); [ -z "$MISSING" ] || { say "only etcd and API server: $MISSING"; want=api; }; fi
  SHAPE=$want; echo "$SHAPE" >"$DIR/shape"
  if [ "$SHAPE" = api ]; then
    SERVICES=10.211.0.0/24
    built k8s || [ -n "${KUBEBUILDER_ASSETS:-}" ] || build k8s
    [ -n "${KUBEBUILDER_ASSETS:-}" ] || build etcd
    api_up
  else
    build k8s; build etcd; build metrics-server
    claim_slot; network_up; control_up; metrics_up; node_up; await_metrics
  fi
  kubectl_admin create clusterrolebinding viewers --clusterrole=view --group=viewers >/dev/null
  write_env
  say "$ID ($SHAPE) is up in $((SECONDS - from))s"
}

# owned COMMAND PID: whether gc, down-owned or down-all means this instance.
owned() {
  local owner=''
  [ ! -s "$DIR/owner" ] || read -r owner _ <"$DIR/owner"
  case $1 in
    gc) [ -n "$owner" ] && ! alive "$DIR/owner" ;;
    down-owned) [ -n "$owner" ] && [ "$owner" = "$2" ] ;;
    down-all) true ;;
  esac
}

# address: what `start-apiserver` must know again to wait for readiness.
address() { API_URL=$(sed -n 's/^CLUSTER_API=//p' "$ENV"); }

main() {
  local command=${1:-help} shape=full owner='' component; shift || true
  while :; do case ${1:-} in
    --api) shape=api; shift ;;
    --owner) owner=$2; shift 2 ;;
    *) break ;;
  esac; done
  case $command in
    up) use "$1"; lock; up "$shape" "$owner" ;;
    down) use "$1"; lock; clear ;;
    env) use "$1"; cat "$ENV" ;;
    path) use "$1"; echo "$DIR" ;;
    kill) component=$1; use "$2"; stop "$RUN/$component.pid" ;;
    start) component=$1; use "$2"; restart "$component" ;;
    kill-apiserver) use "$1"; stop "$RUN/kube-apiserver.pid" ;;
    start-apiserver) use "$1"; address; restart kube-apiserver
      # A start right after SIGKILL was once refused its port (200 random cuts): one more try.
      (await_apiserver) || { restart kube-apiserver; await_apiserver; } ;;
    gc | down-all | down-owned)
      for component in "$STATE"/*/; do
        [ -d "$component" ] || continue
        use "$(basename "$component")"
        owned "$command" "${1:-}" || continue
        (lock; say "ending $ID"; clear)
      done ;;
    *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; [ "$command" = help ] ;;
  esac
}
main "$@"
