"""What the controller costs beside many objects: from its start until nothing is left to do, idle, and when a slot of every schedule comes at once."""

import argparse
import base64
import http.client
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

API = "/apis/holdfast.dev/v1alpha1"
# What a Lease is renewed by, and long watches that begin anew, are no work.
QUIET = 10.0
# Of the key of every repository.
FINGERPRINT = "7c1f-09aa-52d3"


class Server:
    """An API server, asked over one connection a thread."""

    def __init__(self, kubeconfig):
        text = pathlib.Path(kubeconfig).read_text()
        field = lambda name: re.search(rf"{name}: *(\S+)", text).group(1)
        self.host = field("server").removeprefix("https://")
        folder = pathlib.Path(kubeconfig).parent / "client"
        folder.mkdir(exist_ok=True)
        paths = {}
        for name in ("certificate-authority", "client-certificate", "client-key"):
            inline = re.search(rf"{name}-data: *(\S+)", text)
            if inline:
                paths[name] = folder / name
                paths[name].write_bytes(base64.b64decode(inline.group(1)))
            else:
                paths[name] = pathlib.Path(field(name))
        self.context = ssl.create_default_context(cafile=paths["certificate-authority"])
        self.context.load_cert_chain(paths["client-certificate"], paths["client-key"])
        self.local = threading.local()

    def ask(self, method, path, body=None, kind="application/json"):
        for attempt in range(5):
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = self.local.connection = http.client.HTTPSConnection(self.host, context=self.context, timeout=60)
            try:
                data = None if body is None else json.dumps(body)
                connection.request(method, path, data, {"Content-Type": kind})
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self.local.connection = None
                continue
            if answer.status == 429:
                time.sleep(0.5)
                continue
            if answer.status >= 300:
                raise SystemExit(f"{method} {path}: {answer.status} {text[:500]!r}")
            return text
        raise SystemExit(f"{method} {path}: no answer")

    def create(self, path, body, status=None):
        made = json.loads(self.ask("POST", path, body))
        if status is not None:
            made["status"] = status
            self.ask("PUT", f"{path}/{made['metadata']['name']}/status", made)
        return made

    def requests(self):
        """Requests served so far, by verb; those by which a Lease is kept are left out."""
        counts = {}
        for line in self.ask("GET", "/metrics").decode().splitlines():
            if not line.startswith("apiserver_request_total{") or 'resource="leases"' in line:
                continue
            labels, value = line.rsplit(" ", 1)
            verb = re.search(r'verb="([^"]*)"', labels).group(1)
            resource = re.search(r'resource="([^"]*)"', labels).group(1)
            if resource:
                counts[verb] = counts.get(verb, 0) + float(value)
        return counts


def ago(**since):
    return (datetime.now(timezone.utc) - timedelta(**since)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind, reason):
    return {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": ago(hours=1)}


def populate(server, size, slot):
    """As many objects as were asked for, as a healthy installation has them."""
    for name in ["holdfast-system", *size.names]:
        server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    work = []
    for namespace in size.names:
        where = f"{API}/namespaces/{namespace}"
        core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
        head = lambda kind, name, **more: {
            "apiVersion": "holdfast.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **more}}
        repository = head("RecoveryRepository", "primary") | {"spec": {
            "s3": {"endpoint": "http://127.0.0.1:1", "region": "us-east-1", "bucket": "bench", "prefix": f"{namespace}/",
                   "credentials": {"writer": {"secretRef": {"name": "s3"}}}},
            "encryption": {"keySecretRef": {"name": "key"}, "escrow": {"acknowledged": {"fingerprint": FINGERPRINT}}}, "maintenance": {"schedule": {"cron": "0 0 29 2 *"}}}}
        work.append((f"{where}/recoveryrepositories", repository, None))
        for number in range(size.policies):
            name = f"chroma-{number:03}"
            labels = {"app": name}
            container = {"name": "chroma", "image": "chroma:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                         "ports": [{"containerPort": 8000}]}
            claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
            work.append((f"{apps}/statefulsets", {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": {
                "replicas": 1, "serviceName": name, "selector": {"matchLabels": labels}, "volumeClaimTemplates": [claim],
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}}, None))
            work.append((f"{core}/services", {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                                              "spec": {"selector": labels, "ports": [{"port": 8000}]}}, None))
            work.append((f"{core}/persistentvolumeclaims", {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": f"data-{name}-0"},
                "spec": claim["spec"] | {"volumeName": f"pv-{namespace}-{name}"}}, {"phase": "Bound"}))
            work.append((f"{core}/pods", {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-0", "labels": labels},
                "spec": {"containers": [container], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": f"data-{name}-0"}}]}},
                {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))
            work.append((f"{where}/backuppolicies", head("BackupPolicy", name) | {"spec": {
                "component": {"chromaDB": {}, "workloads": [{"kind": "StatefulSet", "name": name}]},
                "schedule": {"cron": slot.strftime("%M %H %d %m *")}, "objectives": {"rpo": "48000h"},
                "repositoryRef": {"name": "primary"}}}, None))
        for number in range(size.points):
            policy = f"chroma-{number % size.policies:03}"
            point = head("RecoveryPoint", f"{policy}-{number:05}", labels={"holdfast.dev/policy": policy}) | {"spec": {
                "policy": policy, "repositoryRef": {"name": "primary"}, "id": f"{number:032x}"}}
            work.append((f"{where}/recoverypoints", point, {
                "phase": "Available", "consistencyTime": ago(minutes=30 * (number // size.policies + 1)), "storedAt": ago(minutes=30 * (number // size.policies + 1)),
                "sizes": {"bytes": 734003200, "size": "700Mi", "newBytes": 7214080, "newSize": "6.9Mi", "files": 16}, "conditions": [condition("Ready", "Available")],
                "chromaDB": {"image": "chroma:1", "migrations": "2/6/10", "records": 120000, "collectionCount": 3, "releasedAt": ago(minutes=30),
                             "writerPause": "210ms", "collections": [
                    {"tenant": "default_tenant", "database": "default_database", "name": f"papers-{n}", "count": 40000, "dimension": 384,
                     "digest": "sha256:" + "a" * 64} for n in range(3)]}}))
        for number in range(size.drills):
            work.append((f"{where}/drdrills", head("DrDrill", f"drill-{number}") | {"spec": {
                "test": "DatabaseRecovery", "schedule": {"cron": "0 0 29 2 *"}, "policies": [{"name": "chroma-000"}]}}, None))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda item: server.create(*item), work))
    return len(work)


class Movers(threading.Thread):
    """What a kubelet and the Job controller would do with the probes of repositories: each of them ends well."""

    def __init__(self, server, points):
        super().__init__(daemon=True)
        self.server, self.points, self.over, self.asked = server, points, threading.Event(), 0

    def run(self):
        answered = set()
        while not self.over.wait(0.5):
            self.asked += 1
            for job in json.loads(self.server.ask("GET", "/apis/batch/v1/jobs?labelSelector=holdfast.dev/repository"))["items"]:
                if job["metadata"]["uid"] not in answered:
                    answered.add(job["metadata"]["uid"])
                    self.end(job)

    def end(self, job):
        meta, now = job["metadata"], ago(seconds=0)
        said = {"kind": "probed", "id": meta["namespace"], "formatVersion": 1, "keyFingerprint": FINGERPRINT, "keySlots": 1,
                "conditionalWrites": True, "points": self.points, "bytes": 734003200}
        ended = {"exitCode": 0, "reason": "Completed", "message": json.dumps(said), "startedAt": now, "finishedAt": now}
        labels = {"batch.kubernetes.io/controller-uid": meta["uid"], "job-name": meta["name"], **meta["labels"]}
        container = {"name": "mover", "image": "holdfast:bench"}
        self.server.create(f"/api/v1/namespaces/{meta['namespace']}/pods", {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": meta["name"], "labels": labels}, "spec": {"containers": [container]}},
            {"phase": "Succeeded", "containerStatuses": [container | {
                "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": ended}}]})
        job["status"] = {"startTime": now, "completionTime": now, "succeeded": 1, "uncountedTerminatedPods": {}, "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now} for kind in ("SuccessCriteriaMet", "Complete")]}
        self.server.ask("PUT", f"/apis/batch/v1/namespaces/{meta['namespace']}/jobs/{meta['name']}/status", job)


def process(pid):
    """CPU seconds so far, and the memory that is resident now and at its most, in bytes."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    size = lambda name: int(re.search(rf"{name}:\s+(\d+)", status).group(1)) * 1024
    return cpu, size("VmRSS"), size("VmHWM")


def total(counts):
    return sum(counts.values())


def difference(after, before):
    return {verb: after[verb] - before.get(verb, 0) for verb in sorted(after) if after[verb] > before.get(verb, 0)}


def settle(server, pid, limit):
    """Waits until nothing is asked for a while. Returns when the last request came."""
    began = last = time.monotonic()
    known = total(server.requests())
    while time.monotonic() - began < limit:
        time.sleep(0.5)
        now = total(server.requests())
        # One of them is ours.
        if now - known > 1:
            last = time.monotonic()
        known = now
        if time.monotonic() - last > QUIET:
            return last
    raise SystemExit(f"it does not become quiet within {limit} s")


def quantile(text, name, share):
    """The bound below which that share of a histogram's observations lie, over all kinds, in seconds."""
    buckets = {}
    for bound, value in re.findall(rf'{name}_bucket{{[^}}]*le="([^"]+)"[^}}]*}} (\S+)', text):
        buckets[float(bound.replace("+Inf", "inf"))] = buckets.get(float(bound.replace("+Inf", "inf")), 0) + float(value)
    most = max(buckets.values(), default=0)
    return next((bound for bound in sorted(buckets) if buckets[bound] >= share * most), float("nan"))


def scrape(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.monotonic()
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return text, time.monotonic() - began


def measure(options, server, slot):
    port = 23119
    log = open(os.environ.get("BENCH_LOG", pathlib.Path(options.scratch) / "controller.log"), "wb")
    began = time.monotonic()
    program = subprocess.Popen(
        [options.controller, "--mover-image", "holdfast:bench", "--namespace", "holdfast-system", "--pod-name", "bench",
         "--listen", f"127.0.0.1:{port}"], stdout=log, stderr=log, env=os.environ)
    movers = Movers(server, options.points)
    try:
        before = server.requests()
        movers.start()
        time.sleep(15)
        # Their questions would be taken for the controller's.
        movers.over.set()
        movers.join()
        end = settle(server, program.pid, 900)
        cpu, resident, most = process(program.pid)
        started = {"seconds": end - began, "cpu": cpu, "requests": difference(server.requests(), before), "resident": resident, "most": most}
        text, _ = scrape(port)
        started["p99"] = quantile(text, "holdfast_reconciliation_duration_seconds", 0.99)

        before, at = server.requests(), time.monotonic()
        cpu = process(program.pid)[0]
        time.sleep(options.idle)
        counts = difference(server.requests(), before)
        counts["GET"] = counts.get("GET", 0) - 1
        after, resident, _ = process(program.pid)
        idle = {"seconds": time.monotonic() - at, "cpu": after - cpu, "requests": counts, "resident": resident,
                "rate": total(counts) / options.idle}
        _, idle["scrape"] = scrape(port)

        wait = (slot - datetime.now(timezone.utc)).total_seconds()
        if wait < 5:
            raise SystemExit(f"the slot came {-wait:.0f} s before all was quiet: give BENCH_SLOT more minutes")
        time.sleep(wait)
        before, cpu = server.requests(), process(program.pid)[0]
        at = time.monotonic()
        time.sleep(3)
        end = settle(server, program.pid, 900)
        after, resident, most = process(program.pid)
        herd = {"seconds": end - at, "cpu": after - cpu, "requests": difference(server.requests(), before), "resident": resident, "most": most}
        jobs = json.loads(server.ask("GET", "/apis/batch/v1/jobs?limit=1"))
        herd["jobs"] = len(jobs["items"]) + jobs["metadata"].get("remainingItemCount", 0)
        text, _ = scrape(port)
        herd["p99"] = quantile(text, "holdfast_reconciliation_duration_seconds", 0.99)
        return {"start": started, "idle": idle, "slot": herd}
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(30)


def mib(size):
    return f"{size / 2**20:.0f} MiB"


def report(result):
    start, idle, herd = (result["measured"][part] for part in ("start", "idle", "slot"))
    size = result["objects"]
    say = lambda counts: ", ".join(f"{verb} {count:.0f}" for verb, count in counts.items() if count > 0) or "none"
    return f"""# The controller beside many objects

Made by `make bench-scale` at {result["revision"]}: a real API server and etcd with {size["policies"]:,} policies, {size["points"]:,} points, {size["drills"]} drills and
{size["repositories"]} repositories in {size["namespaces"]} namespaces, each policy with its StatefulSet, claim, Service and pod. Everything shares {result["cores"]} cores with the API server.
The benchmark answers the probes of the repositories as a kubelet and the Job controller would; its own requests, among them those, are in the first column. No other
Job ever runs there, so what a controller does with the ends of captures is not in it.

| | from the start until quiet | idle | a slot of every policy at once |
|---|---|---|---|
| seconds | {start["seconds"]:.0f} | {idle["seconds"]:.0f} | {herd["seconds"]:.0f} |
| CPU seconds | {start["cpu"]:.1f} | {idle["cpu"]:.2f} | {herd["cpu"]:.1f} |
| memory | {mib(start["resident"])}, {mib(start["most"])} at most | {mib(idle["resident"])} | {mib(herd["resident"])}, {mib(herd["most"])} at most |
| requests | {say(start["requests"])} | {say(idle["requests"])} ({idle["rate"]:.2f} a second) | {say(herd["requests"])} |
| reconcile p99, at most | {start["p99"]} s | | {herd["p99"]} s |
| Jobs made | | | {herd["jobs"]:,} |

A scrape of `/metrics` takes {idle["scrape"] * 1000:.0f} ms. Renewals of the Lease are left out.
"""


class Size:
    def __init__(self, options):
        self.names = [f"team-{number:02}" for number in range(options.namespaces)]
        self.policies, self.points, self.drills = options.policies, options.points, options.drills


def main():
    parser = argparse.ArgumentParser()
    for name in ("controller", "scratch", "results", "revision"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("namespaces", "policies", "points", "drills", "idle"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    server, size = Server(os.environ["KUBECONFIG"]), Size(options)
    minutes = int(os.environ.get("BENCH_SLOT", "10"))
    slot = datetime.now(timezone.utc).replace(second=0, microsecond=0) + timedelta(minutes=minutes)
    began = time.monotonic()
    made = populate(server, size, slot)
    print(f"{made:,} objects in {time.monotonic() - began:.0f} s", flush=True)
    measured = measure(options, server, slot)
    count = lambda each: each * options.namespaces
    result = {
        "revision": options.revision, "cores": os.cpu_count(), "measured": measured,
        "objects": {"namespaces": options.namespaces, "policies": count(options.policies), "points": count(options.points),
                    "drills": count(options.drills), "repositories": options.namespaces},
    }
    folder = pathlib.Path(options.results)
    (folder / "scale.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "scale.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
