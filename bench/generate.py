#!/usr/bin/env python3
"""Makes generations of a real ChromaDB: what a backup tool meets on the same volume day after day.

    generate.py --out DIR [--vectors 20000] [--seed 1]

A real server runs over a directory; after each step it is stopped. DIR/gen0/chroma is the directory after the first step, each
DIR/<step>.step what the next one changed (steps.py applies it):

    gen0    N vectors in three collections (8 : 3 : 1)
    gen1    1 % added
    gen2    1 % updated: new vector, two of six metadata values; the text stays
    gen3    1 % deleted, and what had piled up flushed into the vector files of the largest collection
    gen4    restarted and queried: nothing changed but what a server's start writes
    genB1   N/60 added to the largest collection, genB2 as many updated, genB3 as many deleted; each is flushed
    c01...  the chain: 0.1 % added, 0.1 % updated, 0.1 % deleted in each

The server flushes a collection's vectors after N/60 operations, which is Chroma's default of 1,000 at 60,000 vectors: so the
steps mean the same at any N. Ids, texts and vectors depend on the seed alone; Chroma adds ids and times of its own, so two runs
resemble each other without being equal byte for byte. DIR/generations.json says what was made and what each step changed.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

CLUSTER = Path(__file__).resolve().parent.parent / "e2e" / "cluster"


def part(name):
    """Where e2e/cluster/python.sh keeps a part of Chroma."""
    return subprocess.run([CLUSTER / "python.sh", "--print-path", name], check=True, text=True, capture_output=True).stdout.strip()


sys.path.insert(0, part("chromadb"))
os.environ["ANONYMIZED_TELEMETRY"] = "False"
import chromadb  # noqa: E402
import numpy as np  # noqa: E402

import steps  # noqa: E402
from content import Content  # noqa: E402

BATCH = 500
CHAIN = 50
SHARES = {"papers": 8, "notes": 3, "chats": 1}


class Server:
    """A server over one directory, alive within a `with`."""

    def __init__(self, data):
        self.data = data

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [part("chroma"), "run", "--path", str(self.data), "--host", "127.0.0.1", "--port", str(port)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + 600
        while True:
            if self.process.poll() is not None:
                sys.exit(f"the Chroma server over {self.data} ended at its start with {self.process.returncode}")
            try:
                self.client = chromadb.HttpClient(host="127.0.0.1", port=port)
                return self.client
            except Exception as error:
                if time.monotonic() > give_up:
                    self.process.kill()
                    sys.exit(f"the Chroma server over {self.data} does not answer: {error}")
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        if self.process.wait(timeout=120) != 0:
            sys.exit(f"the Chroma server over {self.data} ended with {self.process.returncode}")


class Generator:
    """One live database and what was done to it so far."""

    def __init__(self, out, vectors, seed):
        self.out, self.vectors, self.content = out, vectors, Content(seed)
        self.live, self.level = out / "live", out / "level"
        self.rng = np.random.default_rng([seed, 3])
        self.keys = {name: [] for name in SHARES}
        self.next_key = 0
        self.steps = {}

    def share(self, total):
        """`total` records over the collections."""
        return {name: total * share // sum(SHARES.values()) for name, share in SHARES.items()}

    def run(self):
        one_percent = self.share(self.vectors // 100)
        flushing = {"papers": self.vectors // 60}
        little = self.share(self.vectors // 1000)
        self.first(lambda client: self.add(client, self.share(self.vectors)))
        self.step("gen1", lambda client: self.add(client, one_percent))
        self.step("gen2", lambda client: self.update(client, one_percent, 1))
        self.step("gen3", lambda client: self.delete(client, one_percent))
        self.step("gen4", self.query)
        self.step("genB1", lambda client: self.add(client, flushing))
        self.step("genB2", lambda client: self.update(client, flushing, 2))
        self.step("genB3", lambda client: self.delete(client, flushing))
        for number in range(CHAIN):
            self.step(f"c{number + 1:02}", lambda client: self.mixed(client, little, 3 + number))
        shutil.rmtree(self.live)
        shutil.rmtree(self.level)

    def first(self, work):
        self.live.mkdir(parents=True)
        self.serve("gen0", work)
        for copy in [self.out / "gen0" / "chroma", self.level]:
            copy.parent.mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", "--reflink=auto", self.live, copy], check=True)

    def step(self, name, work):
        self.serve(name, work)
        file = self.out / f"{name}.step"
        self.steps[name] = steps.record(self.level, self.live, file)
        print(f"{name}: {self.steps[name]}", flush=True)
        steps.apply(file, self.level)

    def serve(self, name, work):
        begun = time.monotonic()
        with Server(self.live) as client:
            work(client)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)

    def collection(self, client, name):
        threshold = max(self.vectors // 60, 2)
        hnsw = {"space": "cosine", "sync_threshold": threshold, "batch_size": min(100, threshold)}
        return client.get_or_create_collection(name, embedding_function=None, configuration={"hnsw": hnsw})

    def send(self, client, name, keys, version, method):
        """Records to a collection, in batches, in the order of the keys."""
        collection = self.collection(client, name)
        for start in range(0, len(keys), BATCH):
            records = [self.content.record(key, version) for key in keys[start : start + BATCH]]
            ids, vectors, texts, metadatas = zip(*records)
            texts = {"documents": list(texts)} if method == "add" else {}
            getattr(collection, method)(ids=list(ids), embeddings=np.array(vectors), metadatas=list(metadatas), **texts)

    def add(self, client, counts):
        for name, count in counts.items():
            keys = list(range(self.next_key, self.next_key + count))
            self.next_key += count
            self.send(client, name, keys, 0, "add")
            self.keys[name] += keys

    def update(self, client, counts, version):
        for name, count in counts.items():
            self.send(client, name, self.some(name, count), version, "update")

    def delete(self, client, counts):
        for name, count in counts.items():
            keys = self.some(name, count)
            self.collection(client, name).delete(ids=[f"doc-{key:08d}" for key in keys])
            self.keys[name] = sorted(set(self.keys[name]) - set(keys))
            # A flush waits for somebody to read.
            self.collection(client, name).count()

    def mixed(self, client, counts, version):
        self.add(client, counts)
        self.update(client, counts, version)
        self.delete(client, counts)

    def query(self, client):
        for name in SHARES:
            collection = self.collection(client, name)
            _, vector, _, _ = self.content.record(self.keys[name][0])
            found = collection.query(query_embeddings=[vector], n_results=5)["ids"][0]
            if len(found) != 5 or collection.count() != len(self.keys[name]):
                sys.exit(f"collection {name} of {self.live} does not hold what was put into it")

    def some(self, name, count):
        """Keys of existing records, anywhere in the collection."""
        return sorted(int(key) for key in self.rng.choice(self.keys[name], count, replace=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="an empty directory, or one not there yet")
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.vectors < 12_000:
        sys.exit(f"--vectors {args.vectors}: below 12,000 the steps of the chain do nothing to the smallest collection")
    out = args.out.absolute()
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out} is not empty; name another directory")
    generator = Generator(out, args.vectors, args.seed)
    generator.run()
    said = {"vectors": args.vectors, "seed": args.seed, "chromadb": chromadb.__version__}
    said["steps"] = generator.steps
    (out / "generations.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
