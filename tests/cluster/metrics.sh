# Owns metrics-server, a process in the namespace that the API server reaches through a Service
# without a selector: `kubectl top`. Sourced.

metrics_up() {
  kubeconfig "$CFG/metrics-server.kubeconfig" admin
  start metrics-server nsenter --net="/run/netns/$NETNS" "$(path metrics-server)" \
    --kubeconfig="$CFG/metrics-server.kubeconfig" --authentication-kubeconfig="$CFG/metrics-server.kubeconfig" \
    --authorization-kubeconfig="$CFG/metrics-server.kubeconfig" --secure-port=4443 --cert-dir="$DATA/metrics" \
    --metric-resolution=10s --kubelet-request-timeout=5s --kubelet-certificate-authority="$PKI/ca.crt" \
    --kubelet-preferred-address-types=InternalIP --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" \
    --requestheader-allowed-names=front-proxy-client
  kubectl_admin apply -f - >/dev/null <<Y
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec: {ports: [{name: https, port: 443, targetPort: 4443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: metrics-server-1
  namespace: kube-system
  labels: {kubernetes.io/service-name: metrics-server, endpointslice.kubernetes.io/managed-by: tests}
addressType: IPv4
ports: [{name: https, port: 4443, protocol: TCP}]
endpoints: [{addresses: ["$API_IP"], conditions: {ready: true}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  service: {name: metrics-server, namespace: kube-system}
  group: metrics.k8s.io
  version: v1beta1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
Y
}

# await_metrics: the first scrape needs two readings of the kubelet, some ten seconds apart.
await_metrics() {
  wait_for 90 kubectl_admin top node || { tail -5 "$LOG/metrics-server.log" >&2; die "no metrics"; }
}
