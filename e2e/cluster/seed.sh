#!/usr/bin/env bash
# Unpacks the test bed's own images once, into a containerd directory that every node then begins with as a tree of hard
# links: unpacking ChromaDB for each cluster anew would take half a minute. To make and delete twenty thousand links takes
# seconds too, so what a node leaves is kept as the spare for the next one.
#
#   seed.sh                  makes the seed, unless the cache has it
#   seed.sh --print-path
#   seed.sh --plant DIR      gives DIR/containerd (and DIR/images, the records of import.sh) what the seed holds
#   seed.sh --uproot DIR     takes DIR/containerd away, when nothing runs or is mounted there any more
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$CLUSTER_SCRIPTS/process.sh"

archives=()
for name in pause coredns chromadb; do archives+=("$("$CLUSTER_SCRIPTS/images.sh" --print-path "$name")"); done
seed=$CACHE/seed-$(printf '%s\n' "$(containerd --version)" "${archives[@]##*/}" | sha256sum | cut -c 1-12)

# fresh_databases DIR: the two databases are written in place, so they are copies, and know what the seed holds.
fresh_databases() {
  local database
  find "$seed/containerd" -name '*.db' -printf '%P\n' | while read -r database; do
    cp --remove-destination "$seed/containerd/$database" "$1/$database"
  done
}

# only_seeded DIR SUBDIRECTORY: deletes what lies in DIR/SUBDIRECTORY but not in the seed's.
only_seeded() {
  local name
  find "$1/$2" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | while read -r name; do
    [ -e "$seed/containerd/$2/$name" ] || rm -rf --one-file-system "${1:?}/$2/$name"
  done
}

case ${1:-} in
  --print-path)
    say "$seed"
    exit
    ;;
  --plant)
    dir=${2:?--plant wants a directory}
    [ ! -d "$dir/containerd" ] || exit 0
    rm -rf "$dir/containerd.new"
    for spare in "$seed"-spare.*; do
      # A rename: of two clusters that want the same one, one gets it.
      if mv --no-target-directory "$spare" "$dir/containerd.new" 2>/dev/null; then break; fi
    done
    # What is unpacked is only ever read, so links do; a directory on another file system gets copies.
    [ -d "$dir/containerd.new" ] || cp --archive --link "$seed/containerd" "$dir/containerd.new" 2>/dev/null ||
      { rm -rf "$dir/containerd.new" && cp --archive "$seed/containerd" "$dir/containerd.new"; }
    fresh_databases "$dir/containerd.new"
    cp --archive --no-target-directory "$seed/images" "$dir/images"
    mv "$dir/containerd.new" "$dir/containerd"
    exit
    ;;
  --uproot)
    dir=${2:?--uproot wants a directory}
    # Enough for two clusters of two nodes.
    spares=("$seed"-spare.*)
    if [ ! -d "$dir/containerd" ] || [ ! -d "$seed" ] || [ -d "${spares[3]:-}" ]; then exit 0; fi
    # The container's own files, the images that were imported later, the records of pods.
    only_seeded "$dir/containerd" .
    only_seeded "$dir/containerd" io.containerd.snapshotter.v1.overlayfs/snapshots
    only_seeded "$dir/containerd" io.containerd.content.v1.content/blobs/sha256
    only_seeded "$dir/containerd" io.containerd.content.v1.content/ingest
    fresh_databases "$dir/containerd"
    # Across file systems this would be a copy, and worth nothing.
    if [ "$(stat --format=%d "$dir")" = "$(stat --format=%d "$CACHE")" ]; then mv "$dir/containerd" "$seed-spare.$$"; fi
    exit
    ;;
esac

[ ! -d "$seed" ] || exit 0
exclusively seed
[ ! -d "$seed" ] || exit 0
started=$(clock)
say "unpacking the images"
work=$(scratch seed)
RUN=$work
trap 'finish containerd; rm -rf "$work"' EXIT
cat >"$work/containerd.toml" <<TOML
version = 2
root = "$work/seed/containerd"
state = "$work/state"
# Nothing runs in this one, and it needs no network.
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$work/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$work/opt"
TOML
spawn containerd containerd --config "$work/containerd.toml"
await containerd 20 containerd ctr --address "$work/containerd.sock" version
mkdir -p "$work/seed/images"
for archive in "${archives[@]}"; do
  "$CLUSTER_SCRIPTS/import.sh" --node "$work/containerd.sock" "$work/seed/images" "$archive" >/dev/null
done
finish containerd 10
mv "$work/seed" "$seed"
# Of older ones only the last is kept, for a work tree that is behind.
find "$CACHE" -maxdepth 1 -name 'seed-*' ! -name '*-spare.*' -printf '%T@ %p\n' | sort --reverse --numeric-sort | tail --lines=+3 | cut -d ' ' -f 2- | while read -r old; do rm -rf "$old" "$old"-spare.*; done
say "unpacked in $(since "$started")"
