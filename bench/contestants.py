"""The two programs that are measured, each with its own way of saying the same things, and the measuring itself.

Both keep their repository in a local directory, compress and encrypt as they do by default, and derive a key from the same
password at each call: that is part of what is measured, and measured alone as `open`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

PASSWORD = "the same for both"


def measured(command, environment):
    """Runs a program to its end. Returns what it cost (CPU seconds of it and of the children it waited for, wall seconds,
    peak resident bytes of the largest process) and its standard output."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # What earlier work left to be written must not be paid by this.
        os.sync()
        begun = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            err.seek(0)
            told = err.read().decode(errors="replace")[-2000:]
            sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{told}")
        out.seek(0)
        cost = {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "rss": usage.ru_maxrss * 1024}
        return cost, out.read().decode()


def size_of(directory):
    """Bytes of all files below a directory."""
    return sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())


class Contestant:
    """A program with a repository of its own below `place`."""

    def __init__(self, program, place):
        self.program, self.repository = program, place / "repository"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("RESTIC_", "HOLDFAST_", "AWS_"))}
        # The measured programs get no more than a plain environment; scratch space stays below `place`.
        self.environment["TMPDIR"] = str(place)
        self.place = place
        place.mkdir(parents=True)

    def run(self, *arguments):
        """One measured call; the stored bytes it added come along."""
        before = size_of(self.repository) if self.repository.exists() else 0
        cost, out = measured([self.program, *map(str, arguments)], self.environment)
        cost["stored"] = size_of(self.repository) - before
        return cost, out


class Holdfast(Contestant):
    name = "holdfast"

    def __init__(self, program, place):
        super().__init__(program, place)
        self.environment["HOLDFAST_PASSWORD"] = PASSWORD
        self.at = ["--repo", f"file://{self.repository}"]
        self.run("repo", "init", *self.at)

    def version(self):
        return self.run("--version")[1].strip()

    def open(self):
        return self.run("points", *self.at)[0]

    def capture(self, volume):
        cost, out = self.run("backup", *self.at, "--source", volume, "--component", "bench", "--output", "json")
        point = json.loads(out.splitlines()[-1])["point"]
        # The commit record holds what is said about a point, for all that follows a constant.
        cost["record"] = (self.repository / "points" / point).stat().st_size
        return cost, point

    def restore(self, point, target):
        return self.run("restore", *self.at, "--point", point, "--target", target)[0]

    def restore_onto(self, point, target):
        return self.run("restore", *self.at, "--point", point, "--target", target, "--onto-existing")[0]

    def verify(self):
        return self.run("verify", *self.at, "--level", "full")[0]


class Restic(Contestant):
    name = "restic"

    def __init__(self, program, place):
        super().__init__(program, place)
        self.environment |= {
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_CACHE_DIR": str(place / "cache"),
        }
        self.run("init")

    def version(self):
        return self.run("version")[1].strip()

    def open(self):
        return self.run("snapshots")[0]

    def capture(self, volume):
        self.volume = volume
        cost, out = self.run("backup", "--json", "--quiet", volume)
        return cost, json.loads(out.splitlines()[-1])["snapshot_id"]

    def restore(self, point, target):
        return self.run("restore", "--quiet", f"{point}:{self.volume}", "--target", target)[0]

    def restore_onto(self, point, target):
        # Without trust in times, as Holdfast: what is there is read and only what differs is written.
        return self.run("restore", "--quiet", "--overwrite", "always", "--delete", f"{point}:{self.volume}", "--target", target)[0]

    def verify(self):
        return self.run("check", "--quiet", "--read-data")[0]
