# shellcheck shell=bash
# etcd, kube-apiserver, kube-controller-manager, kube-scheduler: processes of this machine, in the cluster's namespace.

control_plane_certificates() {
  authority
  certificate apiserver /CN=kube-apiserver \
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$API_SERVICE_IP,IP:$CONTROL_PLANE_IP"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate admin /O=system:masters/CN=admin
  certificate controller-manager /O=system:masters/CN=kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  local name
  for name in controller-manager scheduler; do kubeconfig "$name" "https://$CONTROL_PLANE_IP:6443" "$STATE/$name.kubeconfig"; done
  # Last, and renamed into place: who finds it finds a whole one.
  kubeconfig admin "https://$CONTROL_PLANE_IP:6443" "$KUBECONFIG_FILE"
}

etcd_up() {
  # A test's data need not survive a power cut.
  spawn etcd nsenter --net="$NETNS" -- "$(tool etcd)" --name=etcd --data-dir="$STATE/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
    --initial-cluster=etcd=http://127.0.0.1:2380
}

apiserver_up() {
  # InternalIP first: nothing resolves the nodes' names, and logs, exec and port-forward would fail on them.
  spawn kube-apiserver nsenter --net="$NETNS" -- "$(tool kube-apiserver)" --etcd-servers=http://127.0.0.1:2379 \
    --secure-port=6443 --advertise-address="$CONTROL_PLANE_IP" --service-cluster-ip-range="$SERVICE_RANGE" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-client-certificate="$PKI/kubelet-client.crt" \
    --kubelet-client-key="$PKI/kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$PKI/sa.pub" \
    --service-account-signing-key-file="$PKI/sa.key" --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false
}

apiserver_ready() { kubectl get --raw=/readyz; }

# Leader election is off: with it both end when the API server restarts, and nothing here restarts them. The controllers share
# one identity: to fetch a token for each of the forty takes four seconds.
controllers_up() {
  spawn kube-controller-manager nsenter --net="$NETNS" -- "$(tool kube-controller-manager)" \
    --kubeconfig="$STATE/controller-manager.kubeconfig" --controllers='*,-nodeipam,-cloud-node-lifecycle' \
    --allocate-node-cidrs=false --kube-api-qps=200 --kube-api-burst=400 --root-ca-file="$PKI/ca.crt" \
    --service-account-private-key-file="$PKI/sa.key" --leader-elect=false --profiling=false
  spawn kube-scheduler nsenter --net="$NETNS" -- "$(tool kube-scheduler)" \
    --kubeconfig="$STATE/scheduler.kubeconfig" --leader-elect=false --profiling=false
}
