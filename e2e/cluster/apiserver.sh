#!/usr/bin/env bash
# An API server and its etcd, nothing else: what tests of CRDs, of validation and of admission policies need. Both listen on
# 127.0.0.1 only, on ports that were free. There is no controller manager: nothing is collected, and a namespace with
# content stays Terminating.
#
#   apiserver.sh up DIR      starts them (builds them first when the cache is cold), prints KUBECONFIG=DIR/kubeconfig
#   apiserver.sh down DIR    ends them; DIR keeps the logs. Never fails because something is gone already
#   apiserver.sh run DIR     up, then stays until its standard input ends, then down: give it a pipe that your process
#                            holds, and they cannot outlive it however it dies
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$CLUSTER_SCRIPTS/process.sh"
. "$CLUSTER_SCRIPTS/certs.sh"

usage="apiserver.sh up|down|run DIR"
verb=${1:?$usage}
mkdir -p "${2:?$usage}"
DIR=$(cd "$2" && pwd)
RUN=$DIR/run
PKI=$DIR/pki

# Ports below the range from which the kernel gives out ports for outgoing connections.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + SRANDOM % 12000))
    ss --tcp --listening --numeric --no-header "sport = :$port" | grep -q . || {
      say "$port"
      return
    }
  done
  die "no free port between 20000 and 32000"
}

ready() { curl --silent --fail --max-time 2 --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" "https://127.0.0.1:$port/readyz"; }

start() {
  local etcd_port peer_port port
  etcd_port=$(free_port) peer_port=$(free_port) port=$(free_port)
  rm -rf "$DIR/etcd"
  spawn etcd "$etcd" --name=etcd --data-dir="$DIR/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls="http://127.0.0.1:$etcd_port" --advertise-client-urls="http://127.0.0.1:$etcd_port" \
    --listen-peer-urls="http://127.0.0.1:$peer_port" --initial-advertise-peer-urls="http://127.0.0.1:$peer_port" \
    --initial-cluster="etcd=http://127.0.0.1:$peer_port"
  spawn kube-apiserver "$apiserver" --etcd-servers="http://127.0.0.1:$etcd_port" \
    --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port="$port" --endpoint-reconciler-type=none \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$PKI/sa.pub" \
    --service-account-signing-key-file="$PKI/sa.key" --service-cluster-ip-range=198.19.0.0/16 \
    --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount --allow-privileged=true --profiling=false
  kubeconfig admin "https://127.0.0.1:$port" "$DIR/kubeconfig"
  deadline=$(($(clock) + 60000))
  until ready >/dev/null 2>&1; do
    if ! alive etcd || ! alive kube-apiserver; then return 1; fi
    [ "$(clock)" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

up() {
  local started
  "$CLUSTER_SCRIPTS/tools.sh" etcd kube-apiserver | { grep -v cached || true; } >&2
  etcd=$("$CLUSTER_SCRIPTS/tools.sh" --print-path etcd)
  apiserver=$("$CLUSTER_SCRIPTS/tools.sh" --print-path kube-apiserver)
  if alive etcd && alive kube-apiserver; then
    say "KUBECONFIG=$DIR/kubeconfig"
    return
  fi
  started=$(clock)
  down
  authority
  certificate apiserver /CN=kube-apiserver DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1
  certificate admin /O=system:masters/CN=admin
  # A port that was free may be taken by the time it is wanted: then others are tried.
  for attempt in 1 2 3; do
    if start; then
      warn "API server ready in $(since "$started")"
      say "KUBECONFIG=$DIR/kubeconfig"
      return
    fi
    [ "$attempt" = 3 ] || down
  done
  blame etcd
  blame kube-apiserver
  down
  die "the API server did not become ready"
}

down() {
  finish kube-apiserver 2
  finish etcd 2
}

case $verb in
  up) up ;;
  down) down ;;
  run)
    trap down EXIT
    trap 'exit 1' INT TERM HUP
    up
    # Whoever reads the line above may close its end before ours: only the input counts from here on.
    cat >/dev/null
    ;;
  *) die "$usage" ;;
esac
