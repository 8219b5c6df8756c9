"""One step of a volume, kept as what it changed: a file of pages. Applied in place, as the server itself writes, so that a file
that didn't change keeps its inode and its times, and a backup tool that looks at those gets its due.

    steps.py apply STEP DIRECTORY

A step's file is a line of JSON for each changed file, {"path", "size", "pages": [[first, count], ...]}, each followed by the
bytes of those pages of 4 KiB (the last page of a file may be short); {"removed": path} for a file that is gone.
"""

import json
import os
import sys
from pathlib import Path

PAGE = 4096
READ = 1024 * PAGE


def files(directory):
    """The files below a directory, by their relative paths."""
    return {str(p.relative_to(directory)): p for p in sorted(directory.rglob("*")) if p.is_file()}


def record(old, new, step):
    """Writes to `step` what makes the directory `old` equal to `new`. Returns changed pages and bytes by kind of file."""
    before, after = files(old), files(new)
    counts = {"bytes": 0, "databasePages": 0, "databaseBytes": 0, "vectorPages": 0, "vectorBytes": 0, "otherBytes": 0}
    with open(step, "wb") as out:
        for path, file in after.items():
            pages, changed = differing(before.get(path, os.devnull), file)
            size = file.stat().st_size
            counts["bytes"] += size
            kind = {"chroma.sqlite3": "database", "data_level0.bin": "vector"}.get(file.name)
            if kind:
                counts[kind + "Pages"] += sum(count for _, count in pages)
                counts[kind + "Bytes"] += changed
            else:
                counts["otherBytes"] += changed
            if pages or path not in before or size != before[path].stat().st_size:
                out.write(json.dumps({"path": path, "size": size, "pages": pages}).encode() + b"\n")
                with open(file, "rb") as source:
                    for first, count in pages:
                        source.seek(first * PAGE)
                        out.write(source.read(count * PAGE))
        for path in before.keys() - after.keys():
            out.write(json.dumps({"removed": path}).encode() + b"\n")
    return counts


def differing(old, new):
    """Runs of pages of `new` that `old` does not have in the same place, and how many bytes differ in them."""
    import numpy as np

    runs, changed, page = [], 0, 0
    with open(new, "rb") as b, open(old, "rb") as a:
        while block := b.read(READ):
            now = np.frombuffer(block, np.uint8)
            was = np.frombuffer(a.read(READ), np.uint8)[: len(now)]
            differs = np.ones(-(-len(now) // PAGE) * PAGE, bool)
            differs[: len(was)] = now[: len(was)] != was
            differs[len(now) :] = False
            changed += int(differs.sum())
            for i in np.flatnonzero(differs.reshape(-1, PAGE).any(axis=1)):
                if runs and sum(runs[-1]) == page + i:
                    runs[-1][1] += 1
                else:
                    runs.append([page + int(i), 1])
            page += len(differs) // PAGE
    return runs, changed


def apply(step, directory):
    """Makes the directory what it was after the step."""
    with open(step, "rb") as source:
        while line := source.readline():
            change = json.loads(line)
            if "removed" in change:
                (directory / change["removed"]).unlink()
                continue
            path, size = directory / change["path"], change["size"]
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "r+b" if path.exists() else "w+b") as target:
                for first, count in change["pages"]:
                    target.seek(first * PAGE)
                    target.write(source.read(min(count * PAGE, size - first * PAGE)))
                target.truncate(size)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "apply":
        sys.exit(__doc__)
    apply(Path(sys.argv[2]), Path(sys.argv[3]))
