#!/usr/bin/env python3
"""Measures Holdfast's engine side by side with restic on generations of a live ChromaDB (make bench-engine).

    engine.py --holdfast PROGRAM --restic PROGRAM --scratch DIR --results DIR [--runs 3] [--chain 50] [--big GIB]
              GENERATIONS...

Each GENERATIONS directory (generate.py) is one seed. All calls of both programs see the same volume in the same state, one after
the other; who goes first alternates from run to run. Every restore is compared with the volume, byte for byte.
"""

import argparse
import filecmp
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chart
import steps
import verdict
from contestants import Holdfast, Restic

PAGE = steps.PAGE
GIB = 1 << 30


class Bench:
    """One pass over the generations of one seed, with fresh repositories."""

    def __init__(self, args, generations, run):
        self.args, self.generations, self.run = args, generations, run
        self.scratch = args.scratch / "pass"
        self.volume = self.scratch / "volume"
        self.samples = []

    def __enter__(self):
        self.scratch.mkdir(parents=True)
        self.contestants = [kind(program, self.scratch / kind.name) for kind, program in self.args.programs]
        self.points = {c.name: {} for c in self.contestants}
        if self.run % 2:
            self.contestants.reverse()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.scratch)

    def note(self, what, contestant, cost):
        self.samples.append({"what": what, "who": contestant.name, "run": self.run, **cost})
        told = f"{cost['cpu']:.2f} s CPU, {cost['wall']:.2f} s, {cost['rss'] / 1e6:.0f} MB, {cost['stored']:,} B stored"
        print(f"  {what} {contestant.name}: {told}", flush=True)

    def open(self):
        for contestant in self.contestants:
            self.note("open", contestant, contestant.open())

    def capture(self, what):
        for contestant in self.contestants:
            cost, point = contestant.capture(self.volume)
            self.points[contestant.name][what] = point
            self.note(what, contestant, cost)

    def step(self, name):
        steps.apply(self.generations / f"{name}.step", self.volume / "chroma")

    def restore(self, what, of, onto=None):
        """Restores the capture `of`, which is the volume as it stands, onto nothing or onto a copy of `onto`."""
        for contestant in self.contestants:
            target = self.scratch / "target"
            if onto:
                copy(onto, target)
            restore = contestant.restore_onto if onto else contestant.restore
            cost = restore(self.points[contestant.name][of], target)
            self.note(what, contestant, cost)
            compare(self.volume, target, f"{what} by {contestant.name}")
            shutil.rmtree(target)

    def verify(self, what):
        for contestant in self.contestants:
            self.note(what, contestant, contestant.verify())

    def two_pages(self):
        """Gives two pages of the database, far apart, other bytes that don't compress. Done twice, it is undone."""
        rng = random.Random(self.run)
        with open(self.volume / "chroma" / "chroma.sqlite3", "r+b") as database:
            pages = os.fstat(database.fileno()).st_size // PAGE
            for page in [pages // 3, 2 * pages // 3]:
                database.seek(page * PAGE)
                other = int.from_bytes(database.read(PAGE)) ^ rng.getrandbits(8 * PAGE)
                database.seek(page * PAGE)
                database.write(other.to_bytes(PAGE))

    def generations_of_a_live_database(self):
        self.open()
        copy(self.generations / "gen0", self.volume)
        self.capture("first")
        self.capture("unchanged")
        self.restore("restore", "first")
        self.verify("verify")
        self.step("gen1")
        self.capture("gen1")
        self.restore("restore onto", "gen1", onto=self.generations / "gen0")
        for name in ["gen2", "gen3", "gen4", "genB1", "genB2", "genB3"]:
            self.step(name)
            self.capture(name)
        self.two_pages()
        self.capture("two pages")
        self.two_pages()

    def chain(self):
        """A capture after each of many small steps, and a restore of the last."""
        names = sorted(p.stem for p in self.generations.glob("c*.step"))[: self.args.chain]
        for name in names:
            self.step(name)
            self.capture(name)
        for _ in range(self.args.runs):
            self.restore("restore of a chain", names[-1])
        self.verify("verify a chain")

    def big(self, gib):
        """A volume that is large, sparse, and yet has other content in each 64 KiB: a database's head, then one page of 16."""
        self.volume.mkdir()
        rng = random.Random(1)
        with open(self.generations / "gen0" / "chroma" / "chroma.sqlite3", "rb") as real:
            head = real.read(PAGE)
        with open(self.volume / "chroma.sqlite3.big", "wb") as big:
            big.write(head)
            for offset in range(16 * PAGE, gib * GIB, 16 * PAGE):
                big.seek(offset)
                big.write(rng.randbytes(PAGE))
            big.truncate(gib * GIB)
        self.capture("big first")
        with open(self.volume / "chroma.sqlite3.big", "r+b") as big:
            for offset in range(16 * PAGE, gib * GIB, 1600 * PAGE):
                big.seek(offset)
                big.write(rng.randbytes(PAGE))
        self.capture("big increment")
        self.restore("big restore", "big increment")
        self.verify("big verify")


def copy(source, target):
    """A copy with the holes and times of the original."""
    subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=always", source, target], check=True)


def compare(expected, restored, what):
    """Ends the benchmark unless both directories hold the same files with the same bytes."""
    left, right = steps.files(expected), steps.files(restored)
    if left.keys() != right.keys():
        sys.exit(f"{what}: other files than in the volume: {sorted(left.keys() ^ right.keys())}")
    for path, file in left.items():
        if not filecmp.cmp(file, right[path], shallow=False):
            sys.exit(f"{what}: {path} differs from the volume's")
    filecmp.clear_cache()


def machine():
    """What the figures were taken on."""
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": os.cpu_count(), "memory": memory, "kernel": platform.release(), "load": os.getloadavg()}


def seed(args, generations):
    """All samples of one seed."""
    samples = []
    made = json.loads((generations / "generations.json").read_text())
    for run in range(args.runs):
        print(f"seed {made['seed']}, run {run + 1} of {args.runs}", flush=True)
        with Bench(args, generations, run) as bench:
            bench.generations_of_a_live_database()
            if run == 0 and args.chain:
                bench.chain()
            samples += bench.samples
    if args.big:
        print(f"seed {made['seed']}, a volume of {args.big} GiB", flush=True)
        with Bench(args, generations, 0) as bench:
            bench.big(args.big)
            samples += bench.samples
    return {"seed": made["seed"], "made": made, "samples": samples}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holdfast", type=Path, required=True)
    parser.add_argument("--restic", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="room for some ten times the volume")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--revision", default="", help="what was measured, such as a commit")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chain", type=int, default=50, help="how many of the small increments")
    parser.add_argument("--big", type=int, default=0, metavar="GIB", help="also a sparse volume of this size, with the first seed")
    parser.add_argument("generations", type=Path, nargs="+")
    args = parser.parse_args()
    args.programs = [(Holdfast, args.holdfast.absolute()), (Restic, args.restic.absolute())]
    args.scratch = args.scratch.absolute()

    with Bench(args, None, 0) as bench:
        versions = {c.name: c.version() for c in bench.contestants}
    result = {"revision": args.revision, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": versions}
    result |= {"machine": machine(), "runs": args.runs, "chain": args.chain, "seeds": []}
    for generations in args.generations:
        result["seeds"].append(seed(args, generations.absolute()))
        args.big = 0
    result["rows"] = verdict.rows(result["seeds"])
    table = verdict.table(result)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "engine.json").write_text(json.dumps(result, indent=1) + "\n")
    (args.results / "engine.md").write_text(table)
    (args.results / "engine.svg").write_text(chart.svg(result))
    print(table)


if __name__ == "__main__":
    main()
