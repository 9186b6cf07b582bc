# Owns how a stage runs, for tests/run and tests/long: one log each, a deadline, a count of passed,
# failed and skipped, the summary table, and the end of everything that was started. Sourced.
#
# What a stage prints is counted: cargo's "test result:" lines, and lines that begin with PASS, FAIL
# or SKIP. A stage that counts nothing is one test by itself. FIGURE lines go into the table's tail.
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOGS=${CARGO_TARGET_DIR:-$ROOT/target}/tests-${0##*/}
CACHE=${PIPEOPS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pipeops-agent-tests}
export PIPEOPS_TEST_CACHE=$CACHE
CLUSTER=$ROOT/tests/cluster/cluster.sh
PASSED=0 FAILED=0 SKIPPED=0 ROWS=()
# Clusters belong to the outermost run: when it is gone, so may they be.
export PIPEOPS_TEST_OWNER=${PIPEOPS_TEST_OWNER:-$$}
declare -A JOBS=()
mkdir -p "$LOGS"
cd "$ROOT" || exit 1
# Standard output of the whole run, reachable from inside a stage whose own goes to its log.
exec 3>&1
note() { printf '%s\n' "$*" >&3; }

# Every job gets a process group of its own, so that its end is the end of all it started.
set -m
end_group() { # LEADER: asks, and after ten seconds insists
  local _
  [ -n "$1" ] && kill -TERM -- "-$1" 2>/dev/null || return 0
  for _ in $(seq 40); do kill -0 -- "-$1" 2>/dev/null || return 0; sleep 0.25; done
  kill -KILL -- "-$1" 2>/dev/null || true
}

cleanup() {
  trap - EXIT INT TERM HUP
  local job
  # The shell's notices about ended jobs are no news here.
  { for job in "${JOBS[@]}"; do end_group "$job"; done; wait; } 2>/dev/null
  "$CLUSTER" down-owned "$PIPEOPS_TEST_OWNER" >/dev/null 2>&1
}
interrupted() { note "interrupted: ending what was started"; cleanup; summary; exit 130; }
trap interrupted INT TERM HUP
trap cleanup EXIT

# background NAME FUNCTION: starts a job with a log of its own; `join` waits for it and tells how it went.
background() {
  ("$2") >"$LOGS/$1.log" 2>&1 &
  JOBS[$1]=$!
}
join() {
  [ -n "${JOBS[$1]:-}" ] || return 1
  wait "${JOBS[$1]}"; local code=$?
  JOBS[$1]=
  [ $code = 0 ] || tail -20 "$LOGS/$1.log"
  return $code
}

tally() { # LOG: passed failed skipped
  awk '/^test result:/ {for (i = 2; i <= NF; i++) {if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1); if ($i ~ /^ignored/) s += $(i-1)}}
       /^PASS / {p++} /^FAIL / {f++} /^SKIP / {s++} END {print p+0, f+0, s+0}' "$1"
}

# stage NAME MINUTES FUNCTION: runs it, at most that long, and counts.
stage() {
  local name=$1 minutes=$2 function=$3 from=$SECONDS log=$LOGS/$1.log code result p f s
  note "== $name"
  ("$function") >"$log" 2>&1 &
  local job=$!
  JOBS[$name]=$job
  (sleep $((minutes * 60)); echo "FAIL $name: ended after $minutes minutes" >>"$log"; kill -TERM -- "-$job") >/dev/null 2>&1 3>&- &
  local watch=$!
  JOBS[watch]=$watch
  wait "$job"; code=$?
  kill -KILL -- "-$watch" 2>/dev/null; wait "$watch" 2>/dev/null
  end_group "$job"; JOBS[$name]='' JOBS[watch]=''
  read -r p f s <<<"$(tally "$log")"
  if [ "$code" = 77 ]; then
    # The convention of the exit code: nothing ran, and the reason is the log's last line.
    result=skipped; [ $((p + f + s)) -gt 0 ] || s=1
    if [ -n "${CI:-}" ]; then result=FAILED f=$((f + s)) s=0; fi
    note "   $(tail -1 "$log")"
  elif [ "$code" != 0 ]; then
    result=FAILED; [ "$f" -gt 0 ] || f=1
    tail -60 "$log" | sed 's/^/   | /' >&3
  else
    result=ok
    if [ "$f" -gt 0 ]; then result=FAILED; fi
    [ $((p + f + s)) -gt 0 ] || p=1
  fi
  PASSED=$((PASSED + p)) FAILED=$((FAILED + f)) SKIPPED=$((SKIPPED + s))
  local took; took=$(awk -v s=$((SECONDS - from)) 'BEGIN {printf "%.1f", s / 60}')
  ROWS+=("$(printf '%-14s %-8s %7s %7s %7s %8s' "$name" "$result" "$took" "$p" "$f" "$s")")
  note "== $name $result, $took min ($log)"
  [ $result != FAILED ]
}

summary() {
  note ""
  note "$(printf '%-14s %-8s %7s %7s %7s %8s' stage result minutes passed failed skipped)"
  local row
  for row in "${ROWS[@]}"; do note "$row"; done
  note ""
  note "$PASSED passed, $FAILED failed, $SKIPPED skipped"
}

# cluster_up SHAPE: brings up this checkout's cluster of that shape, and prints its env file's path.
# The id derives from the folder, so that two checkouts never meet and a killed run is cleared.
instance() { echo "$(printf %s "$ROOT" | cksum | awk '{printf "r%08x", $1}')-$1"; }
cluster_up() {
  local id; id=$(instance "$1")
  "$CLUSTER" up $([ "$1" = full ] || echo --api) --owner "$PIPEOPS_TEST_OWNER" "$id" >&2 || return 1
  echo "$("$CLUSTER" path "$id")/env"
}
