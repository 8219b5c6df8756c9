#!/usr/bin/env bash
# make bench-scale: fills a real API server with objects, starts the controller beside it, measures, writes bench/results. Knobs, all by environment:
#
#   BENCH_NAMESPACES=50 BENCH_POLICIES=20 BENCH_POINTS=400 BENCH_DRILLS=4   so many of each in a namespace
#   BENCH_IDLE=60                 seconds that count as idle
#   BENCH_RESULTS=bench/results
#   CONTROLLER=PROGRAM            measure this one instead of building this tree
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. e2e/cluster/env.sh

controller=${CONTROLLER:-}
if [ -z "$controller" ]; then
  "${CARGO:-cargo}" build --quiet --release -p controller
  controller=${CARGO_TARGET_DIR:-target}/release/holdfast-controller
fi
scratch=$(scratch bench)
trap 'e2e/cluster/apiserver.sh down "$scratch" || true; rm -rf --one-file-system "$scratch"' EXIT
e2e/cluster/apiserver.sh up "$scratch" >/dev/null
kubectl=$(e2e/cluster/tools.sh --print-path kubectl)
export KUBECONFIG=$scratch/kubeconfig
"$kubectl" apply --server-side -f crds/yaml >/dev/null
"$kubectl" wait --for=condition=Established crd --all --timeout=60s >/dev/null
/usr/bin/python3 bench/scale.py --controller "$controller" --scratch "$scratch" --results "${BENCH_RESULTS:-bench/results}" \
  --revision "$(git describe --always --dirty 2>/dev/null || true)" --namespaces "${BENCH_NAMESPACES:-50}" --policies "${BENCH_POLICIES:-20}" \
  --points "${BENCH_POINTS:-400}" --drills "${BENCH_DRILLS:-4}" --idle "${BENCH_IDLE:-60}"
