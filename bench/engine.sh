#!/usr/bin/env bash
# make bench-engine: prepares what is missing, measures, writes bench/results. Knobs, all by environment:
#
#   BENCH_VECTORS=20000   size of the database, 12,000 at least
#   BENCH_SEEDS="1 2 3"   one set of generations each; made on first use, minutes each
#   BENCH_CHAIN=50        small increments in the chain, of 50 that were made
#   BENCH_RUNS=3          runs a seed; the median counts
#   BENCH_BIG=0           GiB of a large sparse volume to measure memory with, 0 for none
#   BENCH_RESULTS=bench/results
#   HOLDFAST=PROGRAM      measure this one instead of building this tree
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. e2e/cluster/env.sh

read -ra seeds <<<"${BENCH_SEEDS:-1 2 3}"
holdfast=${HOLDFAST:-}
revision=${HOLDFAST:+given}
if [ -z "$holdfast" ]; then
  "${CARGO:-cargo}" build --quiet --release -p mover
  holdfast=${CARGO_TARGET_DIR:-target}/release/holdfast
  revision=$(git describe --always --dirty 2>/dev/null || true)
fi
"$CLUSTER_SCRIPTS/tools.sh" restic
mapfile -t generations < <(bench/generations.sh "${BENCH_VECTORS:-20000}" "${seeds[@]}")
[ ${#generations[@]} -eq ${#seeds[@]} ] || die "not all generations could be made; see above"

scratch=$(scratch bench)
trap 'rm -rf --one-file-system "$scratch"' EXIT
/usr/bin/python3 bench/engine.py --holdfast "$holdfast" --restic "$("$CLUSTER_SCRIPTS/tools.sh" --print-path restic)" \
  --scratch "$scratch" --results "${BENCH_RESULTS:-bench/results}" --revision "$revision" \
  --runs "${BENCH_RUNS:-3}" --chain "${BENCH_CHAIN:-50}" --big "${BENCH_BIG:-0}" "${generations[@]}"
