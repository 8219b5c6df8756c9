//! What of the cluster beyond a namespace is handed to a mover that collects it: nodes, and the volumes of the namespace. The controller sees
//! them anyway, and no account of a mover is given a right on the whole cluster for it. Pure: the objects come in as they were listed.

use serde_json::{Map, Value, json};

/// Bytes of all of it: it travels in a pod's environment.
const MOST: usize = 256 << 10;

/// What is handed over: each object with its kind and without what nobody asks for. What is not among it is said by an object of kind
/// `NotCollected`.
#[must_use]
pub fn handed(
    nodes: Result<&[Value], String>,
    volumes: Result<&[Value], String>,
    namespace: &str,
) -> Vec<Value> {
    let mut handed = Vec::new();
    let mut left = MOST;
    let own = |volume: &&Value| volume["spec"]["claimRef"]["namespace"] == namespace;
    let volumes = volumes.map(|all| all.iter().filter(own).map(volume).collect::<Vec<_>>());
    let nodes = nodes.map(|all| all.iter().map(node).collect::<Vec<_>>());
    for (what, found) in [("volumes", volumes), ("nodes", nodes)] {
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                handed.push(missed(what, &why));
                continue;
            }
        };
        let all = found.len();
        let mut told = 0;
        for object in found {
            let size = object.to_string().len();
            if size > left {
                break;
            }
            left -= size;
            told += 1;
            handed.push(object);
        }
        if told < all {
            handed.push(missed(what, &format!("{told} of {all} are told: more don't fit into a Job")));
        }
    }
    handed
}

fn missed(what: &str, why: &str) -> Value {
    json!({"kind": "NotCollected", "what": what, "why": why})
}

fn pick(from: &Value, keys: &[&str]) -> Value {
    let found = keys.iter().filter_map(|key| Some(((*key).to_owned(), from.get(*key)?.clone())));
    Value::Object(found.collect::<Map<_, _>>())
}

fn node(node: &Value) -> Value {
    json!({
        "kind": "Node",
        "metadata": pick(&node["metadata"], &["name", "labels", "creationTimestamp"]),
        "spec": pick(&node["spec"], &["unschedulable", "taints"]),
        "status": pick(&node["status"], &["addresses", "allocatable", "capacity", "conditions", "nodeInfo"]),
    })
}

fn volume(volume: &Value) -> Value {
    let spec = &volume["spec"];
    let mut told = pick(
        spec,
        &[
            "accessModes",
            "capacity",
            "nodeAffinity",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "volumeMode",
        ],
    );
    told["claim"] = spec["claimRef"]["name"].clone();
    // Where it lies may hold names of Secrets, and never their values.
    told["driver"] = spec["csi"]["driver"].clone();
    json!({
        "kind": "PersistentVolume",
        "metadata": pick(&volume["metadata"], &["name", "creationTimestamp", "deletionTimestamp"]),
        "spec": told, "status": volume["status"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(namespace: &str) -> Value {
        json!({"metadata": {"name": format!("pv-of-{namespace}")}, "status": {"phase": "Bound"},
            "spec": {"claimRef": {"namespace": namespace, "name": "data"}, "csi": {"driver": "d", "volumeAttributes": {"a": "b"}}}})
    }

    #[test]
    fn volumes_of_other_namespaces_are_nobodys_business() {
        let volumes = [of("arxiv"), of("other")];
        let handed = handed(Ok(&[]), Ok(&volumes), "arxiv");
        assert_eq!(handed.len(), 1);
        assert_eq!(handed[0]["metadata"]["name"], "pv-of-arxiv");
        assert_eq!(
            (&handed[0]["spec"]["claim"], &handed[0]["spec"]["driver"]),
            (&json!("data"), &json!("d"))
        );
        assert!(!handed[0].to_string().contains("volumeAttributes"));
    }

    #[test]
    fn what_does_not_fit_or_could_not_be_read_is_said() {
        let node = json!({"metadata": {"name": "n"}, "status": {"images": ["x".repeat(10_000)],
            "conditions": [{"type": "MemoryPressure", "status": "True"}], "capacity": {"memory": "1".repeat(1000)}}});
        let nodes = vec![node; 1000];
        let told = handed(Ok(&nodes), Err("the API server is away".into()), "arxiv");
        assert_eq!(
            told[0],
            json!({"kind": "NotCollected", "what": "volumes", "why": "the API server is away"})
        );
        let last = told.last().unwrap();
        assert!(last["why"].as_str().unwrap().contains("of 1000 are told"), "{last}");
        assert!(told.iter().map(|object| object.to_string().len()).sum::<usize>() < MOST + 1000);
        assert_eq!(told[1]["status"]["conditions"][0]["type"], "MemoryPressure");
    }
}
