#!/usr/bin/env bash
# Owns the programs of the cluster: builds them from the Go modules pinned under go/ into the cache,
# keyed by version, once even when two runs ask at the same time. `binaries.sh PART...` builds the
# parts (k8s etcd metrics-server helm informer); `binaries.sh --path PROGRAM` says where one is.
#
# KUBEBUILDER_ASSETS, the ecosystem's folder of ready programs, replaces etcd, kube-apiserver and
# kubectl. Cold, on two cores: Kubernetes 7 minutes, etcd half a minute, metrics-server 1, helm 1.
. "$(dirname "${BASH_SOURCE[0]}")/instance.sh"

CONTROL="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl"

pinned() { awk -v m="$2" '$1=="require" && $2==m {print $3} $1==m {print $2}' "$HERE/go/$1/go.mod" | head -1; }

version() {
  case $1 in
    k8s) pinned k8s k8s.io/kubernetes ;;
    etcd) pinned etcd go.etcd.io/etcd/server/v3 ;;
    metrics-server) pinned metrics-server sigs.k8s.io/metrics-server ;;
    helm) pinned helm helm.sh/helm/v4 ;;
    # Our own source: its version is what it says.
    informer) echo "$(pinned informer k8s.io/client-go)-$(cat "$HERE"/go/informer/* | cksum | cut -d' ' -f1)" ;;
    *) die "no such part: $1" ;;
  esac
}

folder() { echo "$CACHE/bin/$1-$(version "$1")-$(go env GOOS)-$(go env GOARCH)"; }

part_of() {
  case $1 in
    etcd | metrics-server | helm | informer) echo "$1" ;;
    *) echo k8s ;;
  esac
}

programs() { case $1 in k8s) echo "$CONTROL" ;; *) echo "$1" ;; esac; }

path() {
  case $1 in
    etcd | kube-apiserver | kubectl)
      if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then echo "$KUBEBUILDER_ASSETS/$1"; return; fi ;;
  esac
  echo "$(folder "$(part_of "$1")")/$1"
}

built() {
  local program
  for program in $(programs "$1"); do [ -x "$(path "$program")" ] || return 1; done
}

packages() {
  case $1 in
    k8s) printf 'k8s.io/kubernetes/cmd/%s ' $CONTROL ;;
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    metrics-server) echo sigs.k8s.io/metrics-server/cmd/metrics-server ;;
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    informer) echo . ;;
  esac
}

linker_flags() {
  local v m
  printf -- '-s -w'
  [ "$1" = k8s ] || return 0
  v=$(version k8s) m=$(cut -d. -f2 <<<"$(version k8s)")
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf ' -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean' $p "$v" $p $p "$m" $p
  done
}

build() {
  local part=$1 into
  built "$part" && return
  into=$(folder "$part"); mkdir -p "$CACHE/bin"
  # A shell of its own: whichever way it ends, the lock and what is half built go with it.
  (
    # An hour is longer than any build of these.
    exec 9>"$CACHE/bin/.$part.lock"
    flock -w 3600 9 || die "another build of $part holds its lock for an hour"
    ! built "$part" || exit 0
    say "building $part $(version "$part")"
    work=$(mktemp -d "$CACHE/bin/.build-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (cd "$HERE/go/$part" && CGO_ENABLED=0 GOFLAGS=-mod=readonly \
      go build -p 2 -trimpath -buildvcs=false -ldflags "$(linker_flags "$part")" -o "$work/" $(packages "$part")) \
      || die "building $part failed"
    # The command at the root of etcd's server module is called after its folder.
    [ "$part" != etcd ] || [ -e "$work/etcd" ] || mv "$work/server" "$work/etcd"
    rm -rf "$into"; mv -T "$work" "$into"
    say "built $part in ${SECONDS}s"
  )
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  case ${1:-} in
    --path) path "$2" ;;
    --built) shift; for part; do built "$part" || exit 1; done ;;
    "") die "usage: binaries.sh PART... | --built PART... | --path PROGRAM" ;;
    *) for part; do build "$part"; done ;;
  esac
fi
