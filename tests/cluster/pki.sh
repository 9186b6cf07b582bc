# Owns the keys, certificates, tokens and kubeconfigs of an instance (ECDSA P-256, a month). Sourced.

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key" 2>/dev/null; }

authority() { # NAME COMMON-NAME
  key "$1"
  openssl req -x509 -new -sha256 -key "$PKI/$1.key" -days 30 -subj "/CN=$2" -out "$PKI/$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

certificate() { # NAME AUTHORITY SUBJECT USAGE [ALTERNATIVE-NAMES]
  key "$1"
  openssl req -new -key "$PKI/$1.key" -subj "$3" -out "$PKI/$1.csr"
  {
    echo basicConstraints=CA:FALSE
    echo keyUsage=critical,digitalSignature
    echo "extendedKeyUsage=$4"
    [ -z "${5:-}" ] || echo "subjectAltName=$5"
  } >"$PKI/$1.ext"
  openssl x509 -req -sha256 -in "$PKI/$1.csr" -CA "$PKI/$2.crt" -CAkey "$PKI/$2.key" -CAcreateserial \
    -days 30 -extfile "$PKI/$1.ext" -out "$PKI/$1.crt" 2>/dev/null
  rm -f "$PKI/$1.csr" "$PKI/$1.ext"
}

kubeconfig() { # FILE CERTIFICATE
  cat >"$1" <<Y
apiVersion: v1
kind: Config
clusters: [{name: $ID, cluster: {server: "$API_URL", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: $2, user: {client-certificate-data: $(base64 -w0 "$PKI/$2.crt"), client-key-data: $(base64 -w0 "$PKI/$2.key")}}]
contexts: [{name: $ID, context: {cluster: $ID, user: $2}}]
current-context: $ID
Y
}

make_pki() {
  local names="DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1"
  local names_full="$names,DNS:kubernetes.default.svc.cluster.local,IP:$API_IP,IP:$SERVICE_API"
  umask 077
  authority ca kubernetes-ca
  certificate admin ca /O=system:masters/CN=admin clientAuth
  key sa; openssl ec -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null
  ADMIN_TOKEN=admin-$(openssl rand -hex 16) VIEWER_TOKEN=viewer-$(openssl rand -hex 16)
  # token, user, uid, groups
  printf '%s,admin-token,u1,system:masters\n%s,viewer,u2,viewers\n' "$ADMIN_TOKEN" "$VIEWER_TOKEN" >"$PKI/tokens.csv"
  kubeconfig "$DIR/kubeconfig" admin
  if [ "$SHAPE" = api ]; then certificate apiserver ca /CN=kube-apiserver serverAuth "$names"; return; fi
  certificate apiserver ca /CN=kube-apiserver serverAuth "$names_full"
  authority front-proxy-ca front-proxy-ca
  certificate front-proxy-client front-proxy-ca /CN=front-proxy-client clientAuth
  certificate apiserver-kubelet-client ca /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
  certificate kubelet-server ca "/O=system:nodes/CN=system:node:$NODE" serverAuth "DNS:$NODE,IP:$API_IP,IP:127.0.0.1"
  certificate kubelet ca "/O=system:nodes/CN=system:node:$NODE" clientAuth
  local c
  for c in kube-controller-manager kube-scheduler kube-proxy; do certificate $c ca "/CN=system:$c" clientAuth; done
  for c in kubelet kube-controller-manager kube-scheduler kube-proxy; do kubeconfig "$CFG/$c.kubeconfig" $c; done
}
