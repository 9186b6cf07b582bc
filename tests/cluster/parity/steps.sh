#!/usr/bin/env bash
# Owns the parity steps: steps.sh KUBECTL KUBECONFIG NAME OUT [LANE...]
#
# Each step is one kubectl command line whose standard output, standard error and exit code land in
# OUT/LANE-NN-what.{out,err,code}. Lanes run side by side, each in a namespace NAME-LANE of its own, so
# that none sees another's objects; steps that touch the node itself come last. Nothing here knows
# whether the kubeconfig leads straight to the API server or through a tunnel. Steps wait for
# conditions, never for time to pass. HELM and INFORMER, where set, name the two other clients.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
export KUBECTL=$1 KUBECONFIG=$2 NAME=$3 OUT=$4; shift 4
LANES=${*:-read write rollout logs exec attach copy forward watch errors helm node}
LIMIT=${PARITY_LIMIT:-60}
mkdir -p "$OUT/home" "$OUT/work"
export HOME=$OUT/home KUBECACHEDIR=$OUT/home/cache TZ=UTC LC_ALL=C HERE
unset KUBERC KUBE_EDITOR EDITOR

# record WHAT COMMAND...: runs the command, input from whoever calls, and keeps all it says.
record() {
  local base; N=$((N + 1)); base=$OUT/$LANE-$(printf %02d $N)-$1; shift
  timeout -k 5 "$LIMIT" "$@" >"$base.out" 2>"$base.err"
  echo $? >"$base.code"
}
step() { local what=$1; shift; record "$what" "$KUBECTL" -n "$SPACE" "$@" </dev/null; }
# script WHAT TEXT: for pipes and for what runs beside kubectl; $K is kubectl in the lane's namespace.
script() { record "$1" bash -c "set -o pipefail; cd '$WORK'; $2" </dev/null; }

lane() {
  LANE=$1 SPACE=$NAME-$1 N=0 WORK=$OUT/work/$1
  mkdir -p "$WORK"; export SPACE WORK K="$KUBECTL -n $SPACE"
  $K create namespace "$SPACE" >/dev/null 2>"$WORK/setup" || cat "$WORK/setup" >&2
  until_true "$K get serviceaccount default"
  "lane_$1"
  $K delete namespace "$SPACE" --wait=false >/dev/null 2>&1
}
# until_true TEXT: the wait of a set-up, a minute at most.
until_true() {
  local end=$((SECONDS + 60))
  until eval "$1" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { echo "$LANE: never true: $1" >&2; return 1; }; sleep 0.1; done
}
export -f until_true
pods() { # POD...: applies these pods of pods.yaml, and waits until they are ready
  $K apply -f "$HERE/pods.yaml" -l "app in ($(IFS=,; echo "$*"))" >/dev/null
  [ "$1" = talker ] || $K wait --for=condition=Ready --timeout=90s pod -l "app in ($(IFS=,; echo "$*"))" >/dev/null
}

lane_read() {
  pods worker
  step version version
  step cluster-info cluster-info
  step api-versions api-versions
  step api-resources api-resources -o wide
  step get-namespace get namespace "$SPACE" --show-labels
  step get-wide get pods,services -o wide
  step get-all get all
  step get-yaml get pod worker -o yaml
  step get-json get service worker -o json
  step get-jsonpath get pods -o 'jsonpath={range .items[*]}{.metadata.name}{" "}{.spec.containers[*].image}{"\n"}{end}'
  step get-columns get pods -o custom-columns=NAME:.metadata.name,PHASE:.status.phase
  step get-template get pods -o 'go-template={{range .items}}{{.metadata.name}}{{"\n"}}{{end}}'
  step get-selector get pods -l app=worker -o name
  step get-field get pods --field-selector status.phase=Running -o name
  step get-managed get pod worker --show-managed-fields -o 'jsonpath={.metadata.managedFields[*].manager}'
  script get-chunks '$K create configmap many-1 --from-literal=a=1 >/dev/null; $K create configmap many-2 --from-literal=a=2 >/dev/null; $K get configmaps --chunk-size=1'
  script get-sorted '$K get configmaps --sort-by=.metadata.name -o name'
  step get-subresource get pod worker --subresource=status -o 'jsonpath={.status.phase}'
  step raw-healthz get --raw '/readyz?verbose&exclude=etcd'
  step raw-list get --raw "/api/v1/namespaces/$SPACE/services?limit=1"
  step raw-openapi get --raw /openapi/v3
  script raw-openapi-large '$K get --raw /openapi/v3/apis/apps/v1 | sha256sum'
  step raw-pod-proxy get --raw "/api/v1/namespaces/$SPACE/pods/worker:8080/proxy/"
  step raw-service-proxy get --raw "/api/v1/namespaces/$SPACE/services/worker:http/proxy/index.html"
  step raw-node-proxy get --raw /api/v1/nodes/node1/proxy/healthz
  step describe-pod describe pod worker --show-events=false
  step describe-service describe service worker
  step describe-namespace describe namespace "$SPACE"
  step get-events get events --field-selector reason=Scheduled -o 'custom-columns=R:.reason,O:.involvedObject.name'
  step explain explain pod.spec.containers.resources
  step explain-recursive explain deployment.spec --recursive
  step can-i-yes auth can-i create deployments
  step can-i-list auth can-i --list
  step whoami auth whoami -o yaml
  # A gateway serves a cluster below a path, which the proxy adds only when told to.
  script proxy '$K proxy --append-server-path --port=0 >port 2>/dev/null & P=$!; until_true "grep -q : port"; u=http://127.0.0.1:$(grep -o "[0-9]*$" port); curl -sS "$u/api/v1/namespaces/$SPACE/services/worker" | grep -v -e uid -e resourceVersion -e Timestamp -e IP -e "\"10\."; curl -sS -o /dev/null -w "%{http_code}\n" "$u/api/v1/namespaces/$SPACE/pods/none"; kill $P'
}

lane_write() {
  cp "$HERE/web.yaml" "$WORK/web.yaml"; cd "$WORK" || return
  step create-configmap create configmap cm --from-literal=a=1
  step get-configmap get configmap cm -o yaml
  step create-dry-server create configmap dry --from-literal=a=1 --dry-run=server -o yaml
  step dry-left-nothing get configmap dry
  step apply apply -f web.yaml
  step apply-again apply -f web.yaml
  step diff-nothing diff -f web.yaml
  sed -i 's/replicas: 1/replicas: 2/' web.yaml
  # Two temporary folders are named in the head of a diff; their paths hold the time.
  script diff-something 'export KUBECTL_EXTERNAL_DIFF="diff -U0"; $K diff -f web.yaml | grep "^[-+] "; echo ${PIPESTATUS[0]}'
  step server-side-conflict apply --server-side -f web.yaml --field-manager=other
  step server-side-force apply --server-side --force-conflicts -f web.yaml --field-manager=other
  step server-side-owner get deployment web --show-managed-fields -o 'jsonpath={.metadata.managedFields[?(@.manager=="other")].operation}'
  step patch-strategic patch deployment web -p '{"metadata":{"labels":{"tier":"front"}}}'
  step patch-merge patch configmap cm --type merge -p '{"data":{"b":"2"}}'
  step patch-json patch configmap cm --type json -p '[{"op":"replace","path":"/data/a","value":"3"}]'
  step patch-json-fails patch configmap cm --type json -p '[{"op":"test","path":"/data/a","value":"9"}]'
  step patched get configmap cm -o 'jsonpath={.data}'
  script replace '$K get configmap cm -o yaml | sed "s/a: .3./a: four/; s/^  b: .*/  b: five/" | $K replace -f -'
  script replace-conflict '$K get configmap cm -o yaml | sed "s/resourceVersion: .*/resourceVersion: \"1\"/" | $K replace -f -'
  step scale scale deployment web --replicas=3
  step scale-precondition scale deployment web --current-replicas=7 --replicas=1
  step label label configmap cm team=blue
  step label-again label configmap cm team=red
  step annotate annotate configmap cm note=written
  step set-env set env deployment/web COLOUR=green
  step set-env-list set env deployment/web --list
  step set-resources set resources deployment/web --limits=memory=64Mi
  script edit 'printf "#!/bin/sh\nsed -i s/four/edited/ \"\$1\"\n" >editor; chmod +x editor; KUBE_EDITOR=$WORK/editor $K edit configmap cm'
  step edited get configmap cm -o 'jsonpath={.data.a}'
  script create-stdin 'printf "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: made-}\n" | $K create -f - -o jsonpath={.metadata.generateName}'
  mkdir -p kustomized; printf 'namePrefix: k-\nconfigMapGenerator: [{name: gen, literals: [x=y]}]\n' >kustomized/kustomization.yaml
  step apply-kustomize apply -k kustomized
  step create-job create job once --image=localhost/busybox:1.35 -- true
  step create-cronjob create cronjob nightly --schedule='0 3 * * *' --image=localhost/busybox:1.35 -- true
  step create-role create role reader --verb=get,list --resource=pods
  step create-rolebinding create rolebinding reader --role=reader --serviceaccount="$SPACE:default"
  script create-token '$K create token default --duration=10m | cut -d. -f1 | wc -l'
  step expose expose deployment web --port=81 --name=web-81
  step autoscale autoscale deployment web --min=1 --max=2 --cpu=80%
  # A body that fills many frames in the direction of the server.
  script large-object 'head -c 900000 /dev/zero | tr "\0" x >large; $K create configmap large --from-file=large; $K get configmap large -o jsonpath={.data.large} | sha256sum'
  step delete-one delete configmap cm
  step delete-selector delete deployment,service -l app=web
  step delete-absent delete configmap absent --ignore-not-found
  step delete-raw delete --raw "/api/v1/namespaces/$SPACE/configmaps/large"
}

lane_rollout() {
  step apply apply -f "$HERE/web.yaml"
  # What is said on the way depends on when one looks; the last line does not.
  script status '$K rollout status deployment/web --timeout=60s | tail -1'
  step wait-available wait --for=condition=Available deployment/web --timeout=60s
  step wait-jsonpath wait --for=jsonpath='{.status.readyReplicas}'=1 deployment/web --timeout=60s
  step wait-timeout wait --for=condition=Never deployment/web --timeout=1s
  step pause rollout pause deployment/web
  step set-env set env deployment/web STEP=two
  step resume rollout resume deployment/web
  script status-again '$K rollout status deployment/web --timeout=60s | tail -1'
  step history rollout history deployment/web
  step history-revision rollout history deployment/web --revision=2
  step undo rollout undo deployment/web
  script status-undone '$K rollout status deployment/web --timeout=60s | tail -1'
  step restart rollout restart deployment/web
  script status-restarted '$K rollout status deployment/web --timeout=60s | tail -1'
  script describe '$K describe deployment web | grep -v -e ^NewReplicaSet -e ^OldReplicaSets -e "ScalingReplicaSet" -e restartedAt'
  step delete-foreground delete deployment web --cascade=foreground --timeout=60s
  step wait-delete wait --for=delete deployment/web --timeout=60s
}

lane_logs() {
  pods talker
  until_true "$K logs talker -c one"
  step follow logs -f talker -c one
  until_true "test \$($K get pod talker -o 'jsonpath={.status.phase}') = Succeeded"
  step all logs talker -c two
  step tail logs talker -c two --tail=2
  step limit logs talker -c two --limit-bytes=100
  step timestamps logs talker -c one --timestamps
  step since logs talker -c one --since=1h
  step selector logs -l app=talker -c one --tail=1 --prefix
  # Sorted: kubectl visits the containers in the order of a Go map.
  script all-containers '$K logs talker --all-containers --tail=1 | sort'
  step no-container logs talker -c none
  pods restarted
  until_true "test \$($K get pod restarted -o 'jsonpath={.status.containerStatuses[0].restartCount}') = 1"
  until_true "$K logs restarted | grep -q second"
  step previous logs restarted --previous
  step now logs restarted
}

lane_exec() {
  pods worker
  local ws
  # A size travels beside the command's start and may come after it: the shell waits for each.
  export TTY='size() { until [ "$(stty size 2>/dev/null)" = "$1" ]; do sleep 0.1; done; echo size $1; }; size "40 132"; read line; size "50 100"; exit 3'
  for ws in true false; do
    export KUBECTL_REMOTE_COMMAND_WEBSOCKETS=$ws
    step "output-$ws" exec worker -- sh -c 'echo out; echo err >&2'
    step "code-$ws" exec worker -- sh -c 'exit 5'
    step "killed-$ws" exec worker -- sh -c 'kill -9 $$'
    step "no-command-$ws" exec worker -- /no/such/command
    script "stdin-$ws" 'yes 0123456789abcdef | head -c 5000000 >five; $K exec -i worker -- sha256sum <five'
    script "stdin-back-$ws" '$K exec -i worker -- cat <five | sha256sum'
    script "large-output-$ws" '$K exec worker -- sh -c "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 20971520" | sha256sum'
    script "tty-$ws" 'python3 "$HERE/terminal.py" 40 132 50 100 $K exec -it worker -- sh -c "$TTY"'
  done
  unset KUBECTL_REMOTE_COMMAND_WEBSOCKETS
  step no-container exec worker -c none -- true
  step no-pod exec nobody -- true
}

lane_attach() {
  pods echo
  script attach-websocket 'echo hello-attach | $K attach -i echo-ws'
  script attach-spdy 'echo hello-attach | KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false $K attach -i echo-spdy'
  # The pod's own first lines may come before kubectl is attached; what it echoes may not.
  script run-rm 'echo hello-run | $K run once --rm -i --quiet --restart=Never --image=localhost/busybox:1.35 --image-pull-policy=Never -- cat'
  pods worker
  step debug debug worker -c dbg --image=localhost/busybox:1.35 --image-pull-policy=Never --target=c --profile=general --attach=false -- sh -c 'echo in-debug'
  until_true "$K logs worker -c dbg | grep -q in-debug"
  step debug-logs logs worker -c dbg
  step debug-copy debug worker --copy-to=copy --container=c --image=localhost/busybox:1.35 --profile=general --attach=false -- sleep 1000
  step debug-copied wait --for=condition=PodScheduled pod/copy --timeout=30s
}

lane_copy() {
  pods worker
  mkdir -p "$WORK/folder/deep"
  yes abcdefgh | head -c 5000000 >"$WORK/folder/deep/file"; echo small >"$WORK/folder/small"
  step to cp "$WORK/folder" worker:/tmp/folder
  step arrived exec worker -- sh -c 'cd /tmp/folder && find . -type f -exec sha256sum {} + | sort'
  step from cp worker:/tmp/folder "$WORK/back"
  script came-back 'cd back && find . -type f -exec sha256sum {} + | sort'
  script to-spdy 'KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false $K cp folder/small worker:/tmp/spdy; $K exec worker -- cat /tmp/spdy'
  # What tar says comes or not, depending on who is first; that nothing was copied does not.
  script missing '$K cp worker:/no/such/file none >/dev/null 2>&1; echo $?; ls none 2>/dev/null'
}

lane_forward() {
  pods worker
  local text='rm -f said; $K port-forward $TARGET :$PORT >said 2>&1 & P=$!; until_true "grep -q Forwarding said"; L=$(grep -om1 "127.0.0.1:[0-9]*" said); curl -sS -m 55 http://$L/$WHAT | sha256sum; echo ${PIPESTATUS[*]}; kill $P; wait $P; sed 1,2d said | grep -v Handling'
  script pod-websocket "TARGET=pod/worker PORT=8080 WHAT=cgi-bin/big; $text"
  script pod-spdy "export KUBECTL_PORT_FORWARD_WEBSOCKETS=false; TARGET=pod/worker PORT=8080 WHAT=cgi-bin/big; $text"
  script service "TARGET=service/worker PORT=80 WHAT=index.html; $text"
  # Sixteen connections at once over one forward.
  script many 'rm -f said; $K port-forward pod/worker :8080 >said 2>&1 & P=$!; until_true "grep -q Forwarding said"; L=$(grep -om1 "127.0.0.1:[0-9]*" said); for i in $(seq 16); do curl -sS -m 30 http://$L/index.html & done >got; wait $(jobs -p | grep -v "^$P$"); kill $P; wait $P; sort got | uniq -c'
  script refused 'rm -f said; $K port-forward pod/worker :9 >said 2>&1 & P=$!; until_true "grep -q Forwarding said"; L=$(grep -om1 "127.0.0.1:[0-9]*" said); curl -sS -m 20 http://$L/ 2>&1 | sed "s/port [0-9]*//; s/after [0-9]* ms//"; until_true "grep -q -i -e refused -e lost said"; kill $P 2>/dev/null; wait $P; grep -o "connect: connection refused" said | head -1'
  step no-pod port-forward pod/nobody :8080
}

lane_watch() {
  # Watches are ended when they have seen what they wait for, not after some seconds. kubectl lists
  # first and watches from there, so nothing that happens meanwhile is missed.
  script events '$K get configmaps -l w=1 -w --output-watch-events >seen 2>&1 & P=$!
    for i in 1 2 3 4 5; do $K create configmap w-$i --from-literal=v=$i >/dev/null; $K label configmap w-$i w=1 >/dev/null; done
    $K patch configmap w-3 -p "{\"data\":{\"v\":\"33\",\"x\":\"y\"}}" >/dev/null
    until_true "grep -q MODIFIED seen"; $K delete configmap w-5 >/dev/null
    until_true "grep -q DELETED seen"; kill -INT $P; wait $P; echo $?; cat seen'
  script only '$K get configmaps -l w=1 --watch-only -o name --request-timeout=20s >seen2 2>&1 & P=$!
    until_true "$K label configmap w-4 touched=\$RANDOM --overwrite && test -s seen2"; kill -INT $P; wait $P; sort -u seen2'
  script wait-create '$K wait --for=create configmap/later --timeout=30s & P=$!; $K create configmap later >/dev/null; wait $P'
  # It prints nothing when the object is gone before it first looks.
  script wait-delete '$K wait --for=delete configmap/later --timeout=30s >/dev/null & P=$!; $K delete configmap later >/dev/null; wait $P; echo $?'
  step raw-timeout get --raw "/api/v1/namespaces/$SPACE/configmaps?watch=true&timeoutSeconds=1&labelSelector=none%3Dnone"
  if [ -n "${INFORMER:-}" ]; then record informer "$INFORMER" "$SPACE" </dev/null; fi
}

lane_errors() {
  step not-found get pod nobody
  step not-found-yaml get pod nobody -o yaml
  step no-such-type get nonsense
  step bad-field get pods --field-selector nonsense=1
  step bad-selector get pods -l 'a in b'
  step bad-raw get --raw /api/v1/nonsense
  step bad-path get --raw /apis/none.example/v1
  step exists create namespace "$SPACE"
  step invalid create configmap Not_A_Name
  script invalid-object 'printf "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: []}}}\n" | $K apply -f -'
  script unknown-field 'printf "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nnonsense: 1\n" | $K create -f -'
  script unknown-field-warns 'printf "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nnonsense: 1\n" | $K create --validate=warn -f -'
  step forbidden delete namespace kube-system
  step warning-deprecated get endpoints
  "$KUBECTL" label namespace "$SPACE" pod-security.kubernetes.io/warn=restricted >/dev/null
  step warning-admission run insecure --image=localhost/busybox:1.35 --image-pull-policy=Never --dry-run=server
  step warning-as-error get endpoints --warnings-as-errors
  step method delete --raw "/api/v1/namespaces/$SPACE/pods/nobody/log"
  # More than the server reads: its answer comes before the body has been sent.
  script too-large 'head -c 4000000 /dev/zero | tr "\0" x >large; $K create configmap large --from-file=large 2>&1 | cut -c1-80'
  step timeout get pods --request-timeout=1ns
  step eviction create --raw "/api/v1/namespaces/$SPACE/pods/nobody/eviction" -f /dev/null
}

lane_helm() {
  [ -n "${HELM:-}" ] || return 0
  local h='"$HELM" -n "$SPACE"'
  script install "$h install small \"$HERE/chart\" --wait --timeout 60s | grep -v ^LAST"
  script list "$h list -o json | grep -o '\"status\":\"[a-z]*\"'"
  script upgrade "$h upgrade small \"$HERE/chart\" --set greeting=bye --wait --timeout 60s | grep -v ^LAST"
  step upgraded get configmap small -o 'jsonpath={.data.greeting}'
  script uninstall "$h uninstall small --wait --timeout 60s"
  step nothing-left get configmap small
}

lane_node() {
  sed 's/web/drained/' "$HERE/web.yaml" | $K apply -f - >/dev/null
  $K rollout status deployment/drained --timeout=60s >/dev/null
  until_true "$K top pod -l app=drained"
  step get-nodes get nodes
  step describe-node describe node node1 --show-events=false
  step top-node top node
  step top-pod top pod -l app=drained
  step cordon cordon node1
  step cordoned get node node1
  step drain drain node1 --pod-selector=app=drained --ignore-daemonsets --delete-emptydir-data --timeout=50s
  step uncordon uncordon node1
  step taint taint node node1 parity=yes:PreferNoSchedule
  step untaint taint node node1 parity-
  step label label node node1 parity=seen
  step unlabel label node node1 parity-
}

for one in $LANES; do
  [ "$one" = node ] || (lane "$one") &
done
wait
case " $LANES " in *" node "*) (lane node) ;; esac
rm -rf "$OUT/work" "$OUT/home"
