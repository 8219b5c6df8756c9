#!/usr/bin/env bash
# The images that pods of the test bed run, as archives in the cache: pause, coredns, chromadb. Nothing is pulled.
#
#   images.sh [name...]            default: all of them
#   images.sh --print-path NAME    where the archive is, made or not
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# The archive's name carries what it is made of.
path_of() {
  local recipe program
  case $1 in
    pause) recipe=1-$(sha256sum "$CLUSTER_SCRIPTS/pause/pause.c" | cut -c 1-8) ;;
    coredns)
      program=$("$CLUSTER_SCRIPTS/tools.sh" --print-path coredns)
      recipe=${program##*/coredns-}
      ;;
    chromadb) recipe=$CHROMADB_VERSION-$(cat "$CLUSTER_SCRIPTS/chromadb/config.yaml" "$CLUSTER_SCRIPTS/python/chromadb.txt" <(declare -f make_chromadb) <(echo "$CHROMA_PROGRAM") | sha256sum | cut -c 1-8) ;;
    *) die "no such image: $1 (pause, coredns, chromadb)" ;;
  esac
  say "$IMAGES/$1-$recipe.tar"
}

make_pause() {
  gcc -static -Os -s -Wall -Wextra -Werror -o "$work/pause" "$CLUSTER_SCRIPTS/pause/pause.c"
  "$CLUSTER_SCRIPTS/image.sh" --output "$1" pause 1 "$work/pause=/pause"
}

make_coredns() {
  local program
  "$CLUSTER_SCRIPTS/tools.sh" coredns
  program=$("$CLUSTER_SCRIPTS/tools.sh" --print-path coredns)
  # As root, since port 53 is below 1024; the pod drops every other capability.
  "$CLUSTER_SCRIPTS/image.sh" --output "$1" --config '{"Entrypoint": ["/coredns"]}' coredns "$COREDNS_VERSION" "$program=/coredns"
}

# Like upstream's image of 1.x: `chroma run /config.yaml` as root, data in /data, port 8000; the same server, out of the wheel.
# Of the wheel only the compiled server: its Python part costs every start two seconds of processor time and half the image.
make_chromadb() {
  local root=$work/root
  "$CLUSTER_SCRIPTS/python.sh" chromadb
  # In a mount namespace of its own: it mounts /proc inside the new root, and a kill would leave it there.
  unshare --mount debootstrap --variant=minbase --include=python3,ca-certificates "$DEBIAN_RELEASE" "$root" >"$work/debootstrap.log" 2>&1 || {
    tail -n 20 "$work/debootstrap.log" >&2
    die "debootstrap failed"
  }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/log/*
  find "$root/dev" -mindepth 1 -delete
  mkdir "$root/data" "$root/opt/chromadb"
  cp -a "$("$CLUSTER_SCRIPTS/python.sh" --print-path chromadb)/chromadb_rust_bindings" "$root/opt/chromadb/"
  # Checked by nothing: an image has no times of files, by which Python otherwise tells that a compiled module is stale.
  chroot "$root" /usr/bin/python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.11 /opt/chromadb >&2
  printf '#!/bin/sh\nexec /usr/bin/python3 -c "%s" "$@"\n' "$CHROMA_PROGRAM" >"$root/usr/local/bin/chroma"
  chmod 755 "$root/usr/local/bin/chroma"
  install -m 644 "$CLUSTER_SCRIPTS/chromadb/config.yaml" "$root/config.yaml"
  "$CLUSTER_SCRIPTS/image.sh" --output "$1" --root "$root" --config '{
    "Entrypoint": ["chroma"], "Cmd": ["run", "/config.yaml"], "WorkingDir": "/data", "ExposedPorts": {"8000/tcp": {}},
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH=/opt/chromadb", "ANONYMIZED_TELEMETRY=False"]
  }' chromadb "$CHROMADB_VERSION"
}

if [ "${1:-}" = --print-path ]; then
  path_of "${2:?--print-path wants a name: pause, coredns or chromadb}"
  exit
fi
[ $# -gt 0 ] || set -- pause coredns chromadb
for name in "$@"; do
  archive=$(path_of "$name")
  if [ -s "$archive" ]; then
    say "image $name: cached"
    continue
  fi
  exclusively "image-$name"
  [ ! -s "$archive" ] || continue
  started=$(clock)
  say "image $name: building"
  work=$(scratch "$name")
  trap 'rm -rf --one-file-system "$work"' EXIT
  "make_$name" "$archive" >&2
  rm -rf "$work"
  say "image $name: built in $(since "$started"), $(($(stat --format=%s "$archive") / 1000000)) MB"
done
