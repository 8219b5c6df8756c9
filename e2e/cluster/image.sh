#!/usr/bin/env bash
# Packs files into a container image, without a registry and without a daemon, and prints the archive's path. The archive is
# what `docker save` writes and `ctr images import` reads: one layer, deterministic, named by its content in the cache.
#
#   image.sh NAME TAG FILE=/path/in/image...
#       localhost/NAME:TAG out of static programs: the first one is the entrypoint. Beside them it holds the certificates of
#       public authorities, an empty /tmp for everybody, and user 65532; no shell, nothing else.
#   image.sh --root DIR --config JSON NAME TAG
#       out of a whole root directory, with the given image configuration (Entrypoint, Cmd, Env, User, ...).
#   --output FILE   instead of a name in the cache;   --limit MEGABYTES   refuse a larger one
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

root='' config='' output='' limit=''
while [[ ${1:-} == --* ]]; do
  case $1 in
    --root) root=$2 ;;
    --config) config=$2 ;;
    --output) output=$2 ;;
    --limit) limit=$2 ;;
    *) die "unknown option $1" ;;
  esac
  shift 2
done
name=${1:?image.sh NAME TAG FILE=/path...} tag=${2:?image.sh NAME TAG FILE=/path...}
shift 2

work=$(scratch "image-$name")
trap 'rm -rf "$work"' EXIT
if [ -z "$root" ]; then
  [ $# -gt 0 ] || die "an image of what? FILE=/path/in/image"
  root=$work/root
  mkdir -p "$root/etc/ssl/certs"
  mkdir -m 1777 "$root/tmp"
  chmod 755 "$root" "$root/etc" "$root/etc/ssl" "$root/etc/ssl/certs"
  install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  printf 'root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/tmp:/none\n' >"$root/etc/passwd"
  # glibc, linked statically, asks the hosts file first and then DNS.
  printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
  for pair in "$@"; do
    [[ $pair == *=/* ]] || die "$pair: FILE=/path/in/image is wanted"
    install -D -m 755 "${pair%%=*}" "$root${pair#*=}"
  done
  first=${1#*=}
  config=${config:-$(jq --null-input --arg program "$first" '{Entrypoint: [$program], User: "65532:65532", Env: ["PATH=/usr/local/bin:/bin"], WorkingDir: "/"}')}
fi

tar --create --file "$work/layer.tar" --directory "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
if [ -n "$limit" ] && [ "$(stat --format=%s "$work/layer.tar")" -gt $((limit * 1000000)) ]; then
  die "localhost/$name:$tag has $(($(stat --format=%s "$work/layer.tar") / 1000000)) MB, more than the $limit MB it may have"
fi
layer=$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)
jq --null-input --compact-output --argjson config "${config:?--root wants --config}" --arg layer "$layer" --arg architecture "$(dpkg --print-architecture)" '{
  architecture: $architecture, os: "linux", created: "1970-01-01T00:00:00Z", config: $config,
  rootfs: {type: "layers", diff_ids: ["sha256:\($layer)"]},
  history: [{created: "1970-01-01T00:00:00Z", created_by: "image.sh"}]
}' >"$work/config.json"
digest=$(sha256sum "$work/config.json" | cut -d ' ' -f 1)
mv "$work/config.json" "$work/$digest.json"
jq --null-input --compact-output --arg reference "localhost/$name:$tag" --arg digest "$digest" \
  '[{Config: "\($digest).json", RepoTags: [$reference], Layers: ["layer.tar"]}]' >"$work/manifest.json"

output=${output:-$IMAGES/$name-$tag-${digest:0:12}.tar}
if [ ! -s "$output" ]; then
  mkdir -p "$(dirname "$output")"
  # The small parts first: import.sh reads them without reading through the layer.
  tar --create --file "$work/archive" --directory "$work" --mtime=@0 --owner=0 --group=0 --numeric-owner manifest.json "$digest.json" layer.tar
  mv "$work/archive" "$output"
fi
say "$output"
