# Owns etcd, kube-apiserver, kube-controller-manager and kube-scheduler of an instance. Sourced.

# Shape `api` lives in the host's network: three ports that are free now.
free_ports() {
  python3 -c 'import socket
s = [socket.socket() for _ in range(3)]
for x in s: x.bind(("127.0.0.1", 0))
print(*(x.getsockname()[1] for x in s))'
}

etcd_up() { # RUNNER...
  # Without fsync: the data outlives a killed process, and nothing more is asked of it.
  start etcd "$@" "$(path etcd)" --name "$ID" --data-dir "$DATA/etcd" --unsafe-no-fsync \
    --listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
    --listen-peer-urls "$ETCD_PEER_URL" --initial-advertise-peer-urls "$ETCD_PEER_URL" \
    --initial-cluster "$ID=$ETCD_PEER_URL" --quota-backend-bytes 4294967296 --log-level warn
}

# Every request is one line or two (started, complete) with who, what and the answer's code.
audit_policy() {
  cat >"$CFG/audit.yaml" <<Y
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
Y
}

apiserver_up() { # RUNNER...
  local shaped
  audit_policy
  if [ "$SHAPE" = api ]; then
    # Nobody makes service accounts in this shape, so pods must not wait for one.
    shaped=(--bind-address=127.0.0.1 --advertise-address=192.0.2.1 --endpoint-reconciler-type=none
      --disable-admission-plugins=ServiceAccount)
  else
    shaped=(--bind-address=0.0.0.0 --advertise-address="$API_IP" --allow-privileged=true
      --enable-admission-plugins=NodeRestriction
      --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt"
      --kubelet-client-key="$PKI/apiserver-kubelet-client.key" --kubelet-certificate-authority="$PKI/ca.crt"
      --kubelet-preferred-address-types=InternalIP,Hostname
      --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
      --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group
      --requestheader-username-headers=X-Remote-User
      --proxy-client-cert-file="$PKI/front-proxy-client.crt" --proxy-client-key-file="$PKI/front-proxy-client.key"
      --enable-aggregator-routing=true)
  fi
  start kube-apiserver "$@" "$(path kube-apiserver)" --etcd-servers="$ETCD_URL" --secure-port="$API_PORT" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --client-ca-file="$PKI/ca.crt" --token-auth-file="$PKI/tokens.csv" --authorization-mode=Node,RBAC \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$PKI/sa.pub" \
    --service-account-signing-key-file="$PKI/sa.key" --service-cluster-ip-range="$SERVICES" \
    --audit-policy-file="$CFG/audit.yaml" --audit-log-path="$AUDIT" --audit-log-maxsize=1000000 \
    --v=1 "${shaped[@]}"
}

apiserver_ready() {
  curl -fsS -m 2 --noproxy '*' --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" "$API_URL/readyz"
}

# await_apiserver: 60 s, or at once when it has died.
await_apiserver() {
  local end=$((SECONDS + 60))
  until apiserver_ready >/dev/null 2>&1; do
    if gone "$RUN/kube-apiserver.pid" || [ "$SECONDS" -ge "$end" ]; then tail -5 "$LOG/kube-apiserver.log" >&2; return 1; fi
    sleep 0.1
  done
}

api_up() {
  local attempt etcd peer api
  # Another program may take a free port before it is bound: then three others are tried.
  for attempt in 1 2 3; do
    read -r etcd peer api <<<"$(free_ports)"
    API_PORT=$api API_URL=https://127.0.0.1:$api
    ETCD_URL=http://127.0.0.1:$etcd ETCD_PEER_URL=http://127.0.0.1:$peer
    make_pki; etcd_up env; apiserver_up env
    await_apiserver && return
    stop "$RUN/kube-apiserver.pid"; stop "$RUN/etcd.pid"; rm -rf "$DATA/etcd"
  done
  die "the API server does not come up: $LOG"
}

control_up() {
  local run=(nsenter --net="/run/netns/$NETNS") c
  API_PORT=6443 API_URL=https://$API_IP:6443
  ETCD_URL=http://127.0.0.1:2379 ETCD_PEER_URL=http://127.0.0.1:2380
  make_pki; etcd_up "${run[@]}"; apiserver_up "${run[@]}"
  await_apiserver || die "the API server does not come up: $LOG"
  for c in kube-controller-manager kube-scheduler; do
    set -- --kubeconfig="$CFG/$c.kubeconfig" --authentication-kubeconfig="$CFG/$c.kubeconfig" \
      --authorization-kubeconfig="$CFG/$c.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false \
      --kube-api-qps=200 --kube-api-burst=400 --v=1
    [ $c = kube-scheduler ] || set -- "$@" --use-service-account-credentials=true \
      --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
      --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
      --client-ca-file="$PKI/ca.crt" --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" \
      --service-cluster-ip-range="$SERVICES" --cluster-cidr="$PODS" --allocate-node-cidrs=false
    start $c "${run[@]}" "$(path $c)" "$@"
  done
}
