//! Real damage to a volume, and a look at its bytes: by a pod beside the database that mounts the claim. The ChromaDB image
//! has a Python, ours have nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::stage::{PATIENCE, Stage};
use crate::wait;

/// Overwrites pages in the middle of the database and records of the largest vector file, in place, as a bad disk or a
/// stray process does; the files keep their sizes.
const OVERWRITE: &str = r#"
import glob, os
def overwrite(path, first, step, count, size=4096):
    with open(path, "r+b") as f:
        pages = os.path.getsize(path) // size
        for n in range(count):
            page = min(pages - 1, first + n * step)
            f.seek(page * size)
            f.write(b"\xde\xad\xbe\xef" * (size // 4))
        f.flush()
        os.fsync(f.fileno())
database = "/volume/chroma.sqlite3"
pages = os.path.getsize(database) // 4096
overwrite(database, pages // 4, max(1, pages // 40), 20)
vectors = max(glob.glob("/volume/*/data_level0.bin"), key=os.path.getsize, default=None)
if vectors:
    overwrite(vectors, 1, 2, 8)
"#;

/// Prints each file's digest.
const DIGESTS: &str = r#"
import hashlib, json, os
digests = {}
for folder, _, files in os.walk("/volume"):
    for name in files:
        path = os.path.join(folder, name)
        with open(path, "rb") as f:
            digests[os.path.relpath(path, "/volume")] = hashlib.sha256(f.read()).hexdigest()
print(json.dumps(digests, sort_keys=True))
"#;

/// Prints the names of a database's collections, from a copy: what is kept is not opened in place.
const COLLECTIONS: &str = r#"
import json, shutil, sqlite3
shutil.copy("/volume/chroma.sqlite3", "/tmp/copy.sqlite3")
names = sqlite3.connect("/tmp/copy.sqlite3").execute("SELECT name FROM collections ORDER BY name")
print(json.dumps([name for name, in names]))
"#;

/// The collections of the ChromaDB in `claim`.
pub async fn collections(stage: &Stage, claim: &str) -> Result<Vec<String>> {
    let printed = beside(stage, "evidence", claim, true, COLLECTIONS).await?;
    serde_json::from_str(&printed).with_context(|| format!("names expected: {printed}"))
}

/// Destroys the data in `claim`; returns the digest of every file as it is afterwards.
pub async fn overwrite_pages(stage: &Stage, claim: &str) -> Result<BTreeMap<String, String>> {
    let printed = beside(stage, "damage", claim, false, &format!("{OVERWRITE}{DIGESTS}")).await?;
    serde_json::from_str(&printed).with_context(|| format!("digests expected: {printed}"))
}

/// The digest of every file in `claim`.
pub async fn digests(stage: &Stage, claim: &str) -> Result<BTreeMap<String, String>> {
    let printed = beside(stage, "look", claim, true, DIGESTS).await?;
    serde_json::from_str(&printed).with_context(|| format!("digests expected: {printed}"))
}

/// Runs a Python program in a pod that mounts the claim at /volume; returns what it printed.
async fn beside(stage: &Stage, name: &str, claim: &str, read_only: bool, program: &str) -> Result<String> {
    let api = stage.api::<Pod>();
    // A pod that is to share a volume with another has to be on its node.
    let affinity = json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "chromadb"}}}}]}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": format!("{name}-")}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "affinity": affinity,
        "automountServiceAccountToken": false,
        "containers": [{"name": name, "image": stage.place.images.chromadb, "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/bin/python3", "-c", program],
            "volumeMounts": [{"name": "volume", "mountPath": "/volume", "readOnly": read_only}]}],
        "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}]}});
    let made = api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let name = made.name_any();
    let phase = wait::object(&api, &name, "the end of a pod", PATIENCE, |pod| {
        let phase = pod.and_then(|p| p.status.as_ref()).and_then(|s| s.phase.clone());
        Ok(phase.filter(|p| p == "Succeeded" || p == "Failed"))
    })
    .await?;
    let printed = stage.kubectl(&["logs", &name]).await?;
    api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    if phase != "Succeeded" {
        bail!("pod {name} failed: {printed}");
    }
    Ok(printed)
}
