# Owns the tunnel of a check: agent and gateway over a cluster, and kubeconfigs that lead either way.
# Sourced by checks after their env file; what is started ends with `tunnel_down`.

# direct_kubeconfig FILE [SERVER]: the administrator by bearer token, straight to the API server or to SERVER.
direct_kubeconfig() {
  cat >"$1" <<Y
apiVersion: v1
kind: Config
clusters: [{name: direct, cluster: {server: "${2:-$CLUSTER_API}", certificate-authority: "$CLUSTER_CA"}}]
users: [{name: direct, user: {token: "$CLUSTER_ADMIN_TOKEN"}}]
contexts: [{name: direct, context: {cluster: direct, user: direct}}]
current-context: direct
Y
}

# tunnel_up FOLDER [ARGUMENT...]: the demo over this cluster; sets TUNNEL_KUBECONFIG, TUNNEL_URL and
# TUNNEL_PID. Waits a minute for the one line that it prints when ready.
tunnel_up() {
  local folder=$1 end=$((SECONDS + 60)); shift
  mkdir -p "$folder"; direct_kubeconfig "$folder/direct"
  "$PIPEOPS_AGENT" demo --kubeconfig "$folder/direct" --output json "$@" >"$folder/ready" 2>"$folder/log" </dev/null &
  TUNNEL_PID=$!
  until grep -q '}' "$folder/ready"; do
    if ! kill -0 $TUNNEL_PID 2>/dev/null || [ $SECONDS -ge $end ]; then tail -5 "$folder/log"; return 1; fi
    sleep 0.1
  done
  TUNNEL_KUBECONFIG=$(field kubeconfig "$folder/ready") TUNNEL_URL=$(field gateway_url "$folder/ready")
}
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[2]))[sys.argv[1]])' "$@"; }

# tunnel_down: Ctrl-C, half a minute, then by force; says how the program ended.
tunnel_down() {
  [ -n "${TUNNEL_PID:-}" ] || return 0
  local _ code
  kill -INT "$TUNNEL_PID" 2>/dev/null
  for _ in $(seq 300); do kill -0 "$TUNNEL_PID" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$TUNNEL_PID" 2>/dev/null
  wait "$TUNNEL_PID"; code=$?; TUNNEL_PID=
  return $code
}
