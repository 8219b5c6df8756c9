# shellcheck shell=bash disable=SC2034
# Every pinned version of the local cluster. The Go modules pin the rest in tools/*/go.sum, the Python parts in python/*.txt.

KUBERNETES_VERSION=v1.34.4
KUBERNETES_DATE=2026-02-10T12:53:36Z # the module's own time stamp, so that a rebuild says the same
ETCD_VERSION=v3.6.4
COREDNS_VERSION=v1.12.4
CSI_PROVISIONER_VERSION=v6.3.0
CSI_SNAPSHOTTER_VERSION=v8.7.0
HELM_VERSION=v4.3.1
VERSITYGW_VERSION=v1.8.0
RESTIC_VERSION=v0.18.1 # what make bench-engine measures against
CHROMADB_VERSION=1.5.9
CHROMADB_OLDER="0.4.24 0.5.23 0.6.3 1.0.20 1.4.1" # one of each schema, file layout and API
SEAWEEDFS_VERSION=4.48
CRYPTOGRAPHY_VERSION=46.0.7
DEBIAN_RELEASE=bookworm
