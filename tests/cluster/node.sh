# Owns the node of a full cluster: containerd, kubelet and kube-proxy inside the namespace, with a
# socket, folders and a cgroup of the instance's own. Sourced.

# cgroup_folders: one folder on cgroup v2, one a controller on v1.
cgroup_folders() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo "/sys/fs/cgroup/$CGROUP"; return; fi
  local mount
  for mount in $(awk '$3=="cgroup" {print $2}' /proc/mounts); do echo "$mount/$CGROUP"; done
}

cgroup_up() {
  local folder parent file
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    sed 's/\(^\| \)/ +/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
  fi
  for folder in $(cgroup_folders); do
    mkdir -p "$folder"; parent=$(dirname "$folder")
    # A cpuset is born empty and takes nobody in until it has processors and memory.
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$parent/$file" ] || [ ! -w "$folder/$file" ] || cat "$parent/$file" >"$folder/$file" 2>/dev/null || true
    done
  done
}

# cgroup_down: every process of every pod is in here, whoever its parent is by now.
cgroup_down() {
  local folder pids round
  for folder in $(cgroup_folders); do
    [ -d "$folder" ] || continue
    for round in $(seq 50); do
      pids=$(find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u)
      [ -n "$pids" ] || break
      # shellcheck disable=SC2086
      kill -9 $pids 2>/dev/null || true
      sleep 0.1
    done
    find "$folder" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
}

# Overlay mounts do not stack on an overlay root, which a container without a volume has.
snapshotter() {
  local probe=$DATA/overlay-probe result=native
  mkdir -p "$probe"/{lower,upper,work,merged}
  if mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/merged" 2>/dev/null; then
    result=overlayfs; umount "$probe/merged"
  fi
  rm -rf "$probe"; echo $result
}

containerd_config() {
  cat <<Y
version = 2
root = "$DATA/containerd"
state = "$VOLATILE/state"
[grpc]
  address = "$SOCKET"
[plugins."io.containerd.internal.v1.opt"]
  path = "$DATA/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:3.10"
  # Without CAP_SYS_RESOURCE nobody may lower an oom_score_adj, and every sandbox would die of trying.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$(snapshotter)"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$(PATH=$PATH:/usr/sbin command -v runc)"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$CFG/cni"
Y
}

# The network is named after the instance, so that its cached results are known for ours.
cni_config() {
  cat <<Y
{"cniVersion": "0.4.0", "name": "$NETNS", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}],
           "dataDir": "$DATA/cni"}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
Y
}

kubelet_config() {
  cat <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-server.crt
tlsPrivateKeyFile: $PKI/kubelet-server.key
containerRuntimeEndpoint: unix://$SOCKET
imageServiceEndpoint: unix://$SOCKET
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
resolvConf: $CFG/resolv.conf
clusterDomain: cluster.local
volumePluginDir: $DATA/kubelet-plugins
podLogsDir: $DATA/podlogs
containerLogMaxSize: 1Mi
# All are kept: they are what the check of the logs judges by.
containerLogMaxFiles: 1000
maxPods: 110
nodeStatusUpdateFrequency: 10s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
Y
}

node_up() {
  local run=(nsenter --net="/run/netns/$NETNS") image
  # The keys were written for us alone; a container's root is for the user that its image names.
  umask 022
  make_images; cgroup_up
  mkdir -p "$VOLATILE" "$CFG/cni" "$DATA"/{containerd,kubelet,podlogs}
  containerd_config >"$CFG/containerd.toml"; cni_config >"$CFG/cni/10-$NETNS.conflist"
  kubelet_config >"$CFG/kubelet.yaml"; echo "nameserver 127.0.0.1" >"$CFG/resolv.conf"
  start containerd "${run[@]}" env "PATH=/usr/sbin:$PATH" containerd -c "$CFG/containerd.toml"
  wait_for 30 ctr -a "$SOCKET" version || die "containerd does not answer: $LOG/containerd.log"
  for image in pause busybox; do ctr -a "$SOCKET" -n k8s.io images import "$(images_dir)/$image.tar" >/dev/null; done
  start kubelet "${run[@]}" "$(path kubelet)" --config="$CFG/kubelet.yaml" --kubeconfig="$CFG/kubelet.kubeconfig" \
    --root-dir="$DATA/kubelet" --cert-dir="$DATA/kubelet/pki" --hostname-override=$NODE --node-ip="$API_IP" --v=2
  # The kernel's connection tracking belongs to the host: its limits are left alone.
  start kube-proxy "${run[@]}" "$(path kube-proxy)" --kubeconfig="$CFG/kube-proxy.kubeconfig" --hostname-override=$NODE \
    --cluster-cidr="$PODS" --proxy-mode=iptables --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
    --conntrack-tcp-timeout-close-wait=0 --healthz-bind-address=127.0.0.1:10256 \
    --metrics-bind-address=127.0.0.1:10249 --nodeport-addresses=127.0.0.0/8 --oom-score-adj=0 --v=1
  wait_for 60 node_ready || { tail -5 "$LOG/kubelet.log" >&2; die "the node does not become ready"; }
}

node_ready() {
  [ "$(kubectl_admin get node $NODE -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ] \
    && kubectl_admin get serviceaccount default
}

# node_down: after its daemons have been killed. Pods' namespaces are found in the results that our
# network plugin cached under our own network's name; the loopback's result has the same container.
node_down() {
  local file container netns mount link
  cgroup_down
  for file in /var/lib/cni/results/"$NETNS"-*; do
    [ -e "$file" ] || continue
    for netns in $(grep -o '/netns/cni-[0-9a-f-]*' "$file" | sort -u); do ip netns del "${netns##*/}" 2>/dev/null || true; done
    container=${file##*/"$NETNS"-}
    rm -f "$file" "/var/lib/cni/results/cni-loopback-${container%-eth0}-lo"
  done
  awk -v a="$DIR/" -v b="$VOLATILE/" 'index($2, a)==1 || index($2, b)==1 {print $2}' /proc/mounts | sort -r |
    while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
  for link in /var/log/containers/*; do
    case $(readlink "$link" 2>/dev/null) in "$DIR"/*) rm -f "$link" ;; esac
  done
  rm -rf --one-file-system "$VOLATILE"
}
