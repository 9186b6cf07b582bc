# Owns how checks on a real cluster, and fuzz targets, are run by tests/run and tests/long. Sourced.
#
# A check is an executable tests/cluster/checks/NN-name. It gets the env file of a full cluster and
# that of one with etcd and API server only (empty where it is not up), the programs as
# PIPEOPS_AGENT and PIPEOPS_GATEWAY, and PIPEOPS_TEST_LENGTH (short or long). It prints PASS, FAIL
# and SKIP lines, exits non-zero when one failed, and ends what it starts. Two lines in its head are
# read: "# needs: full", "api" or "both"; "# minutes: N", after which it is ended (10 by default).

header() { sed -n "2,20s/^# $1: *//p" "$2" | head -1; }

# The environment file of a shape, brought up when first asked for; empty where it cannot be.
declare -A ENVS=()
CHECK='' MISSING=''
env_of() {
  local file
  if [ -z "${ENVS[$1]+known}" ]; then
    file=$(cluster_up "$1") || file=
    # Without root `up full` gives the smaller shape; a check that needs pods is then skipped.
    if [ -n "$file" ] && [ "$1" = full ] && ! grep -q '^CLUSTER_SHAPE=full$' "$file"; then
      MISSING=$(sed -n 's/^CLUSTER_MISSING=//p' "$file"); file=
    fi
    ENVS[$1]=$file
  fi
}

run_checks() {
  local check name needs full api minutes code failed=0 from
  local target=${CARGO_TARGET_DIR:-$ROOT/target}
  export PIPEOPS_AGENT=$target/release/pipeops-agent PIPEOPS_GATEWAY=$target/release/pipeops-gateway
  export PIPEOPS_TEST_LENGTH=${PIPEOPS_TEST_LENGTH:-short}
  trap end_clusters EXIT
  trap '[ -z "$CHECK" ] || end_group "$CHECK"; exit 143' TERM
  for check in "$ROOT"/tests/cluster/checks/[0-9]*; do
    [ -x "$check" ] || continue
    name=${check##*/} needs=$(header needs "$check") minutes=$(header minutes "$check") full='' api='' from=$SECONDS
    case ${needs:-full} in full | both) env_of full; full=${ENVS[full]}; [ -n "$full" ] || { refuse "$name"; continue; } ;; esac
    case $needs in api | both) env_of api; api=${ENVS[api]}; [ -n "$api" ] || { echo "FAIL $name: no API server"; failed=1; continue; } ;; esac
    # `timeout` leads a group of its own, which dies with it and here with us.
    timeout -k 10 $((${minutes:-10} * 60)) "$check" "$full" "$api" >"$LOGS/check-$name.log" 2>&1 &
    CHECK=$!
    wait "$CHECK"; code=$?
    end_group "$CHECK"; CHECK=
    cat "$LOGS/check-$name.log"
    if [ $code != 0 ]; then
      failed=1
      grep -q '^FAIL ' "$LOGS/check-$name.log" || echo "FAIL $name: exit code $code"
    fi
    note "   $name: exit $code, $((SECONDS - from))s, $(tally "$LOGS/check-$name.log" | awk '{print $1 " passed, " $2 " failed, " $3 " skipped"}')"
  done
  rust_checks || failed=1
  return $failed
}

refuse() {
  if [ -n "${CI:-}" ]; then echo "FAIL $1: needs pods: ${MISSING:-the cluster does not come up}"; failed=1
  else echo "SKIP $1: needs pods: ${MISSING:-the cluster does not come up}"; fi
  note "   $1: skipped: ${MISSING:-the cluster does not come up}"
}

# Tests in Rust that need the cluster read the same env files from two variables.
rust_checks() {
  grep -q 'required-features = \["cluster-tests"' "$ROOT/Cargo.toml" || return 0
  env_of full; env_of api
  [ -n "${ENVS[full]}" ] || { refuse cluster-tests; return $failed; }
  PIPEOPS_TEST_CLUSTER=${ENVS[full]} PIPEOPS_TEST_API=${ENVS[api]} \
    cargo test --locked --features cluster-tests --test cluster
}

end_clusters() {
  local shape
  trap - EXIT
  for shape in full api; do [ -z "${ENVS[$shape]:-}" ] || "$CLUSTER" down "$(instance $shape)"; done
}

# fuzz_all SECONDS: the corpus of each target, then new inputs. The nightly flags of libFuzzer's
# instrumentation are let through on the pinned compiler. No address sanitizer: our code forbids
# `unsafe`, and the dependencies build in half the time without.
fuzz_all() {
  local target failed=0 fuzz="$TOOLS/cargo-fuzz-$FUZZ/bin/cargo-fuzz" seed=${PIPEOPS_TEST_SEED:-$((RANDOM + 1))}
  export RUSTC_BOOTSTRAP=1
  echo "seed $seed"
  "$fuzz" build -s none || { echo "FAIL the fuzz targets do not build"; return 1; }
  for target in $("$fuzz" list); do
    mkdir -p "fuzz/corpus/$target"
    if "$fuzz" run -s none "$target" -- -runs=0 -timeout=10 -rss_limit_mb=1024 &&
      "$fuzz" run -s none "$target" -- "-max_total_time=$1" "-seed=$seed" -timeout=10 -rss_limit_mb=1024; then
      echo "PASS fuzz $target"
    else
      echo "FAIL fuzz $target (seed $seed)"; failed=1
    fi
  done
  return $failed
}
