#!/usr/bin/env bash
# The Debian packages that the cluster stands on. Does nothing when all are there; asks the archive only for what is missing.
#
#   deps.sh [package...]     default: everything the cluster, its images and its builds need, and the browser that reports are looked at with
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ $# -gt 0 ] || set -- \
  containerd runc containernetworking-plugins nftables iptables conntrack iproute2 procps util-linux btrfs-progs e2fsprogs \
  debootstrap gcc libc6-dev binutils openssl ca-certificates curl jq git python3 python3-pip chromium fonts-dejavu-core

missing=()
for package in "$@"; do
  # The space tells "installed" from a package that was removed but left its configuration.
  dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

[ "$(id -u)" = 0 ] || die "these Debian packages are missing, and only root can install them: apt-get install ${missing[*]}"
exclusively deps
started=$(clock)
say "installing from Debian: ${missing[*]}"

# Debian starts a daemon as soon as its package is installed. The cluster runs a containerd of its own, with its own
# directory and socket; the machine's must not begin to run for our sake.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
# An old list of packages names versions that the archive no longer has, so the list is read anew.
if ! { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  die "apt-get failed; its whole output: $log"
fi
rm -f "$log"
say "installed in $(since "$started")"
