# What an instance is: every name, address and folder of one cluster, derived from its id so that
# several run side by side, and its processes, known by their records only. Sourced, never run.
#
# A process is recorded as "pid start-time": a number the kernel has given to somebody else since
# is never signalled. Nothing here looks a process up by name.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${PIPEOPS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pipeops-agent-tests}
# Short, because unix sockets live below it and their paths end at 107 bytes.
STATE=${PIPEOPS_TEST_STATE:-/tmp/pipeops-agent-tests-$(id -u)}

say() { printf 'cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# use INSTANCE: sets the names; nothing is created.
use() {
  [[ $1 =~ ^[a-z0-9][a-z0-9-]{0,15}$ ]] || die "an instance is 1 to 16 of a-z, 0-9 and -, not '$1'"
  ID=$1 DIR=$STATE/$1
  RUN=$DIR/run LOG=$DIR/log CFG=$DIR/cfg DATA=$DIR/data PKI=$DIR/pki ENV=$DIR/env
  NETNS=pt-$ID CGROUP=pt-$ID VOLATILE=/run/pipeops-test/$ID NODE=node1
  SOCKET=$VOLATILE/containerd.sock AUDIT=$DIR/audit.log
  SLOT=$(cat "$DIR/slot" 2>/dev/null || true)
  SHAPE=$(cat "$DIR/shape" 2>/dev/null || true)
  addresses
}

# The slot is a number no other instance has; 198.18.0.0/15 is set aside for tests (RFC 2544).
addresses() {
  HOST_IP=198.18.$SLOT.1 API_IP=198.18.$SLOT.2
  PODS=198.19.$SLOT.0/24 SERVICES=10.211.$SLOT.0/24 SERVICE_API=10.211.$SLOT.1
  HOST_LINK=pt$SLOT-host NODE_LINK=pt$SLOT-node
}

# claim_slot: takes the lowest free one; mkdir decides between two that ask at once.
claim_slot() {
  local n owner
  for n in $(seq 1 200); do
    owner=$(cat "$STATE/.slots/$n/instance" 2>/dev/null || true)
    [ -z "$owner" ] || [ -e "$STATE/$owner" ] || rm -rf "$STATE/.slots/$n"
    ip -o -4 addr 2>/dev/null | grep -q " 198\.18\.$n\." && continue
    mkdir -p "$STATE/.slots"
    mkdir "$STATE/.slots/$n" 2>/dev/null || continue
    echo "$ID" >"$STATE/.slots/$n/instance"; echo "$n" >"$DIR/slot"
    SLOT=$n; addresses; return
  done
  die "no free slot: is every instance under $STATE in use?"
}

# started_at PID: its start time in clock ticks; nothing for one that is gone or only waits to be reaped.
started_at() { sed -n 's/.*) //; /^Z/!p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# alive FILE: whether the process that the record names still runs.
alive() {
  local pid at
  [ -s "$1" ] && read -r pid at <"$1" && [ -n "$at" ] && [ "$(started_at "$pid")" = "$at" ]
}

# record FILE PID
record() { echo "$2 $(started_at "$2")" >"$1"; }

# start NAME COMMAND...: remembers the command line, then runs it.
start() {
  local name=$1; shift
  { echo '#!/bin/bash'; echo "exec $(printf '%q ' "$@")"; } >"$RUN/$name.cmd"
  restart "$name"
}

# restart NAME: runs the remembered command line in a session of its own, locks and input closed.
restart() {
  alive "$RUN/$1.pid" && return
  setsid bash "$RUN/$1.cmd" >>"$LOG/$1.log" 2>&1 </dev/null 8>&- 9>&- &
  record "$RUN/$1.pid" $!
}

# stop FILE...: SIGKILL, for the data is thrown away and an API server with an open log never obeys SIGTERM.
stop() {
  local file pid
  for file; do
    if alive "$file"; then read -r pid _ <"$file"; kill -9 "$pid" 2>/dev/null || true; fi
  done
  for file; do
    wait_for 20 gone "$file" || say "the process of $file does not die"
    rm -f "$file"
  done
}
gone() { ! alive "$1"; }

# wait_for SECONDS COMMAND...: polls until the command succeeds; the deadline is wall time.
wait_for() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

in_netns() { nsenter --net="/run/netns/$NETNS" "$@"; }
