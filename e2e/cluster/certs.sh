# shellcheck shell=bash
# Certificates and kubeconfigs of one cluster, made once into $PKI. Keys are P-256: a cluster's whole set takes half a second.

# authority: the cluster's own CA, and the key that signs service-account tokens.
authority() {
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  [ -s "$PKI/ca.crt" ] || {
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/ca.key"
    openssl req -x509 -new -key "$PKI/ca.key" -subj /CN=holdfast-ca -days 3650 -out "$PKI/ca.crt.new" 2>/dev/null
    mv "$PKI/ca.crt.new" "$PKI/ca.crt"
  }
  [ -s "$PKI/sa.pub" ] || {
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/sa.key"
    openssl ec -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub.new" 2>/dev/null
    mv "$PKI/sa.pub.new" "$PKI/sa.pub"
  }
}

# certificate NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]: $PKI/NAME.key and .crt, good for servers and clients.
certificate() {
  local name=$1 subject=$2 names=${3:-}
  [ ! -s "$PKI/$name.crt" ] || return 0
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$name.key"
  openssl req -new -key "$PKI/$name.key" -subj "$subject" |
    openssl x509 -req -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -set_serial "0x$(openssl rand -hex 16)" -days 3650 \
      -extfile <(
        echo 'keyUsage=critical,digitalSignature,keyEncipherment'
        echo 'extendedKeyUsage=serverAuth,clientAuth'
        [ -z "$names" ] || echo "subjectAltName=$names"
      ) -out "$PKI/$name.crt.new" 2>/dev/null
  mv "$PKI/$name.crt.new" "$PKI/$name.crt"
}

# kubeconfig NAME SERVER FILE: a kubeconfig that carries the certificate NAME inside it.
kubeconfig() {
  local name=$1 server=$2 file=$3
  (
    umask 077
    cat >"$file.new" <<YAML
apiVersion: v1
kind: Config
clusters:
  - name: holdfast
    cluster:
      server: $server
      certificate-authority-data: $(base64 -w 0 "$PKI/ca.crt")
users:
  - name: $name
    user:
      client-certificate-data: $(base64 -w 0 "$PKI/$name.crt")
      client-key-data: $(base64 -w 0 "$PKI/$name.key")
contexts:
  - name: holdfast
    context: {cluster: holdfast, user: $name}
current-context: holdfast
YAML
  )
  mv "$file.new" "$file"
}
