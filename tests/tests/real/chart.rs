//! The chart by the real helm on a real API server: what it renders, what it grants, what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tests::apiserver::{Answer, ApiServer, repository, tool};

const SYSTEM: &str = "holdfast-system";
const CONTROLLER: &str = "system:serviceaccount:holdfast-system:holdfast-controller";

fn server() -> &'static ApiServer {
    static SERVER: OnceLock<ApiServer> = OnceLock::new();
    ApiServer::shared(&SERVER, |server| {
        let _ = server.kubectl(&format!("create namespace {SYSTEM}")).success();
    })
}

/// Runs helm; `CHART` in the arguments stands for the chart.
fn helm(arguments: &str) -> Answer {
    let mut command = Command::new(tool("helm").expect("helm is built"));
    for argument in arguments.split_whitespace() {
        if argument == "CHART" {
            command.arg(repository().join("charts/holdfast"));
        } else {
            command.arg(argument);
        }
    }
    server().run(command, "")
}

fn template(values: &str) -> String {
    helm(&format!("template holdfast CHART --namespace {SYSTEM} {values}")).success()
}

/// The rendered objects as the API server understands them.
fn objects(values: &str) -> Vec<Value> {
    // Applied, not created: another test may have installed the same names meanwhile.
    let apply = "apply --server-side --force-conflicts --dry-run=server -o json -f -";
    let accepted = server().kubectl_reading(apply, &template(values)).success();
    // kubectl prints a list, or one object after another where there is no list of the kinds.
    let printed: Vec<Value> =
        serde_json::Deserializer::from_str(&accepted).into_iter().collect::<Result<_, _>>().unwrap();
    printed
        .into_iter()
        .flat_map(|value| match value.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None => vec![value],
        })
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

const EVERYTHING: &str = "--set controller.replicas=3 --set networkPolicy.enabled=true --set imagePullSecrets={pull} \
    --set mover.imagePullSecrets={pull,other} --set controller.priorityClassName=system-cluster-critical \
    --set controller.nodeSelector.disk=fast --set serviceAccount.annotations.a=b --set controller.podLabels.team=dr";

#[test]
fn helm_finds_nothing_to_complain_about() {
    let _ = helm("lint --strict CHART").success();
}

#[test]
fn every_object_is_accepted_by_the_api_server_in_every_shape() {
    let plain = objects("");
    assert_eq!(of_kind(&plain, "CustomResourceDefinition").count(), 5);
    assert_eq!(of_kind(&plain, "ValidatingAdmissionPolicyBinding").count(), 18);
    assert_eq!(of_kind(&plain, "PodDisruptionBudget").count(), 0);
    // Commands in pods are a right that somebody has to ask for.
    assert!(!template("").contains("pods/exec"));
    let hooked = objects("--set hooks.enabled=true");
    assert_eq!(of_kind(&hooked, "ValidatingAdmissionPolicyBinding").count(), 20);
    let full = objects(EVERYTHING);
    assert_eq!(of_kind(&full, "PodDisruptionBudget").count(), 1);
    assert_eq!(of_kind(&full, "NetworkPolicy").count(), 1);
    assert_eq!(of_kind(&objects("--set crds.mode=External"), "CustomResourceDefinition").count(), 0);
    // Its kind is the Prometheus operator's, which this server does not know.
    assert!(template("--set metrics.serviceMonitor.enabled=true").contains("kind: ServiceMonitor"));
}

#[test]
fn the_controller_gets_what_it_reads_from_its_environment() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let values = format!(
        "--set mover.image.repository=localhost/holdfast --set mover.image.tag=dev --set controller.image.digest={digest} \
         --set mover.imagePullSecrets={{pull,other}}"
    );
    let objects = objects(&format!("{values} --set hooks.enabled=true"));
    let deployment = of_kind(&objects, "Deployment").next().unwrap();
    assert_eq!(deployment["metadata"]["name"], "holdfast-controller");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], format!("holdfast-controller@{digest}"));
    let value = |name: &str| {
        container["env"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"] == name)
            .unwrap_or(&Value::Null)["value"]
            .clone()
    };
    assert_eq!(value("HOLDFAST_MOVER_IMAGE"), "localhost/holdfast:dev");
    assert_eq!(value("HOLDFAST_MOVER_PULL_SECRETS"), "pull,other");
    assert_eq!(value("HOLDFAST_HOOKS"), "true");
    let source = std::fs::read_to_string(repository().join("controller/src/main.rs")).unwrap();
    for entry in container["env"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        assert!(source.contains(&format!("\"{name}\"")), "the controller reads no {name}");
    }
}

#[test]
fn no_role_holds_a_wildcard_a_secret_or_a_way_around() {
    let objects = objects(EVERYTHING);
    let roles: Vec<&Value> = of_kind(&objects, "ClusterRole").chain(of_kind(&objects, "Role")).collect();
    assert_eq!(roles.len(), 13);
    for role in roles {
        for rule in role["rules"].as_array().unwrap() {
            for field in ["apiGroups", "resources", "verbs"] {
                for word in rule[field].as_array().unwrap() {
                    let word = word.as_str().unwrap();
                    // Who brings a component back makes its Secrets, and neither reads nor changes one; who replaces credentials
                    // changes those that an admission policy lets it. Who looks for Secrets of nobody lists names; RBAC has no word for that.
                    let name = role["metadata"]["name"].as_str().unwrap();
                    let may = match name {
                        "holdfast-recreate" => json!(["create"]),
                        "holdfast-rotate" => json!(["create", "patch"]),
                        "holdfast-audit" => json!(["list"]),
                        _ => Value::Null,
                    };
                    let secrets = if rule["verbs"] == may { "-" } else { "secrets" };
                    let way_around = [secrets, "nodes/proxy", "pods/exec", "serviceaccounts/token"];
                    // Which role may be bound has to be said by name.
                    let bind = if rule["resourceNames"].is_array() { "" } else { "bind" };
                    let verb = ["impersonate", "escalate", bind, "deletecollection"];
                    assert!(
                        !word.contains('*') && !way_around.contains(&word) && !verb.contains(&word),
                        "{} has {word}: {rule}",
                        role["metadata"]["name"]
                    );
                }
            }
        }
    }
}

#[test]
fn the_controllers_pod_is_admitted_where_only_restricted_pods_are() {
    let namespace = server().namespace("restricted");
    let label = format!("label namespace {namespace} pod-security.kubernetes.io/enforce=restricted");
    let _ = server().kubectl(&label).success();
    let objects = objects(EVERYTHING);
    let mut pod = of_kind(&objects, "Deployment").next().unwrap()["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "controller".into();
    let arguments = format!("create --dry-run=server -n {namespace} -f -");
    let _ = server().kubectl_reading(&arguments, &pod.to_string()).success();
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    // Without this the test above would pass where nothing is enforced.
    pod["spec"]["containers"][0]["securityContext"] = Value::Null;
    assert!(
        server().kubectl_reading(&arguments, &pod.to_string()).refusal().contains("violates PodSecurity")
    );
}

#[test]
fn a_value_that_does_not_exist_is_refused_by_its_name() {
    for (values, name) in [
        ("--set replicaCount=2", "replicaCount"),
        ("--set controller.image.tagg=x", "tagg"),
        ("--set mover.image.pullPolicy=Sometimes", "pullPolicy"),
        ("--set controller.replicas=0", "replicas"),
        ("--set crds.mode=Maybe", "mode"),
        ("--set metrics.serviceMonitor.enable=true", "enable"),
        ("--set metrics.prometheusRule.verifiedWithinDays=0", "verifiedWithinDays"),
        ("--set metrics.dashboard.folder=x", "folder"),
        ("--set controller.image.digest=latest", "digest"),
    ] {
        let said = helm(&format!("template holdfast CHART {values}")).refusal();
        assert!(
            said.contains("values don't meet the specifications of the schema") && said.contains(name),
            "{said}"
        );
    }
}

fn install(verb: &str, release: &str, more: &str) -> Answer {
    helm(&format!("{verb} {release} CHART --namespace {SYSTEM} {more}"))
}

fn count(what: &str) -> usize {
    server().kubectl(&format!("get {what} -A -o name")).success().lines().count()
}

/// Installing is cluster-wide, so this one test walks through a cluster's life in order.
#[test]
fn definitions_and_objects_outlive_the_release_and_serve_the_next_one() {
    let _ = install("install", "holdfast", "").success();
    let _ = server().kubectl("wait --for=condition=Established crd --all --timeout=30s").success();
    rights();
    let quickstart = repository().join("examples/quickstart/start.yaml");
    let namespace = server().namespace("kept");
    let _ = server().kubectl(&format!("create -n {namespace} -f {}", quickstart.display())).success();

    let said = helm("install second CHART --namespace another --create-namespace").refusal();
    assert!(said.contains("exists and cannot be imported"), "two Holdfasts would act on one cluster: {said}");

    let _ = helm(&format!("uninstall holdfast --namespace {SYSTEM}")).success();
    assert_eq!(count("crd"), 5);
    assert_eq!(count("hfrepo,hfpolicy"), 2);
    assert_eq!(count("validatingadmissionpolicy,validatingadmissionpolicybinding"), 0);
    assert_eq!(server().kubectl(&format!("get deploy,sa,role,svc -n {SYSTEM} -o name")).success(), "");

    let _ = install("install", "other", "").success();
    let _ = install("upgrade", "other", "").success();
    let before = server().kubectl("get hfrepo,hfpolicy -A -o jsonpath={.items[*].metadata.uid}").success();

    // The chart of another version meets definitions that a gone release left.
    let _ = server()
        .kubectl("annotate crd backuppolicies.holdfast.dev --overwrite holdfast.dev/schema-digest=older")
        .success();
    let said = install("upgrade", "other", "").refusal();
    let sentence = "CustomResourceDefinition backuppolicies.holdfast.dev belongs to release holdfast-system/holdfast and is of \
         another version. To take it over, with every object of its kind kept, add: --take-ownership --set \
         crds.mode=TakeOwnership --force-conflicts";
    assert!(said.contains(sentence), "{said}");
    let remedy = "--take-ownership --set crds.mode=TakeOwnership --force-conflicts";
    let _ = install("upgrade", "other", remedy).success();
    let owner = "get crd -o jsonpath={.items[*].metadata.annotations.meta\\.helm\\.sh/release-name}";
    assert_eq!(server().kubectl(owner).success(), "other other other other other");
    // From now on it owns them and nothing need be said; and they are kept as before.
    let _ = install("upgrade", "other", "--reset-values").success();
    let _ = helm(&format!("uninstall other --namespace {SYSTEM}")).success();
    assert_eq!(count("crd"), 5);
    let after = server().kubectl("get hfrepo,hfpolicy -A -o jsonpath={.items[*].metadata.uid}").success();
    assert_eq!(before, after, "the same objects, not new ones");
}

fn rights() {
    let may = |verb: &str, what: &str, where_: &str| {
        // It exits with 1 for "no", and warns about cluster-wide resources.
        server().kubectl(&format!("auth can-i {verb} {what} {where_} --as={CONTROLLER}")).out.trim() == "yes"
    };
    for (verb, what) in [
        ("update", "recoveryruns.holdfast.dev --subresource=status"),
        // For the finalizers, which have no right of their own.
        ("patch", "recoveryruns.holdfast.dev"),
        // Those of drills: the admission policy says so.
        ("create", "recoveryruns.holdfast.dev"),
        ("delete", "recoveryruns.holdfast.dev"),
        ("update", "drdrills.holdfast.dev --subresource=status"),
        ("patch", "backuppolicies.holdfast.dev"),
        ("patch", "recoverypoints.holdfast.dev"),
        ("create", "recoverypoints.holdfast.dev"),
        ("delete", "recoverypoints.holdfast.dev"),
        ("create", "jobs.batch"),
        ("create", "pods"),
        ("update", "statefulsets.apps --subresource=scale"),
        ("patch", "cronjobs.batch"),
        ("list", "networkpolicies.networking.k8s.io"),
        ("delete", "persistentvolumeclaims"),
        ("patch", "persistentvolumeclaims"),
        ("patch", "persistentvolumes"),
        ("create", "configmaps"),
        // One value of those that carry a label: the admission policy says so.
        ("patch", "configmaps"),
        ("create", "serviceaccounts"),
        // What the audit of a breach looks at.
        ("list", "serviceaccounts"),
        ("list", "roles.rbac.authorization.k8s.io"),
        ("list", "rolebindings.rbac.authorization.k8s.io"),
        ("list", "clusterroles.rbac.authorization.k8s.io"),
        ("list", "clusterrolebindings.rbac.authorization.k8s.io"),
        ("list", "daemonsets.apps"),
        ("list", "replicasets.apps"),
        ("bind", "clusterroles.rbac.authorization.k8s.io/holdfast-audit"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        // The one by which it may isolate a namespace: the admission policy says so.
        ("delete", "rolebindings.rbac.authorization.k8s.io"),
        ("bind", "clusterroles.rbac.authorization.k8s.io/holdfast-isolate"),
        ("bind", "clusterroles.rbac.authorization.k8s.io/holdfast-snapshots"),
        ("create", "events.events.k8s.io"),
    ] {
        assert!(may(verb, what, "-n arxiv"), "the controller can't {verb} {what}");
    }
    assert!(may("update", "leases.coordination.k8s.io", &format!("-n {SYSTEM}")));
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "secrets"),
        ("create", "pods --subresource=exec"),
        ("delete", "pods"),
        ("get", "nodes --subresource=proxy"),
        ("delete", "persistentvolumes"),
        ("list", "configmaps"),
        ("patch", "statefulsets.apps"),
        ("delete", "cronjobs.batch"),
        ("create", "networkpolicies.networking.k8s.io"),
        ("delete", "networkpolicies.networking.k8s.io"),
        ("create", "drdrills.holdfast.dev"),
        ("patch", "drdrills.holdfast.dev"),
        ("delete", "drdrills.holdfast.dev"),
        ("update", "leases.coordination.k8s.io"),
        ("delete", "statefulsets.apps"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
        ("bind", "clusterroles.rbac.authorization.k8s.io/cluster-admin"),
        ("delete", "serviceaccounts"),
        ("create", "serviceaccounts --subresource=token"),
    ] {
        assert!(!may(verb, what, "-n arxiv"), "the controller can {verb} {what}");
    }
}
