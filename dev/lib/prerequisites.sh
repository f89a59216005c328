# shellcheck shell=bash
# What must be on the machine before services, build and tests can run, and how to install it.

java_is_new_enough() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [[ -n $version && $version -ge 17 ]]
}

# Debian package names of what is missing, one a line. $1: services; compile; build for both; checks for all.
missing_packages() {
  [[ $1 == compile ]] || missing_for_services
  [[ $1 == services ]] || missing_for_compiling
  [[ $1 != checks ]] || command -v valgrind >/dev/null || say valgrind
}

missing_for_services() {
  java_is_new_enough || say openjdk-17-jdk-headless
  command -v mvn >/dev/null || say maven
  command -v curl >/dev/null || say curl
  command -v flock >/dev/null || say util-linux
  command -v python3 >/dev/null || say python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || say python3-venv
  command -v node >/dev/null || say nodejs
  command -v npm >/dev/null || say npm
}

missing_for_compiling() {
  command -v gcc >/dev/null || say gcc
  command -v g++ >/dev/null || say g++
  command -v make >/dev/null || say make
  if ! command -v pkg-config >/dev/null; then
    say pkg-config
    say libssl-dev
    say zlib1g-dev
  else
    pkg-config --exists openssl || say libssl-dev
    pkg-config --exists zlib || say zlib1g-dev
  fi
}

# Ends the script with the exact line to run, or installs where that needs no question.
require_packages() {
  local packages line
  packages=$(missing_packages "$1" | tr '\n' ' ')
  packages=${packages% }
  [[ -n $packages ]] || return 0
  line="apt-get update && apt-get install -y --no-install-recommends $packages"
  if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
    warn "missing here, by their Debian names: $packages"
    die "install them with: sudo sh -c '$line'"
  fi
  say "installing: $packages"
  apt-get update -qq
  # Releases after Debian 12 carry a newer Java only.
  if [[ -z $(apt-cache madison openjdk-17-jdk-headless) ]]; then
    packages=${packages/openjdk-17-jdk-headless/default-jdk-headless}
  fi
  # shellcheck disable=SC2086  # a list of names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
    die "apt-get could not install: $packages"
}

require_rust() {
  # rustup puts itself into login shells only.
  command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
  command -v cargo >/dev/null ||
    die "cargo is missing: install Rust with rustup (https://rustup.rs); rust-toolchain.toml picks the version"
}
