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
    started $TUNNEL_PID $end "$folder/log" || return 1
  done
  TUNNEL_KUBECONFIG=$(field kubeconfig "$folder/ready") TUNNEL_URL=$(field gateway_url "$folder/ready")
}
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[2]))[sys.argv[1]])' "$@"; }

# tunnel_down: Ctrl-C to the agent first, then to the gateway or the demo; half a minute, then by force.
# Fails when one of them did not end with 0.
tunnel_down() {
  local pid failed=0
  for pid in ${AGENT_PID:-} ${TUNNEL_PID:-}; do ended "$pid" || failed=$?; done
  AGENT_PID='' TUNNEL_PID=''
  return $failed
}
ended() {
  local _
  kill -INT "$1" 2>/dev/null
  for _ in $(seq 300); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$1" 2>/dev/null
  wait "$1"
}

# apart_up FOLDER [GATEWAY-ARGUMENTS] [AGENT-ARGUMENTS]: the same as two programs, as an operator runs
# them: tokens, gateway, agent. Sets TUNNEL_KUBECONFIG, TUNNEL_URL, TUNNEL_PID (the gateway's) and AGENT_PID.
apart_up() {
  local folder=$1 end=$((SECONDS + 60)) tokens=$1/tokens.json user ca=$1/cert/ca.crt
  mkdir -p "$folder"; direct_kubeconfig "$folder/direct"
  "$PIPEOPS_GATEWAY" token --tokens "$tokens" add agent here >"$folder/agent-token" || return 1
  user=$("$PIPEOPS_GATEWAY" token --tokens "$tokens" add user tester --group admins) || return 1
  # shellcheck disable=SC2086
  "$PIPEOPS_GATEWAY" serve --listen 127.0.0.1:0 --dev-cert "$folder/cert" --tokens "$tokens" ${2:-} \
    >"$folder/gateway" 2>"$folder/gateway.log" </dev/null &
  TUNNEL_PID=$!
  until grep -q '^PipeOps gateway on' "$folder/gateway"; do started $TUNNEL_PID $end "$folder/gateway.log" || return 1; done
  TUNNEL_URL=$(grep -om1 'https://[0-9.:]*' "$folder/gateway")
  # shellcheck disable=SC2086
  "$PIPEOPS_AGENT" run --api-url "$TUNNEL_URL" --ca-file "$ca" --token-file "$folder/agent-token" --cluster-name here \
    --kubeconfig "$folder/direct" --access admin --listen 127.0.0.1:0 ${3:-} >"$folder/agent.log" 2>&1 </dev/null &
  AGENT_PID=$! TUNNEL_KUBECONFIG=$folder/kubeconfig
  until curl -fsS -m 5 --noproxy '*' --cacert "$ca" -H "Authorization: Bearer $user" \
    "$TUNNEL_URL/clusters/here/kubeconfig" -o "$TUNNEL_KUBECONFIG" 2>>"$folder/curl.log" &&
    "$CLUSTER_KUBECTL" --kubeconfig "$TUNNEL_KUBECONFIG" get --raw /readyz --request-timeout=5s >/dev/null 2>>"$folder/curl.log"; do
    started $AGENT_PID $end "$folder/agent.log" || { tail -3 "$folder/gateway.log" "$folder/curl.log"; return 1; }
  done
}

# started PID END LOG: one turn of a wait; fails, with the log's tail, when the process or the time is gone.
started() {
  if ! kill -0 "$1" 2>/dev/null || [ $SECONDS -ge "$2" ]; then tail -5 "$3"; return 1; fi
  sleep 0.1
}
