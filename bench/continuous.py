#!/usr/bin/env python3
"""Measures captures in a row, as one pod takes them, beside a ChromaDB under steady writes.

    continuous.py --holdfast PROGRAM --scratch DIR --results DIR --turns 9 --every 30 VOLUME...

For each volume (a ChromaDB directory) a real server runs over a copy of it, and a writer adds, updates and deletes records at a steady rate,
noting how long each request took. Every so often `holdfast job` takes its turn, in the scratch space that the one before it left. Said of each: CPU of
the mover and its lock's process, its peak memory, how long the lock was held, and the longest that the writer waited meanwhile.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from contestants import measured, size_of
from generate import Server  # first: it finds the packages
from content import Content  # noqa: I001

KEY = "a key for the benchmark, long enough"
CLAIM = "data"
# Requests a second, of ten records each.
RATE = 4
RECORDS = 10


class Writer(threading.Thread):
    """Adds, updates and deletes until it is stopped. `waits` holds (begun, seconds) of each request, by the wall clock."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.collection = client.get_or_create_collection("papers")
        self.content = Content(99)
        self.waits, self.stopped = [], threading.Event()

    def run(self):
        key = 10_000_000
        while not self.stopped.wait(1 / RATE):
            records = [self.content.record(key + n) for n in range(RECORDS)]
            ids, vectors, texts, metadatas = (list(column) for column in zip(*records))
            begun = time.time()
            match (key // RECORDS) % 3:
                case 0:
                    self.collection.add(ids=ids, embeddings=vectors, documents=texts, metadatas=metadatas)
                case 1:
                    self.collection.upsert(ids=ids, embeddings=vectors, documents=texts, metadatas=metadatas)
                case _:
                    self.collection.delete(ids=[f"doc-{key - RECORDS + n:08d}" for n in range(RECORDS)])
            self.waits.append((begun, time.time() - begun))
            key += RECORDS

    def longest(self, since, until):
        """The longest request that overlaps a time."""
        return max((took for begun, took in self.waits if begun < until and begun + took > since), default=0.0)


class Pod:
    """A mover's mounts below one directory, and its repository."""

    def __init__(self, program, root, volume):
        self.program, self.root = program, root
        run = root / "var/run/holdfast"
        for place in ["key", "target", "scratch", "source"]:
            (run / place).mkdir(parents=True)
        (run / "key/password").write_text(KEY)
        (run / "source" / CLAIM).symlink_to(volume)
        place = {"region": "us-east-1", "bucket": "b", "prefix": "", "addressing": "Path"}
        self.access = {"place": {"s3": place}}
        self.job({"kind": "probe", "repository": self.access})

    def job(self, request):
        log = self.root / "termination-log"
        environment = {"HOLDFAST_ROOT": str(self.root), "HOLDFAST_REQUEST": json.dumps(request), "TMPDIR": str(self.root)}
        command = [self.program, "job", "--termination-log", str(log), "--repository", f"file://{self.root}/repository"]
        cost, _ = measured(command, environment)
        return cost, json.loads(log.read_text())

    def turn(self, number, full):
        now = datetime.now(timezone.utc)
        stamp = lambda time: time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        source = {
            "policy": "bench", "namespace": "bench", "claims": [CLAIM], "maxWriterPause": "PT30S", "policySpec": {},
            "content": {"chromaDb": {"dataPath": "", "image": ""}},
        }
        turn = {"at": stamp(now), "until": stamp(now + timedelta(hours=1)), "fullCheck": full}
        request = {"kind": "capture", "repository": self.access, "attempt": f"turn-{number}", "source": source, "turn": turn}
        cost, report = self.job(request)
        if report["outcome"] != "captured" or report["findings"]:
            sys.exit(f"turn {number}: {report}")
        return cost, report


def seconds(iso):
    """A duration such as PT0.053S."""
    return float(iso.removeprefix("PT").removesuffix("S")) if "M" not in iso else float("inf")


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")[:26] + "+00:00" if "." in text else text.replace("Z", "+00:00")).timestamp()


def course(program, volume, scratch, turns, every):
    """The turns over one volume, each as a dictionary."""
    live, taken = scratch / "live", []
    shutil.copytree(volume, live)
    with Server(live) as client:
        writer = Writer(client)
        writer.start()
        pod = Pod(program, scratch / "pod", live)
        due = time.monotonic()
        for number in range(turns):
            time.sleep(max(0.0, due - time.monotonic()))
            due += every
            begun = time.time()
            full = number == turns - 1
            cost, report = pod.turn(number, full)
            cut = instant(report["consistencyTime"])
            held = seconds(report["longestHold"])
            taken.append({
                "cpu": cost["cpu"], "rss": cost["rss"], "wall": cost["wall"], "held": held, "full": full,
                "waited": writer.longest(cut, cut + held), "usually": writer.longest(begun - 5, begun),
                "bytes": report["bytes"], "stored": report["newBytes"],
            })
            print(f"  turn {number}: {taken[-1]}", file=sys.stderr, flush=True)
        writer.stopped.set()
        writer.join()
    return taken


def told(volumes, every, revision):
    lines = [
        "# Captures in a row", "",
        f"`make bench-continuous` at {revision}: a turn every {every} s, the writer sending {RATE} requests of {RECORDS} records a second. Median of the turns",
        "between the first, whose mirror is cold, and the last, which checks all there is to check. CPU is of one core over the time between two turns.", "",
        "| volume | turn, CPU | first | with full check | peak memory | lock held, worst | a writer waited, worst | otherwise | stored a turn |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for taken in volumes:
        warm = sorted(taken[1:-1], key=lambda turn: turn["cpu"])
        middle = warm[len(warm) // 2]
        cpu = lambda turn: f"{turn['cpu']:.1f} s, {100 * turn['cpu'] / every:.0f} %"
        worst = lambda key: f"{1000 * max(turn[key] for turn in taken):.0f} ms"
        lines.append(
            f"| {middle['bytes'] / 1e6:.0f} MB | {cpu(middle)} | {cpu(taken[0])} | {cpu(taken[-1])} | {max(t['rss'] for t in taken) / 1e6:.0f} MB "
            f"| {worst('held')} | {worst('waited')} | {worst('usually')} | {middle['stored'] / 1e6:.2f} MB |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--holdfast", required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--revision", default="")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--every", type=int, default=30)
    parser.add_argument("volumes", type=Path, nargs="+")
    given = parser.parse_args()
    results = []
    for volume in given.volumes:
        print(f"{volume}: {size_of(volume) / 1e6:.0f} MB", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            results.append(course(given.holdfast, volume, Path(scratch), given.turns, given.every))
    given.results.mkdir(parents=True, exist_ok=True)
    text = told(results, given.every, given.revision)
    (given.results / "continuous.md").write_text(text)
    (given.results / "continuous.json").write_text(json.dumps(results, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
