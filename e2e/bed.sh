# shellcheck shell=bash
# What run.sh and demo.sh have in common: everything that a run of the e2e program needs is made, and taken away again.
# A cluster that was up before stays up. With HOLDFAST_E2E_CLUSTER=existing and KUBECONFIG set, none is started.

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$E2E/.." && pwd)
# shellcheck source=cluster/env.sh
. "$E2E/cluster/env.sh"

bed_started=false
bed_child=''

# step TEXT: a line of progress.
step() { printf '%5s s  %s\n' $((SECONDS)) "$*"; }

bed_down() {
  local code=$?
  trap '' INT TERM
  if [ -n "$bed_child" ] && kill -INT "$bed_child" 2>/dev/null; then wait "$bed_child" || true; fi
  if $bed_started; then "$E2E/cluster/down.sh" || code=1; fi
  exit "$code"
}

existing() { [ "${HOLDFAST_E2E_CLUSTER:-}" = existing ]; }

# bed_up: packages, tools, images, cluster, the product, the e2e program.
bed_up() {
  trap bed_down EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  local archives
  if existing; then
    [ -n "${KUBECONFIG:-}" ] || die "HOLDFAST_E2E_CLUSTER=existing wants KUBECONFIG as well"
    step "kubectl and helm"
    "$E2E/cluster/tools.sh" kubectl helm
    "$E2E/cluster/python.sh" chromadb
  else
    step "Debian packages, tools, images (the first time this takes long)"
    "$E2E/cluster/deps.sh"
    "$E2E/cluster/tools.sh" | { grep --invert-match --line-buffered ': cached$' || true; }
    "$E2E/cluster/python.sh" >/dev/null
    "$E2E/cluster/images.sh" | { grep --invert-match --line-buffered ': cached$' || true; }
  fi
  step "the product's programs and images"
  archives=$("$E2E/cluster/holdfast-images.sh")
  step "the e2e program"
  cargo build --quiet --manifest-path "$ROOT/Cargo.toml" --package e2e
  if ! existing; then
    step "the cluster"
    # Set before, so that a half-started one is taken down as well.
    [ -e "$STATE/kubeconfig" ] || bed_started=true
    "$E2E/cluster/up.sh"
    # shellcheck disable=SC2086 # two paths without blanks
    "$E2E/cluster/import.sh" $archives
  fi
}

# bed_run ARGUMENTS...: the e2e program, where it can reach the pods.
bed_run() {
  local program=${CARGO_TARGET_DIR:-$ROOT/target}/debug/e2e enter=()
  HOLDFAST_CLI=${HOLDFAST_CLI:-$CACHE/target-static/$(rustc --version --verbose | sed -n 's/^host: //p')/release/holdfast}
  export HOLDFAST_CLI
  existing || enter=("$E2E/cluster/nsenter.sh")
  step "e2e $*"
  # In the background, so that a signal is answered at once; the program then cleans up and ends.
  ${enter[@]+"${enter[@]}"} "$program" "$@" &
  bed_child=$!
  local code=0
  wait "$bed_child" || code=$?
  bed_child=''
  return "$code"
}
