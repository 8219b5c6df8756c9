#!/usr/bin/env bash
# The cluster's programs, built from their Go modules at the versions that tools/*/go.mod pin, into the cache. What is
# there already is left alone. Cold, the whole list takes some ten minutes on two cores; every line says how far it is.
#
#   tools.sh [name...]            default: all that the cluster needs. By name only: versitygw, which tests of the store
#                                 want, promtool, which tests of the metrics and alerts want and which comes from a Debian
#                                 package, and restic, which the benchmark measures against
#   tools.sh --print-path NAME    where NAME is, built or not
#   tools.sh --list
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# In the order in which they are wanted: the API server's tests need only the first two. restic is the benchmark's, and built
# only where it is asked for by name.
NAMES=(etcd kube-apiserver kubectl kubelet kube-controller-manager kube-scheduler kube-proxy csi-btrfs coredns
  csi-provisioner csi-snapshotter snapshot-controller snapshot-crds helm)

# text_of DIRECTORY: the version of what has none but its text: a program of our own, or one at libraries that we chose.
text_of() {
  (
    cd "$CLUSTER_SCRIPTS/$1"
    shopt -s nullglob
    cat go.mod go.sum ./*.go | sha256sum | cut -c 1-12
  )
}

# describe NAME: sets module, package, version and ldflags; files, if it is none to build but such files of the package;
# debian, if it is that file of a Debian package.
describe() {
  local minor
  ldflags='-s -w' files='' debian=''
  case $1 in
    etcd)
      module=tools/etcd package=go.etcd.io/etcd/server/v3 version=$ETCD_VERSION
      ;;
    kube-apiserver | kube-controller-manager | kube-scheduler | kube-proxy | kubelet | kubectl)
      module=tools/kubernetes package=k8s.io/kubernetes/cmd/$1 version=$KUBERNETES_VERSION
      minor=${version#v1.}
      # Without these it calls itself v0.0.0-master+$Format:%H$, which no reader of versions accepts.
      for variables in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        ldflags+=" -X $variables.gitVersion=$version -X $variables.gitMajor=1 -X $variables.gitMinor=${minor%%.*}"
        ldflags+=" -X $variables.gitTreeState=clean -X $variables.gitCommit=$version -X $variables.buildDate=$KUBERNETES_DATE"
      done
      ;;
    coredns)
      # A program of our own around theirs.
      module=tools/coredns package=. version=$COREDNS_VERSION-$(text_of tools/coredns)
      ;;
    # These share one go.mod, so that what they have in common, which is most, is compiled once.
    csi-provisioner)
      module=tools/csi-sidecars version=$CSI_PROVISIONER_VERSION-$(text_of tools/csi-sidecars)
      package=github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner
      ldflags+=" -X main.version=$CSI_PROVISIONER_VERSION"
      ;;
    csi-snapshotter | snapshot-controller)
      module=tools/csi-sidecars version=$CSI_SNAPSHOTTER_VERSION-$(text_of tools/csi-sidecars)
      package=github.com/kubernetes-csi/external-snapshotter/v8/cmd/$1
      ldflags+=" -X main.version=$CSI_SNAPSHOTTER_VERSION"
      ;;
    snapshot-crds)
      module=tools/csi-sidecars version=$CSI_SNAPSHOTTER_VERSION-$(text_of tools/csi-sidecars)
      package=github.com/kubernetes-csi/external-snapshotter/client/v8 files='config/crd/*snapshot*.yaml'
      ;;
    helm)
      module=tools/helm package=helm.sh/helm/v4/cmd/helm version=$HELM_VERSION
      ldflags+=" -X helm.sh/helm/v4/internal/version.version=$version -X helm.sh/helm/v4/internal/version.gitTreeState=clean"
      ;;
    versitygw)
      # The tests' second S3 server: no part of the cluster, hence not in the default list. Built by whoever asks for it.
      module=tools/versitygw package=github.com/versity/versitygw/cmd/versitygw version=$VERSITYGW_VERSION
      ldflags+=" -X main.Version=$version"
      ;;
    promtool)
      # Built by Debian: its module takes twenty minutes to compile.
      module=. package=prometheus version=$DEBIAN_RELEASE debian=usr/bin/promtool
      ;;
    restic)
      module=tools/restic package=github.com/restic/restic/cmd/restic version=$RESTIC_VERSION
      ;;
    csi-btrfs)
      module=csi package=. version=$(text_of csi)
      ;;
    *) die "no such tool: $1 (${NAMES[*]} versitygw promtool restic)" ;;
  esac
}

# produce TARGET: what describe has described.
produce() {
  local package_dir
  cd "$CLUSTER_SCRIPTS/$module"
  if [ -n "$debian" ]; then
    package_dir=$(mktemp -d)
    cd "$package_dir"
    # A list of packages that is old names versions which the archive no longer has.
    apt-get download "$package" || { apt-get update && apt-get download "$package"; }
    dpkg-deb --fsys-tarfile ./*.deb | tar --extract --to-stdout "./$debian" >"$1"
    chmod 755 "$1"
    cd / && rm -rf "$package_dir"
    return
  fi
  if [ -z "$files" ]; then
    CGO_ENABLED=0 nice go build -mod=readonly -trimpath -p 2 -ldflags "$ldflags" -o "$1" "$package"
    return
  fi
  go mod download "$package"
  package_dir=$(go list -mod=readonly -m -f '{{.Dir}}' "$package")
  mkdir "$1"
  # shellcheck disable=SC2086 # a pattern
  install -m 644 -t "$1" "$package_dir"/$files
}

# build NAME POSITION: one tool into the cache.
build() {
  local name=$1 position=$2 module package version ldflags files debian variables target log tmp compiler started
  describe "$name"
  target=$BIN/$name-$version
  if [ -x "$target" ]; then
    say "[$position] $name $version: cached"
    return
  fi
  mkdir -p "$BIN" "$CACHE/logs"
  tmp=$(scratch "$name")
  log=$CACHE/logs/build-$name.log
  started=$(clock)
  say "[$position] $name $version: building"
  (produce "$tmp/$name") >"$log" 2>&1 &
  compiler=$!
  until timeout 30 tail --pid="$compiler" -f /dev/null; do
    say "[$position] $name $version: still building, $(since "$started")"
  done
  if ! wait "$compiler"; then
    tail -n 20 "$log" >&2
    rm -rf "$tmp"
    die "$name does not build; the compiler's whole output: $log"
  fi
  mv "$tmp/$name" "$target"
  rmdir "$tmp"
  say "[$position] $name $version: built in $(since "$started")"
}

case ${1:-} in
  --list)
    printf '%s\n' "${NAMES[@]}"
    exit
    ;;
  --print-path)
    describe "${2:?--print-path wants a name}"
    say "$BIN/$2-$version"
    exit
    ;;
esac

[ $# -gt 0 ] || set -- "${NAMES[@]}"
for name in "$@"; do describe "$name"; done
missing=false go=false
for name in "$@"; do
  describe "$name"
  [ -x "$BIN/$name-$version" ] && continue
  missing=true
  [ -n "$debian" ] || go=true
done
# Only a build takes the lock, so that a warm call never waits for somebody else's cold one.
if $missing; then
  ! $go || command -v go >/dev/null || die "Go is needed to build the cluster's tools (1.26 or newer)"
  exclusively tools
fi
position=0
for name in "$@"; do
  position=$((position + 1))
  build "$name" "$position/$#"
done
