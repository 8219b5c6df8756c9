#!/usr/bin/env bash
# Compiled crates of others, kept in the cache, so that a fresh clone compiles only our own. Works on the workspace of the current
# directory. What is in the cache is never believed further than cargo does: it holds no crate of a workspace, since cargo takes
# those of two clones for the same, and cargo's own fingerprints decide about the rest.
#
#   crates.sh restore              into a target directory that has nothing yet; without anything fitting it does nothing
#   crates.sh save COMMAND...      what these cargo commands (one string each) have compiled, unless the cache has it
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
usage='crates.sh restore|save COMMAND...'
KEPT=2
# What is sorted here is joined here.
export LC_ALL=C

# Compiling is slower, and always right: so nothing that goes wrong here fails the build.
for program in cargo rustc jq tar zstd; do
  command -v "$program" >/dev/null || exit 0
done
store=$CACHE/crates
workspace=$(cargo metadata --no-deps --format-version 1)
target=$(jq --raw-output .target_directory <<<"$workspace")
compiler=$({ rustc --version --verbose && echo "${RUSTFLAGS:-}"; } | sha256sum | cut -c 1-12)
# Manifests as a whole: dependencies, features and profiles are in them.
mapfile -t manifests < <(jq --raw-output '.workspace_root + "/Cargo.toml", .packages[].manifest_path' <<<"$workspace" | sort --unique)
root=$(jq --raw-output .workspace_root <<<"$workspace")
entry=$compiler-$(cat "$root/Cargo.lock" "${manifests[@]}" | sha256sum | cut -c 1-12)

# newest [PATTERN]: archives of the cache by age, the youngest first.
newest() { find "$store" -maxdepth 1 -name "${1:-*}.tar.zst" -printf '%T@ %p\n' 2>/dev/null | sort --reverse --numeric-sort | cut -d ' ' -f 2-; }

restore() {
  local archive started
  [ ! -e "$target/debug" ] || return 0
  archive=$store/$entry.tar.zst
  # Of other manifests most crates are the same.
  [ -e "$archive" ] || read -r archive < <(newest "$compiler-*") || return 0
  started=$(clock)
  mkdir -p "$target"
  find "$target" -maxdepth 1 -name '.crates.*' -mmin +60 -exec rm -rf {} +
  work=$(mktemp -d "$target/.crates.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if ! zstd --decompress --stdout --quiet "$archive" | tar --extract --directory "$work"; then
    warn "$archive is damaged and was taken away: everything is compiled"
    rm -f "$archive"
    return 0
  fi
  # Another cargo may have begun meanwhile: then its directory stays.
  mv --no-target-directory --no-clobber "$work/debug" "$target/debug"
  say "compiled dependencies: taken from the cache in $(since "$started")"
}

# units COMMAND...: the hashes by which cargo names what it made of crates that are not ours.
units() {
  local command
  for command in "$@"; do
    # shellcheck disable=SC2086 # a command line
    cargo ${command/ / --message-format=json --quiet } || exit 1
  done | jq --raw-output 'select(.package_id // "path+" | startswith("path+") | not) | (.filenames // [])[], (.out_dir // empty)' |
    sed --quiet --regexp-extended 's|^.*/[^/]+-([0-9a-f]{16})(\.[a-z]+)?(/[^/]+)?$|\1|p' | sort --unique
}

# pack UNITS ARCHIVE: what is named by one of these hashes: directories of fingerprints and of build scripts, and files.
pack() {
  (
    cd "$target" || exit 1
    find debug/.fingerprint debug/build debug/deps -mindepth 1 -maxdepth 1 -printf '%p\n' |
      sed --quiet --regexp-extended 's|^.*-([0-9a-f]{16})(\..*)?$|\1 &|p' | sort | join - "$1" | cut -d ' ' -f 2- |
      tar --create --format=posix --files-from=- --file=- | zstd -1 --threads=0 --quiet -o "$2"
  )
}

save() {
  local work archive=$store/$entry.tar.zst started
  [ ! -e "$archive" ] || return 0
  started=$(clock)
  work=$(scratch crates)
  if units "$@" >"$work/units" && [ -s "$work/units" ] && pack "$work/units" "$work/archive" && mkdir -p "$store"; then
    mv "$work/archive" "$archive"
    newest | tail --lines=+$((KEPT + 1)) | xargs --no-run-if-empty --delimiter='\n' rm -f
    say "compiled dependencies: saved in $(since "$started"), $(($(stat --format=%s "$archive") / 1000000)) MB"
  else
    warn "compiled dependencies: not saved, the next fresh clone compiles them anew"
  fi
  rm -rf "$work"
}

case ${1:?$usage} in
  restore) restore ;;
  save)
    shift
    [ $# -gt 0 ] || die "$usage"
    save "$@"
    ;;
  *) die "$usage" ;;
esac
