//! What of a component may be created in a sandbox, and how: nothing there is reached from outside, runs by itself, talks to the API server or touches its
//! node. The names stay, so that those in it find each other.

use serde_json::{Value, json};

/// An object as a sandbox has it.
#[derive(Debug, PartialEq)]
pub(super) enum Tamed {
    Fit(Value),
    /// A rehearsal does without it.
    LeftOut,
    /// It can't be made harmless; a sentence.
    Unfit(String),
}

/// Fields of a Service by which it is reached from outside, or names something there.
const OUTSIDE: [&str; 10] = [
    "externalIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "allocateLoadBalancerNodePorts",
    "trafficDistribution",
];

pub(super) fn tame(object: &Value) -> Tamed {
    match object["kind"].as_str().unwrap_or_default() {
        "ConfigMap" | "Secret" | "PersistentVolumeClaim" => Tamed::Fit(object.clone()),
        "Service" => service(object),
        "Deployment" | "StatefulSet" => workload(object),
        // What runs by itself, lets somebody in, or would capture what is rehearsed.
        _ => Tamed::LeftOut,
    }
}

/// Inside only, under its own name.
fn service(object: &Value) -> Tamed {
    let mut service = object.clone();
    if service["spec"]["type"] == "ExternalName" {
        return Tamed::LeftOut;
    }
    let Some(spec) = service["spec"].as_object_mut() else { return Tamed::LeftOut };
    spec.insert("type".to_owned(), "ClusterIP".into());
    for field in OUTSIDE {
        spec.remove(field);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    Tamed::Fit(service)
}

/// Without a right and off its node, or not at all.
fn workload(object: &Value) -> Tamed {
    let mut workload = object.clone();
    let pod = &mut workload["spec"]["template"]["spec"];
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            return Tamed::Unfit(format!("its pods have {field}, which no sandbox holds"));
        }
    }
    if let Some(volume) = array(&pod["volumes"]).find(|volume| volume.get("hostPath").is_some()) {
        return Tamed::Unfit(format!(
            "volume {} is a directory of the node (hostPath), which production may be using",
            volume["name"].as_str().unwrap_or_default()
        ));
    }
    for kind in ["containers", "initContainers"] {
        for container in pod.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            if container["securityContext"]["privileged"] == true {
                return Tamed::Unfit(format!(
                    "container {} is privileged, which no sandbox holds",
                    container["name"].as_str().unwrap_or_default()
                ));
            }
            // The port of the node is production's.
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(port) = port.as_object_mut() {
                    port.remove("hostPort");
                    port.remove("hostIP");
                }
            }
        }
    }
    let Some(spec) = pod.as_object_mut() else { return Tamed::LeftOut };
    // Accounts are not brought along, and no pod of a rehearsal has a right.
    spec.remove("serviceAccountName");
    spec.remove("serviceAccount");
    spec.insert("automountServiceAccountToken".to_owned(), json!(false));
    Tamed::Fit(workload)
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, spec: Value) -> Value {
        json!({"kind": kind, "metadata": {"name": "x"}, "spec": spec})
    }

    fn pods(spec: Value) -> Value {
        of("Deployment", json!({"template": {"spec": spec}}))
    }

    #[test]
    fn what_runs_by_itself_or_opens_a_door_is_left_out() {
        for kind in
            ["CronJob", "Job", "Ingress", "NetworkPolicy", "BackupPolicy", "HTTPRoute", "DaemonSet", ""]
        {
            assert_eq!(tame(&of(kind, json!({}))), Tamed::LeftOut, "{kind}");
        }
        let outside = json!({"type": "ExternalName", "externalName": "db.example.com"});
        assert_eq!(tame(&of("Service", outside)), Tamed::LeftOut);
    }

    #[test]
    fn a_service_keeps_its_name_and_is_reached_from_inside_only() {
        let open = json!({
            "type": "LoadBalancer", "externalIPs": ["192.0.2.1"], "loadBalancerIP": "192.0.2.2", "externalTrafficPolicy": "Local",
            "clusterIP": "None", "selector": {"app": "x"}, "ports": [{"port": 80, "nodePort": 30080}],
        });
        let Tamed::Fit(tamed) = tame(&of("Service", open)) else { panic!() };
        let wanted = json!({
            "type": "ClusterIP", "clusterIP": "None", "selector": {"app": "x"}, "ports": [{"port": 80}],
        });
        assert_eq!(tamed["spec"], wanted);
    }

    #[test]
    fn a_workload_has_no_right_and_no_hold_on_its_node() {
        let spec = json!({
            "serviceAccountName": "admin", "serviceAccount": "admin",
            "containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}]}],
        });
        let Tamed::Fit(tamed) = tame(&pods(spec)) else { panic!() };
        let wanted = json!({
            "automountServiceAccountToken": false,
            "containers": [{"name": "a", "ports": [{"containerPort": 80}]}],
        });
        assert_eq!(tamed["spec"]["template"]["spec"], wanted);
        for (spec, why) in [
            (json!({"hostNetwork": true}), "hostNetwork"),
            (json!({"hostPID": true}), "hostPID"),
            (
                json!({"volumes": [{"name": "disk", "hostPath": {"path": "/data"}}]}),
                "volume disk is a directory of the node",
            ),
            (
                json!({"initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}),
                "container i is privileged",
            ),
        ] {
            let Tamed::Unfit(told) = tame(&pods(spec)) else { panic!("{why}") };
            assert!(told.contains(why), "{told}");
        }
    }
}
