//! Objects of a component as they were captured now, held against those of the last known good: by the paths of their fields, never by what stands
//! there, for that may be a secret. Images are named: what they are is what is asked.

use std::collections::{BTreeMap, BTreeSet};

use crds::run::{AuditFinding, AuditKind, AuditSeverity};
use serde_json::Value;

use super::finding;

/// What says nothing of what an object is: how many of it run, and what Holdfast or its tools wrote down.
const PASSING: [&str; 4] = [
    "spec.replicas",
    "spec.suspend",
    "metadata.annotations.holdfast.dev/",
    "metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
];
/// Most paths that a finding names.
const NAMED: usize = 4;
/// What makes pods.
const WORKLOADS: [&str; 3] = ["StatefulSet", "Deployment", "CronJob"];
/// Fields of a pod by which somebody gets something run, or reaches what it may not.
const REACHING: [&str; 12] = [
    "command",
    "args",
    "securityContext",
    "volumes",
    "volumeMounts",
    "volumeDevices",
    "serviceAccountName",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "lifecycle",
    "exec",
];

/// What differs between the objects of `point`, the last known good, and those that were captured now, but for NetworkPolicies.
pub fn differing(point: &str, good: &[Value], now: &[Value]) -> Vec<AuditFinding> {
    let is_one = |object: &&Value| object["kind"] != "NetworkPolicy";
    compare(point, &by_name(good.iter().filter(is_one)), &by_name(now.iter().filter(is_one)))
}

/// The same of NetworkPolicies. Those of `now` that the point has not belong to nobody in particular, and are left to [`unknown_policies`].
pub fn differing_policies(point: &str, good: &[Value], now: &[Value]) -> Vec<AuditFinding> {
    let good = by_name(good.iter().filter(|object| object["kind"] == "NetworkPolicy"));
    let mut now = by_name(now.iter());
    now.retain(|name, _| good.contains_key(name));
    compare(point, &good, &now)
}

/// NetworkPolicies that no point has.
pub fn unknown_policies<'a>(good: impl Iterator<Item = &'a Value>, now: &[Value]) -> Vec<AuditFinding> {
    let good = by_name(good);
    let unknown = by_name(now.iter()).into_keys().filter(|name| !good.contains_key(name));
    let found = |name| {
        finding(
            AuditSeverity::Medium,
            AuditKind::UnknownObject,
            name,
            "no last known good has it; what it allows was allowed until the isolation",
        )
    };
    unknown.map(found).collect()
}

/// `Secret env`.
pub fn name_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn by_name<'a>(objects: impl Iterator<Item = &'a Value>) -> BTreeMap<String, &'a Value> {
    objects.map(|object| (name_of(object), object)).collect()
}

fn compare(
    point: &str,
    good: &BTreeMap<String, &Value>,
    now: &BTreeMap<String, &Value>,
) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    for (name, before) in good {
        match now.get(name) {
            Some(after) => found.extend(changes(point, name, before, after)),
            None => found.push(finding(
                AuditSeverity::Medium,
                AuditKind::ChangedObject,
                name,
                format!("it is missing; point {point} has it"),
            )),
        }
    }
    for name in now.keys().filter(|name| !good.contains_key(*name)) {
        let runs = WORKLOADS.iter().any(|kind| name.split(' ').next() == Some(kind));
        let severity = if runs { AuditSeverity::High } else { AuditSeverity::Medium };
        let message = format!("it belongs to the component, and point {point} has it not");
        found.push(finding(severity, AuditKind::UnknownObject, name, message));
    }
    found
}

/// What differs in one object.
fn changes(point: &str, name: &str, before: &Value, after: &Value) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    let (was, is) = (images(before), images(after));
    for (container, image) in &is {
        if let Some(was) = was.get(container).filter(|was| *was != image) {
            let message = format!("container {container} runs {image}, in point {point} {was}");
            found.push(finding(AuditSeverity::High, AuditKind::Image, name, message));
        }
    }
    let mut paths = BTreeSet::new();
    for field in ["metadata", "spec", "data", "binaryData", "type"] {
        differ(field, &before[field], &after[field], &mut paths);
    }
    paths.retain(|path| {
        !PASSING.iter().any(|passing| path.starts_with(passing)) && !path.ends_with("].image")
    });
    if paths.is_empty() {
        return found;
    }
    // What is in a Secret opens something, and what is put into a pod runs.
    let severity = match after["kind"] == "Secret" || paths.iter().any(|path| reaches(path)) {
        true => AuditSeverity::High,
        false => AuditSeverity::Medium,
    };
    let more = paths.len().saturating_sub(NAMED);
    let shown = paths.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!("{shown}{more} differ from point {point}");
    found.push(finding(severity, AuditKind::ChangedObject, name, message));
    found
}

/// Whether a field of a pod lets somebody run something else, or reach more.
fn reaches(path: &str) -> bool {
    let Some((_, pod)) = path.rsplit_once("template.spec.") else { return false };
    let of_it = pod.split_once('[').map_or((pod, ""), |(field, rest)| (field, rest));
    let whole = matches!(of_it, ("containers" | "initContainers", rest) if rest.is_empty() || rest.find(']') == Some(rest.len() - 1));
    whole || pod.split(['.', '[', ']']).any(|part| REACHING.contains(&part))
}

/// The images that a workload runs, by container.
fn images(object: &Value) -> BTreeMap<String, String> {
    let spec = match object["kind"].as_str() {
        Some("CronJob") => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        _ => &object["spec"]["template"]["spec"],
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |field: &str| {
        spec[field].as_array().into_iter().flatten().map(|c| (text(&c["name"]), text(&c["image"])))
    };
    of("initContainers").chain(of("containers")).collect()
}

/// The paths at which two values differ.
fn differ(path: &str, before: &Value, after: &Value, paths: &mut BTreeSet<String>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(was), Value::Object(is)) => {
            let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differ(&format!("{path}.{key}"), &of(was), &of(is), paths);
            }
        }
        (Value::Array(was), Value::Array(is)) => match (named(was), named(is)) {
            (Some(was), Some(is)) => {
                let names: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
                for name in names {
                    let of = |map: &BTreeMap<&str, &Value>| {
                        map.get(name).map_or(Value::Null, |value| (*value).clone())
                    };
                    differ(&format!("{path}[{name}]"), &of(&was), &of(&is), paths);
                }
            }
            _ => drop(paths.insert(path.to_owned())),
        },
        // Where there was nothing, or is nothing: each of what is named there.
        (Value::Object(_), Value::Null) => {
            differ(path, before, &Value::Object(serde_json::Map::new()), paths)
        }
        (Value::Null, Value::Object(is)) if !is.is_empty() && !path.ends_with(']') => {
            differ(path, &Value::Object(serde_json::Map::new()), after, paths);
        }
        _ => drop(paths.insert(path.to_owned())),
    }
}

/// The items of a list by their names, where each has one of its own.
fn named(list: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let named: Option<BTreeMap<&str, &Value>> =
        list.iter().map(|item| Some((item.get("name")?.as_str()?, item))).collect();
    named.filter(|named| named.len() == list.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const IMAGE: &str = "registry.example/scholar:1";

    fn objects() -> Vec<Value> {
        let container = json!({"name": "app", "image": IMAGE, "env": [{"name": "MODE", "value": "hunter2"}]});
        let template = json!({"metadata": {"labels": {"app": "scholar"}}, "spec": {"containers": [container], "serviceAccountName": "default"}});
        let object =
            |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name, "annotations": {}}});
        let with = |mut object: Value, field: &str, value: Value| {
            object[field] = value;
            object
        };
        vec![
            with(
                object("Deployment", "scholar"),
                "spec",
                json!({"replicas": 2, "template": template.clone()}),
            ),
            with(
                object("CronJob", "fetch"),
                "spec",
                json!({"suspend": false, "jobTemplate": {"spec": {"template": template}}}),
            ),
            with(object("ConfigMap", "config"), "data", json!({"MODE": "hunter2", "URL": "hunter2"})),
            with(object("Secret", "env"), "data", json!({"token": "aHVudGVyMg=="})),
            with(
                object("Service", "scholar"),
                "spec",
                json!({"ports": [{"port": 80}], "selector": {"app": "scholar"}}),
            ),
        ]
    }

    /// What is found when this was done to them.
    fn after(done: impl FnOnce(&mut Vec<Value>)) -> Vec<(AuditSeverity, AuditKind, String, String)> {
        let mut now = objects();
        done(&mut now);
        let found = differing("p2", &objects(), &now);
        assert!(
            !format!("{found:?}").contains("hunter2") && !format!("{found:?}").contains("aHVudGVy"),
            "{found:?}"
        );
        found.into_iter().map(|f| (f.severity, f.kind, f.object, f.message)).collect()
    }

    fn only(done: impl FnOnce(&mut Vec<Value>)) -> (AuditSeverity, AuditKind, String, String) {
        let mut found = after(done);
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    use AuditKind::{ChangedObject, Image, UnknownObject};
    use AuditSeverity::{High, Medium};

    #[test]
    fn what_is_the_same_is_not_found_nor_is_what_only_passes() {
        assert_eq!(after(|_| {}), []);
        let passing = after(|now| {
            now[0]["spec"]["replicas"] = 0.into();
            now[1]["spec"]["suspend"] = true.into();
            now[0]["metadata"]["annotations"]["holdfast.dev/requested-at"] = "x".into();
            now.reverse();
        });
        assert_eq!(passing, []);
    }

    #[test]
    fn every_field_that_differs_is_found_by_its_path_and_never_by_its_value() {
        let told = |severity, kind, object: &str, message: &str| {
            (severity, kind, object.to_owned(), message.to_owned())
        };
        let other = "registry.example/miner:1";
        assert_eq!(
            only(|now| now[0]["spec"]["template"]["spec"]["containers"][0]["image"] = other.into()),
            told(
                High,
                Image,
                "Deployment scholar",
                &format!("container app runs {other}, in point p2 {IMAGE}")
            )
        );
        assert_eq!(
            only(|now| now[2]["data"]["URL"] = "hunter23".into()),
            told(Medium, ChangedObject, "ConfigMap config", "data.URL differ from point p2")
        );
        assert_eq!(
            only(|now| now[3]["data"]["token"] = "eA==".into()),
            told(High, ChangedObject, "Secret env", "data.token differ from point p2")
        );
        assert_eq!(
            only(|now| now[3]["data"] = json!({"token": "aHVudGVyMg==", "more": "aHVudGVyMg=="})),
            told(High, ChangedObject, "Secret env", "data.more differ from point p2")
        );
        assert_eq!(
            only(|now| now[4]["spec"]["ports"][0]["port"] = 81.into()),
            told(Medium, ChangedObject, "Service scholar", "spec.ports differ from point p2")
        );
        let env = only(|now| {
            now[0]["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "hunter23".into()
        });
        let path = "spec.template.spec.containers[app].env[MODE].value differ from point p2";
        assert_eq!(env, told(Medium, ChangedObject, "Deployment scholar", path));
    }

    #[test]
    fn what_runs_something_else_or_reaches_more_is_worse() {
        let pod = |cron: bool, done: &dyn Fn(&mut Value)| {
            only(|now| match cron {
                true => done(&mut now[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
                false => done(&mut now[0]["spec"]["template"]["spec"]),
            })
        };
        let cases: [&dyn Fn(&mut Value); 6] = [
            &|spec| spec["containers"][0]["command"] = json!(["sh", "-c", "curl"]),
            &|spec| spec["containers"][0]["securityContext"] = json!({"privileged": true}),
            &|spec| spec["volumes"] = json!([{"name": "root", "hostPath": {"path": "/"}}]),
            &|spec| spec["serviceAccountName"] = "admin".into(),
            &|spec| spec["initContainers"] = json!([{"name": "init", "image": "x"}]),
            &|spec| {
                let sidecar = json!({"name": "miner", "image": "x"});
                spec["containers"].as_array_mut().unwrap().push(sidecar);
            },
        ];
        for (number, case) in cases.into_iter().enumerate() {
            for cron in [false, true] {
                let (severity, kind, object, message) = pod(cron, case);
                assert_eq!((severity, kind), (High, ChangedObject), "{number} {object}: {message}");
            }
        }
        let (severity, ..) = pod(false, &|spec| spec["terminationGracePeriodSeconds"] = 5.into());
        assert_eq!(severity, Medium);
    }

    #[test]
    fn what_is_missing_and_what_is_more_is_found() {
        let (severity, kind, object, message) = only(|now| drop(now.remove(2)));
        assert_eq!((severity, kind, object.as_str()), (Medium, ChangedObject, "ConfigMap config"));
        assert_eq!(message, "it is missing; point p2 has it");
        for (kind, severity) in [("Deployment", High), ("ConfigMap", Medium), ("Secret", Medium)] {
            let found = only(|now| now.push(json!({"kind": kind, "metadata": {"name": "miner"}})));
            assert_eq!((found.0, found.1, found.2), (severity, UnknownObject, format!("{kind} miner")));
        }
    }

    #[test]
    fn network_policies_are_those_from_before_the_isolation() {
        let policy = |name: &str, spec: Value| json!({"kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec});
        let good = [policy("database", json!({"ingress": []})), policy("gone", json!({}))];
        let isolation = [policy("holdfast-deny", json!({}))];
        assert_eq!(differing("p2", &good, &isolation), []);
        let before =
            [policy("database", json!({"ingress": [{}]})), policy("everything", json!({"egress": [{}]}))];
        let found = differing_policies("p2", &good, &before);
        let told: Vec<_> = found.iter().map(|f| (f.object.as_str(), f.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("NetworkPolicy database", "spec.ingress differ from point p2"),
                ("NetworkPolicy gone", "it is missing; point p2 has it")
            ]
        );
        let unknown = unknown_policies(good.iter(), &before);
        assert_eq!((unknown.len(), unknown[0].object.as_str()), (1, "NetworkPolicy everything"));
    }

    #[test]
    fn many_paths_are_counted() {
        let (.., message) = only(|now| {
            now[2]["data"] = json!({"A": "1", "B": "1", "C": "1"});
        });
        assert_eq!(message, "data.A, data.B, data.C, data.MODE and 1 more differ from point p2");
    }
}
