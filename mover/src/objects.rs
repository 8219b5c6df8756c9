//! The objects of a component as files of its point: `objects/<Kind>.<name>.json`, each as it is to be applied again. What the
//! controller sent comes with the Request; ConfigMaps and Secrets are mounted as pods mount them, so that the controller never
//! sees what they hold and the mover needs no right on them. A mount shows no labels: those of a ConfigMap come with the Request, as an object that
//! holds nothing else; those of a Secret nobody sees.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crds::job::FailureReason;
use serde_json::{Map, Value, json};

use crate::capture::unwritable;
use crate::failure::{Failure, Result};

/// Where objects lie in a point.
pub const OBJECTS: &str = "objects";

/// Writes the objects below `to`, where those stay that an earlier capture of the same pod was sent. Returns how many there are, and the
/// names of those that were to be mounted and are empty or do not exist.
pub fn write(to: &Path, namespace: &str, sent: &[Value], mounted: &Path) -> Result<(u64, Vec<String>)> {
    fs::create_dir_all(to).map_err(|e| unwritable(to, &e))?;
    let mut missing = Vec::new();
    let (marked, whole): (Vec<&Value>, Vec<&Value>) =
        sent.iter().partition(|object| object["kind"] == "ConfigMap");
    for object in whole {
        write_one(to, object)?;
    }
    for kind in ["ConfigMap", "Secret"] {
        for (name, dir) in listed(&mounted.join(kind))? {
            let data = data_of(&dir)?;
            if data.is_empty() {
                forget(to, kind, &name)?;
                missing.push(format!("{kind} {name}"));
                continue;
            }
            let mut object = json!({
                "apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
            });
            let of = |object: &&&Value| kind == "ConfigMap" && object["metadata"]["name"] == name.as_str();
            if let Some(marked) = marked.iter().find(of) {
                for field in ["labels", "annotations"] {
                    if let Some(value) = marked["metadata"].get(field) {
                        object["metadata"][field] = value.clone();
                    }
                }
            }
            match kind {
                "Secret" => {
                    object["type"] = secret_type(&data).into();
                    object["data"] = encoded(data.iter());
                }
                _ => {
                    let (text, binary): (Vec<_>, Vec<_>) =
                        data.iter().partition(|(_, value)| std::str::from_utf8(value).is_ok());
                    let text = text.into_iter().map(|(key, value)| (key.clone(), utf8(value)));
                    object["data"] = Value::Object(text.collect());
                    if !binary.is_empty() {
                        object["binaryData"] = encoded(binary.into_iter());
                    }
                }
            }
            write_one(to, &object)?;
        }
    }
    Ok((listed(to)?.len() as u64, missing))
}

fn forget(to: &Path, kind: &str, name: &str) -> Result<()> {
    let path = to.join(format!("{kind}.{name}.json"));
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(unwritable(&path, &e)),
        _ => Ok(()),
    }
}

fn write_one(to: &Path, object: &Value) -> Result<()> {
    let name = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let (kind, own) = (name(&object["kind"]), name(&object["metadata"]["name"]));
    // Names of objects hold no slash, and what came otherwise must not lead elsewhere.
    if kind.is_empty() || own.is_empty() || own.contains('/') || kind.contains('/') {
        let why = format!("an object of kind `{kind}` and name `{own}` can't be captured");
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    let path = to.join(format!("{kind}.{own}.json"));
    let mut text = serde_json::to_string_pretty(object).expect("a value is JSON");
    text.push('\n');
    fs::write(&path, text).map_err(|e| unwritable(&path, &e))
}

/// What lies in a directory, by name.
fn listed(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(unreadable(dir, &e)),
    };
    let named = entries.map(|entry| {
        let entry = entry.map_err(|e| unreadable(dir, &e))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    named.collect()
}

/// Keys and values as the kubelet mounts them: a link a key, beside directories of its own whose names begin with two dots.
fn data_of(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut data = BTreeMap::new();
    for (key, path) in listed(dir)? {
        if !key.starts_with("..") {
            data.insert(key, fs::read(&path).map_err(|e| unreadable(&path, &e))?);
        }
    }
    Ok(data)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureReason::MoverFailed, format!("can't read {}: {error}", path.display()))
}

fn utf8(value: &[u8]) -> Value {
    String::from_utf8_lossy(value).into_owned().into()
}

fn encoded<'a>(data: impl Iterator<Item = (&'a String, &'a Vec<u8>)>) -> Value {
    let values: Map<String, Value> =
        data.map(|(key, value)| (key.clone(), BASE64_STANDARD.encode(value).into())).collect();
    Value::Object(values)
}

/// A Secret's type can't be seen from where it is mounted; those that Kubernetes checks are told by the keys that it demands.
fn secret_type(data: &BTreeMap<String, Vec<u8>>) -> &'static str {
    let has = |key: &str| data.contains_key(key);
    if has(".dockerconfigjson") {
        "kubernetes.io/dockerconfigjson"
    } else if has("tls.crt") && has("tls.key") {
        "kubernetes.io/tls"
    } else if has("ssh-privatekey") {
        "kubernetes.io/ssh-auth"
    } else {
        "Opaque"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, file: &str) -> Value {
        serde_json::from_slice(&fs::read(dir.join(file)).unwrap()).unwrap()
    }

    #[test]
    fn what_is_mounted_becomes_an_object_that_can_be_applied_and_what_is_empty_is_named() {
        let (mounted, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (path, value) in [
            ("ConfigMap/config/OFFLINE_MODE", b"false".as_slice()),
            ("ConfigMap/config/logo", &[0xff, 0xd8]),
            ("ConfigMap/config/..2026/OFFLINE_MODE", b"false"),
            ("Secret/env/.env", b"TOKEN=1\n"),
            ("Secret/web/tls.crt", b"c"),
            ("Secret/web/tls.key", b"k"),
        ] {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        fs::create_dir_all(mounted.path().join("Secret/gone")).unwrap();
        let marked = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"team": "search"}}});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"}});
        let sent = [service, marked("config"), marked("not-mounted")];
        let (written, missing) = write(to.path(), "arxiv", &sent, mounted.path()).unwrap();
        assert_eq!((written, missing), (4, vec!["Secret gone".to_owned()]));
        let config = read(to.path(), "ConfigMap.config.json");
        assert_eq!(config["data"], json!({"OFFLINE_MODE": "false"}));
        assert_eq!(config["binaryData"], json!({"logo": "/9g="}));
        assert_eq!(
            config["metadata"],
            json!({"name": "config", "namespace": "arxiv", "labels": {"team": "search"}})
        );
        let env = read(to.path(), "Secret.env.json");
        assert_eq!((&env["type"], &env["data"]), (&json!("Opaque"), &json!({".env": "VE9LRU49MQo="})));
        assert_eq!(env["metadata"], json!({"name": "env", "namespace": "arxiv"}));
        assert_eq!(read(to.path(), "Secret.web.json")["type"], "kubernetes.io/tls");
        assert_eq!(read(to.path(), "Service.app.json"), sent[0]);
    }

    #[test]
    fn an_object_whose_name_leads_elsewhere_is_refused() {
        let to = tempfile::tempdir().unwrap();
        for name in ["", "../x", "a/b"] {
            let object = json!({"kind": "Service", "metadata": {"name": name}});
            assert!(write(to.path(), "n", &[object], Path::new("/nowhere")).is_err(), "{name}");
        }
    }
}
