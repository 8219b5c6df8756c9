#!/usr/bin/env bash
# Puts generations of a live ChromaDB into the cache and prints where they are, a line a seed. What is there is left alone.
#
#   generations.sh VECTORS SEED...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/cluster/env.sh"
# Raise it with every change of what generate.py makes.
RECIPE=1

vectors=$1
shift
"$CLUSTER_SCRIPTS/python.sh" chromadb >&2
exclusively generations
for seed in "$@"; do
  target=$CACHE/generations/$RECIPE-chroma$CHROMADB_VERSION-$vectors-seed$seed
  if [ ! -d "$target" ]; then
    warn "generations of $vectors vectors, seed $seed: making them, which takes minutes"
    tmp=$(scratch generations)
    # The server's wheels are built for Debian 12's Python.
    /usr/bin/python3 "${BASH_SOURCE[0]%/*}/generate.py" --out "$tmp/made" --vectors "$vectors" --seed "$seed" >&2
    mkdir -p "${target%/*}"
    mv "$tmp/made" "$target"
    rmdir "$tmp"
  fi
  say "$target"
done
