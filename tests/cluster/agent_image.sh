#!/usr/bin/env bash
# Owns the agent's image of the tests, from the stage `prebuilt` of the Dockerfile: no registry is asked.
#
#   agent_image.sh program          prints the static program's path; builds it (profile
#                                   PIPEOPS_IMAGE_PROFILE, dist unless given; features
#                                   PIPEOPS_IMAGE_FEATURES: cluster-tests can be told to fail)
#   agent_image.sh image ARCHIVE    packs it by buildah as a docker archive
#
# A program linked statically shares no object file with the others, so it has a target folder of its
# own beside theirs. On two cores the first build takes five minutes, later ones one.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PROFILE=${PIPEOPS_IMAGE_PROFILE:-dist}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -1)
TARGET=$(rustc -vV | sed -n 's/^host: //p')
FOLDER=${PIPEOPS_STATIC_TARGET:-${CARGO_TARGET_DIR:-$ROOT/target}/static}
PROGRAM=$FOLDER/$TARGET/$PROFILE/pipeops-agent

program() {
  local commit; commit=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || true)
  (cd "$ROOT" && PIPEOPS_COMMIT=$commit RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=$FOLDER \
    cargo build --locked --profile "$PROFILE" --no-default-features --features "${PIPEOPS_IMAGE_FEATURES:-}" --bin pipeops-agent --target "$TARGET" >&2)
  echo "$PROGRAM"
}

# Buildah as root without an engine: no user namespaces, no overlay, nothing of ~/.local or /var/lib.
image() {
  local archive=$1 work code=0; work=$(mktemp -d)
  mkdir "$work/context"; cp "$PROGRAM" "$work/context/"
  strip -s "$work/context/pipeops-agent"
  build "$work" "$archive" || code=$?
  rm -rf --one-file-system "$work"
  return $code
}
build() {
  local store=(--root "$1/store" --runroot "$1/run" --storage-driver vfs)
  rm -f "$2"
  buildah "${store[@]}" bud -q --isolation chroot --target prebuilt --format docker --timestamp 0 \
    -f "$ROOT/Dockerfile" -t "docker.io/library/pipeops-agent:$VERSION" "$1/context" >&2 &&
    buildah "${store[@]}" push -q "docker.io/library/pipeops-agent:$VERSION" \
      "docker-archive:$2:docker.io/library/pipeops-agent:$VERSION" >&2
}

case ${1:-} in
  program) program ;;
  image) image "$2" ;;
  *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
