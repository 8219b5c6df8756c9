#!/usr/bin/env bash
# Builds the product's two images from the work tree: localhost/holdfast:dev and localhost/holdfast-controller:dev, static
# programs with nothing beside them. Prints the two archives, for import.sh; what it does meanwhile goes to standard error.
#
#   import.sh $(holdfast-images.sh)
#   holdfast-images.sh --print-cli     only the path of the program that a user runs by hand, once they are built
#
# What was built is kept by the hash of what it was built from: a fresh clone of the same sources compiles nothing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

target=$(rustc --version --verbose | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=$CACHE/target-static
# An image without a libc needs it linked in. Given the target by name, build scripts and macros are not built so.
export RUSTFLAGS="-C target-feature=+crt-static"

tree=$(cd "$CLUSTER_SCRIPTS/../.." && pwd)
hash_of_sources() {
  (
    cd "$tree"
    rustc --version --verbose
    sha256sum Cargo.toml Cargo.lock e2e/cluster/image.sh e2e/cluster/holdfast-images.sh /etc/ssl/certs/ca-certificates.crt
    find crds plan engine chroma mover controller -type f \( -path '*/src/*' -o -name Cargo.toml \) -print0 | LC_ALL=C sort --zero-terminated | xargs -0 sha256sum
  ) | sha256sum | cut -c 1-16
}
sources=$(hash_of_sources)
built=$CACHE/product/$sources
if [ "${1:-}" = --print-cli ]; then
  say "$built/holdfast"
  exit
fi
exclusively target-static
# Written last; the archives are kept elsewhere, and for a while only.
if [ -s "$built/archives" ] && xargs --arg-file="$built/archives" ls >/dev/null 2>&1; then
  touch "$built"
  cat "$built/archives"
  exit
fi
# Cargo tells a stale crate by the times of its files, and takes two work trees' crates of one name for the same: what
# another tree has built since we changed ours would pass for ours.
if [ "$(cat "$CARGO_TARGET_DIR/work-tree" 2>/dev/null || true)" != "$tree" ]; then
  own=$(cargo metadata --no-deps --format-version 1 --manifest-path "$tree/Cargo.toml" | jq --raw-output '.packages[].name')
  # shellcheck disable=SC2046
  cargo clean --quiet --release --target "$target" --manifest-path "$tree/Cargo.toml" $(printf -- '--package %s ' $own) >&2
  mkdir -p "$CARGO_TARGET_DIR"
  echo "$tree" >"$CARGO_TARGET_DIR/work-tree"
fi
cargo build --release --target "$target" --manifest-path "$tree/Cargo.toml" --package mover --package controller >&2

# Copies: another work tree may build into the same directory while these are packed.
work=$(scratch holdfast)
trap 'rm -rf "$work"' EXIT
for program in holdfast holdfast-controller; do
  cp "$CARGO_TARGET_DIR/$target/release/$program" "$work/$program"
  strip "$work/$program"
  if file=$(readelf --program-headers "$work/$program" | grep --only-matching 'Requesting program interpreter.*'); then
    die "$program is not static: $file"
  fi
  "$CLUSTER_SCRIPTS/image.sh" --limit 40 "$program" dev "$work/$program=/$program" >>"$work/archives"
  # Every change makes another archive; the cache keeps the last few.
  find "$IMAGES" -name "$program-dev-*.tar" -printf '%T@ %p\n' | sort --reverse --numeric-sort | tail --lines=+5 | cut -d ' ' -f 2- | xargs --no-run-if-empty rm -f
done
[ "$(hash_of_sources)" = "$sources" ] || die "the sources were changed while they were compiled: run this again"
mkdir -p "$CACHE/product"
rm -rf "$built"
mv "$work" "$built"
cat "$built/archives"
find "$CACHE/product" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort --reverse --numeric-sort | tail --lines=+5 | cut -d ' ' -f 2- | xargs --no-run-if-empty rm -rf
