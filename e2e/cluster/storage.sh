# shellcheck shell=bash
# Where the cluster keeps data: a btrfs pool in a file, the CSI driver that carves volumes out of it, the provisioner and the
# snapshotter that ask it to, and SeaweedFS as the S3 server.

pool_up() {
  if mountpoint --quiet "$POOL"; then return; fi
  mkdir -p "$POOL"
  if [ ! -s "$STATE/pool.img" ]; then
    # Sparse: it takes the space of what is written to it.
    truncate --size="${HOLDFAST_POOL_SIZE:-16G}" "$STATE/pool.img.new"
    mkfs.btrfs --quiet "$STATE/pool.img.new" >/dev/null
    mv "$STATE/pool.img.new" "$STATE/pool.img"
  fi
  # Mounted so, the loop device goes when the mount goes.
  mount -o loop "$STATE/pool.img" "$POOL"
}

# csi_up NODE: the driver, registered with the node's kubelet.
csi_up() {
  local node=$1 dir
  dir=$(node_dir "$node")
  mkdir -p "$dir/kubelet/plugins_registry"
  spawn "csi-$node" nsenter --net="$(node_netns "$node")" -- "$(tool csi-btrfs)" --pool="$POOL" --node="$node" --socket="$dir/csi.sock" \
    --registration-socket="$dir/kubelet/plugins_registry/btrfs-reg.sock"
}

# The snapshots' API. Early: the API server makes who writes the first object of a kind that is younger than two seconds wait for two.
snapshot_api_up() { kubectl apply --server-side --filename="$(tool snapshot-crds)" >/dev/null; }
snapshot_api_served() { kubectl get volumesnapshotclasses; }

# Once the snapshots' API is served, for which it looks as it starts and never again. A claim that is bound at once need not wait for
# a node to register the driver: no node is proposed for it.
provisioner_up() {
  spawn csi-provisioner nsenter --net="$NETNS" -- "$(tool csi-provisioner)" --csi-address="$(node_dir node1)/csi.sock" \
    --kubeconfig="$KUBECONFIG_FILE" --extra-create-metadata --leader-election=false --immediate-topology=false
}

# The two write the same objects and get into each other's way. By default each then waits for a second before it tries again.
snapshots_up() {
  local options=(--kubeconfig="$KUBECONFIG_FILE" --leader-election=false --retry-interval-start=50ms --kube-api-qps=100 --kube-api-burst=200)
  spawn snapshot-controller nsenter --net="$NETNS" -- "$(tool snapshot-controller)" "${options[@]}"
  spawn csi-snapshotter nsenter --net="$NETNS" -- "$(tool csi-snapshotter)" "${options[@]}" \
    --csi-address="$(node_dir node1)/csi.sock" --extra-create-metadata
}

# A claim of the default class binds: API server, controllers, provisioner and driver all work.
claim_binds() {
  kubectl apply --filename="$CLUSTER_SCRIPTS/manifests/probe-claim.yaml" &&
    [ "$(kubectl get pvc holdfast-probe --namespace=kube-system --output='jsonpath={.status.phase}')" = Bound ]
}

# A snapshot of that claim can be used.
snapshot_ready() {
  kubectl apply --server-side --filename="$CLUSTER_SCRIPTS/manifests/snapshots.yaml" --filename="$CLUSTER_SCRIPTS/manifests/probe-snapshot.yaml" &&
    [ "$(kubectl get volumesnapshot holdfast-probe --namespace=kube-system --output='jsonpath={.status.readyToUse}')" = true ]
}

# Three identities: one that makes buckets, one that writes, one that only reads.
s3_up() {
  local weed
  mkdir -p "$STATE/s3/data"
  if [ ! -s "$S3_FILE" ]; then
    local identity lines=()
    for identity in ADMIN WRITER READER; do
      lines+=("S3_${identity}_ACCESS_KEY=$(openssl rand -hex 10)" "S3_${identity}_SECRET_KEY=$(openssl rand -hex 20)")
    done
    (
      umask 077
      printf '%s\n' "S3_ENDPOINT=http://$CONTROL_PLANE_IP:$S3_PORT" "S3_BUCKET=$S3_BUCKET" S3_REGION=us-east-1 "${lines[@]}" >"$S3_FILE.new"
    )
    mv "$S3_FILE.new" "$S3_FILE"
  fi
  # shellcheck source=/dev/null
  . "$S3_FILE"
  (
    umask 077
    jq --null-input '{identities: [
      {name: "admin", actions: ["Admin", "Read", "Write", "List", "Tagging"], credentials: [{accessKey: $ARGS.positional[0], secretKey: $ARGS.positional[1]}]},
      {name: "writer", actions: ["Read", "Write", "List", "Tagging"], credentials: [{accessKey: $ARGS.positional[2], secretKey: $ARGS.positional[3]}]},
      {name: "reader", actions: ["Read", "List"], credentials: [{accessKey: $ARGS.positional[4], secretKey: $ARGS.positional[5]}]}
    ]}' --args "$S3_ADMIN_ACCESS_KEY" "$S3_ADMIN_SECRET_KEY" "$S3_WRITER_ACCESS_KEY" "$S3_WRITER_SECRET_KEY" \
      "$S3_READER_ACCESS_KEY" "$S3_READER_SECRET_KEY" >"$STATE/s3/s3.json"
  )
  # Its parts talk over sockets in /tmp that are named by port only, so that two servers on one machine would meet in them:
  # each gets a /tmp of its own, and its directory as /mnt, since that may lie in the /tmp that is covered. A bucket takes
  # seven volumes of the server's; small and many leave room for a few dozen.
  weed=$("$CLUSTER_SCRIPTS/python.sh" --print-path weed)
  ln --force "$weed" "$STATE/s3/weed" 2>/dev/null || cp "$weed" "$STATE/s3/weed"
  # shellcheck disable=SC2016
  spawn seaweedfs nsenter --net="$NETNS" -- unshare --mount \
    sh -c 'mount --bind "$1" /mnt && shift && mount -t tmpfs -o size=64M tmpfs /tmp && exec "$@"' seaweedfs "$STATE/s3" \
    /mnt/weed -logdir=/mnt server -dir=/mnt/data -ip="$CONTROL_PLANE_IP" -ip.bind="$CONTROL_PLANE_IP" \
    -master.volumeSizeLimitMB=64 -volume.max=300 -filer -s3 -s3.port="$S3_PORT" -s3.config=/mnt/s3.json
}

# s3 IDENTITY METHOD PATH [curl's options]: one signed request.
s3() {
  local access=S3_$1_ACCESS_KEY secret=S3_$1_SECRET_KEY method=$2 path=$3
  shift 3
  within curl --silent --show-error --max-time 10 --aws-sigv4 "aws:amz:$S3_REGION:s3" --user "${!access}:${!secret}" \
    --request "$method" "$@" "$S3_ENDPOINT/$path"
}

bucket_ready() {
  local code
  code=$(s3 ADMIN PUT "$S3_BUCKET" --output /dev/null --write-out '%{http_code}')
  [ "$code" = 200 ] || [ "$code" = 409 ] || return 1
  # A written byte, not only a name: the volume server has to be there too. This curl signs a body by its given digest only.
  s3 WRITER PUT "$S3_BUCKET/.ready" --fail --data-binary ready \
    --header "x-amz-content-sha256: $(printf ready | sha256sum | cut -d ' ' -f 1)" &&
    s3 WRITER DELETE "$S3_BUCKET/.ready" --fail
}
