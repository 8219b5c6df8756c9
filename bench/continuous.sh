#!/usr/bin/env bash
# make bench-continuous: prepares what is missing, measures, writes bench/results. Knobs, all by environment:
#
#   BENCH_VECTORS="20000 63000"   sizes of the databases
#   BENCH_EVERY=30                seconds from one capture to the next
#   BENCH_TURNS=9                 captures a database
#   BENCH_RESULTS=bench/results
#   HOLDFAST=PROGRAM              measure this one instead of building this tree
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. e2e/cluster/env.sh

read -ra sizes <<<"${BENCH_VECTORS:-20000 63000}"
holdfast=${HOLDFAST:-}
if [ -z "$holdfast" ]; then
  "${CARGO:-cargo}" build --quiet --release -p mover
  holdfast=${CARGO_TARGET_DIR:-target}/release/holdfast
fi
volumes=()
for size in "${sizes[@]}"; do
  generation=$(bench/generations.sh "$size" 1) || die "generations of $size vectors could not be made; see above"
  volumes+=("$generation/gen0/chroma")
done
scratch=$(scratch bench)
trap 'rm -rf --one-file-system "$scratch"' EXIT
/usr/bin/python3 bench/continuous.py --holdfast "$holdfast" --scratch "$scratch" --results "${BENCH_RESULTS:-bench/results}" \
  --revision "$(git describe --always --dirty 2>/dev/null || true)" --turns "${BENCH_TURNS:-9}" --every "${BENCH_EVERY:-30}" "${volumes[@]}"
