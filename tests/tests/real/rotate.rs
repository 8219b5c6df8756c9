//! Credentials are replaced by the real mover on a real API server, with the rights that the chart gives its account: those values that the spec of its
//! run names, while its run is at that step, and nothing else. And who may ask for it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use crds::{
    job::{Change, OBJECTS_DIR, Report, Request, Rotated, Rotation},
    names,
    reference::ROTATED_BY,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};
use tests::apiserver::Answer;

use super::{
    admission::{create, right, server, user},
    cut::{account, command},
    pod::Pod,
};

const OLD: &str = "what-it-was-before";
const PREPARED: &str = "what-somebody-prepared";

/// A breach in a namespace of its own, with the account that the controller would make for it.
struct Run {
    namespace: String,
    uid: String,
    owner: OwnerReference,
}

fn spec(namespace: &str, rotations: &Value) -> Value {
    json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "breach"}, "spec": {
        "scenario": "SecurityBreach", "target": {"inPlace": {"confirm": namespace}},
        "incident": {"suspectedSince": "2026-11-21T03:00:00Z"}, "credentialRotations": rotations}})
}

/// Rotations as a user writes them.
fn rotations() -> Value {
    json!([
        {"name": "token", "secretRef": {"name": "app"}, "generate": {"key": "TOKEN", "length": 32}},
        {"name": "other", "secretRef": {"name": "app"}, "generate": {"key": "OTHER"}},
        {"name": "mail", "secretRef": {"name": "mail"}, "from": {"secretRef": {"name": "mail-new"}, "keys": ["PASSWORD"]}},
        {"name": "s3", "secretRef": {"name": "s3"}, "job": {"cronJobRef": {"name": "rotate-s3"}}},
        {"name": "fixed", "secretRef": {"name": "fixed"}, "generate": {"key": "TOKEN"}},
        {"name": "lost", "secretRef": {"name": "lost"}, "generate": {"key": "TOKEN"}},
        {"name": "keyless", "secretRef": {"name": "keyless"}, "generate": {"key": "TOKEN"}},
        {"name": "same", "secretRef": {"name": "same"}, "from": {"secretRef": {"name": "same-new"}, "keys": ["PASSWORD"]}},
    ])
}

fn secret(name: &str, keys: &[&str]) -> Value {
    let data: BTreeMap<&str, &str> = keys.iter().map(|key| (*key, OLD)).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"team": "search"}, "annotations": {"why": "a test"}},
        "stringData": data})
}

impl Run {
    fn new() -> Run {
        let namespace = server().namespace("rotate");
        let make = |object: &Value| {
            server().kubectl_reading(&format!("create -n {namespace} -f -"), &object.to_string()).success()
        };
        for (name, keys) in [
            ("app", &["TOKEN", "OTHER", "URL"][..]),
            ("mail", &["USER", "PASSWORD"]),
            ("s3", &["KEY", "ENDPOINT"]),
            ("keyless", &["URL"]),
            ("same", &["PASSWORD"]),
            ("bystander", &["TOKEN"]),
        ] {
            let _ = make(&secret(name, keys));
        }
        let mut fixed = secret("fixed", &["TOKEN"]);
        fixed["immutable"] = true.into();
        let _ = make(&fixed);
        let _ =
            make(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "breach-claims"}}));
        let _ = make(&spec(&namespace, &rotations()));
        let uid = |what: &str| {
            server()
                .kubectl(&format!("get {what} -n {namespace} --output=jsonpath={{.metadata.uid}}"))
                .success()
        };
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: "breach-claims".into(),
            uid: uid("configmap/breach-claims"),
            ..OwnerReference::default()
        };
        let uid = uid("hfrun/breach");
        let account = names::rotator(&uid);
        let _ = server().kubectl(&format!("create serviceaccount {account} -n {namespace}")).success();
        let bound = format!(
            "create rolebinding {account} -n {namespace} --clusterrole=holdfast-rotate --serviceaccount={namespace}:{account}"
        );
        let _ = server().kubectl(&bound).success();
        Run { namespace, uid, owner }
    }

    /// Writes what the controller would, and waits until the API server goes by it.
    fn at(&self, phase: &str, state: &str) {
        let mut object = self.get("hfrun/breach");
        let known = rotations();
        let known: Vec<Value> = known
            .as_array()
            .unwrap()
            .iter()
            .map(|asked| json!({"name": asked["name"], "secret": asked["secretRef"]["name"], "state": state}))
            .collect();
        object["status"] =
            json!({"steps": [{"name": "RotateCredentials", "phase": phase}], "rotations": known});
        let replace = format!("replace -n {} --subresource=status -f -", self.namespace);
        let _ = server().kubectl_reading(&replace, &object.to_string()).success();
        let deadline = Instant::now() + Duration::from_secs(30);
        let may = (phase, state) == ("Running", "Rotating");
        while self.applies(&values("app", &json!({"TOKEN": "bmV3"}))).ok != may {
            assert!(Instant::now() < deadline, "{phase}, {state} is not in force");
        }
    }

    fn who(&self) -> String {
        format!("--as=system:serviceaccount:{}:{}", self.namespace, names::rotator(&self.uid))
    }

    /// A patch as its account does it, that is not carried out.
    fn applies(&self, object: &Value) -> Answer {
        let apply = "apply --server-side --force-conflicts --dry-run=server --validate=false";
        let apply = format!("{apply} -n {} {} -f -", self.namespace, self.who());
        server().kubectl_reading(&apply, &object.to_string())
    }

    fn get(&self, what: &str) -> Value {
        let found = server().kubectl(&format!("get {what} -n {} --output=json", self.namespace)).success();
        serde_json::from_str(&found).unwrap()
    }

    fn value(&self, secret: &str, key: &str) -> String {
        let value = self.get(&format!("secret/{secret}"))["data"][key].clone();
        String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
    }

    fn request(&self, wanted: &[&str]) -> Request {
        let all = rotations();
        let of = |asked: &Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let change = match (asked.get("generate"), asked.get("from")) {
                (Some(generate), _) => Change::Generate {
                    key: text(&generate["key"]),
                    length: u16::try_from(generate["length"].as_u64().unwrap_or(48)).unwrap(),
                },
                (None, Some(from)) => Change::Copy {
                    from: text(&from["secretRef"]["name"]),
                    keys: vec![text(&from["keys"][0])],
                },
                (None, None) => Change::Elsewhere { keys: vec!["KEY".into()] },
            };
            Rotation { name: text(&asked["name"]), secret: text(&asked["secretRef"]["name"]), change }
        };
        let wanted = |asked: &&Value| wanted.contains(&asked["name"].as_str().unwrap());
        Request::Rotate {
            namespace: self.namespace.clone(),
            run: self.uid.clone(),
            keeper: names::revoked(&self.uid),
            owner: self.owner.clone(),
            rotations: all.as_array().unwrap().iter().filter(wanted).map(of).collect(),
        }
    }

    /// What the mover comes to; no value is in anything that it prints.
    fn rotate(&self, pod: &Pod, wanted: &[&str]) -> Rotated {
        let token = format!("create token {} -n {}", names::rotator(&self.uid), self.namespace);
        let api = account(pod, &server().kubectl(&token).success());
        let _ = fs::remove_file(pod.log());
        let output = command(pod, &api, &self.request(wanted)).output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.push_str(&fs::read_to_string(pod.log()).unwrap());
        let mut secrets: Vec<String> = vec![OLD.into(), PREPARED.into()];
        secrets.extend(["TOKEN", "OTHER"].map(|key| self.value("app", key)));
        for value in secrets {
            assert!(!said.contains(&value) && !said.contains(&BASE64_STANDARD.encode(&value)), "{said}");
        }
        match pod.report() {
            Report::Rotated(rotated) => rotated,
            other => panic!("{other:?}"),
        }
    }
}

fn values(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
}

/// A pod with what somebody has prepared.
fn prepared() -> Pod {
    let pod = Pod::with_directory();
    for (secret, key, value) in [("mail-new", "PASSWORD", PREPARED), ("same-new", "PASSWORD", OLD)] {
        let path = pod.at(OBJECTS_DIR).join("Secret").join(secret);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(key), value).unwrap();
    }
    pod
}

#[test]
fn values_are_replaced_once_marked_and_kept_and_nothing_else_is_touched() {
    let (run, pod) = (Run::new(), prepared());
    run.at("Running", "Rotating");
    let all = ["token", "other", "mail", "s3"];
    let done = || Rotated { done: all.map(str::to_owned).into(), refused: vec![] };
    assert_eq!(run.rotate(&pod, &all), done());
    let (token, other) = (run.value("app", "TOKEN"), run.value("app", "OTHER"));
    assert!(token.len() == 32 && other.len() == 48 && !other.contains(&token));
    assert!((token.clone() + &other).chars().all(|c| c.is_ascii_alphanumeric()));
    assert_eq!(run.value("mail", "PASSWORD"), PREPARED);
    for (secret, key) in [("app", "URL"), ("mail", "USER"), ("s3", "KEY"), ("bystander", "TOKEN")] {
        assert_eq!(run.value(secret, key), OLD, "{secret} {key}");
    }
    let app = run.get("secret/app")["metadata"].clone();
    let marks = format!("{0}/token,{0}/other", run.uid);
    assert_eq!(app["annotations"], json!({"why": "a test", ROTATED_BY: marks}));
    assert_eq!(app["labels"], json!({"team": "search"}));
    assert_eq!(run.get("secret/s3")["metadata"]["annotations"], json!({"why": "a test"}));

    // What it was lies with what goes when the run has ended.
    let keeper = names::revoked(&run.uid);
    let kept = [("app", "TOKEN"), ("app", "OTHER"), ("mail", "PASSWORD"), ("s3", "KEY")];
    for (secret, key) in kept {
        assert_eq!(run.value(&keeper, &names::revoked_key(secret, key)), OLD, "{secret} {key}");
    }
    let found = run.get(&format!("secret/{keeper}"));
    assert_eq!(found["data"].as_object().unwrap().len(), kept.len());
    assert_eq!(found["metadata"]["ownerReferences"][0]["uid"], run.owner.uid);

    // Whoever comes after replaces nothing again, and keeps what it was.
    assert_eq!(run.rotate(&pod, &all), done());
    assert_eq!((run.value("app", "TOKEN"), run.value("app", "OTHER")), (token, other));
    for (secret, key) in kept {
        assert_eq!(run.value(&keeper, &names::revoked_key(secret, key)), OLD, "{secret} {key}");
    }
}

#[test]
fn what_can_not_be_replaced_is_named_with_what_to_do_and_the_rest_is_done() {
    let (run, pod) = (Run::new(), prepared());
    run.at("Running", "Rotating");
    let rotated = run.rotate(&pod, &["fixed", "lost", "keyless", "same", "token"]);
    assert_eq!(rotated.done, ["token"]);
    assert_ne!(run.value("app", "TOKEN"), OLD);
    let wanted = [
        ("fixed", "Secret fixed is immutable"),
        ("lost", "Secret lost does not exist"),
        ("keyless", "Secret keyless has no key TOKEN"),
        ("same", "prepare another value"),
    ];
    for (refused, (name, words)) in rotated.refused.iter().zip(wanted) {
        assert!(refused.name == name && refused.why.contains(words), "{refused:?}");
    }
    assert_eq!(rotated.refused.len(), wanted.len());
    assert_eq!((run.value("fixed", "TOKEN"), run.value("same", "PASSWORD")), (OLD.into(), OLD.into()));
    // Nobody has prepared it, or not that of it.
    let empty = Pod::with_directory();
    let rotated = run.rotate(&empty, &["mail"]);
    assert!(
        rotated.refused[0].why.contains("from which PASSWORD of Secret mail was to be copied"),
        "{rotated:?}"
    );
    assert_eq!(run.value("mail", "PASSWORD"), OLD);
}

#[test]
fn the_account_changes_no_other_value_at_no_other_time_and_reads_nothing() {
    let (run, other) = (Run::new(), Run::new());
    let refused = |answer: &Answer, words: &str| assert!(answer.err.contains(words), "{words}: {answer:?}");
    let token = values("app", &json!({"TOKEN": "bmV3"}));
    let (idle, unnamed) = ("is not at its step RotateCredentials", "changes nothing of Secret");
    refused(&run.applies(&token), idle);
    run.at("Running", "Rotating");
    assert!(run.applies(&token).ok);
    // What it may change it sees by a change that changes nothing, and nothing else.
    assert!(run.applies(&values("app", &json!({}))).ok);
    for secret in ["bystander", "mail-new"] {
        let nothing = values(secret, &json!({}));
        let answer = run.applies(&nothing);
        assert!(!answer.ok && !answer.out.contains("data"), "{answer:?}");
    }
    refused(&run.applies(&values("bystander", &json!({}))), unnamed);
    refused(&run.applies(&values("app", &json!({"URL": "bmV3"}))), unnamed);
    refused(&run.applies(&values("app", &json!({"MORE": "bmV3"}))), unnamed);
    refused(&run.applies(&values("mail", &json!({"USER": "bmV3"}))), unnamed);
    // What a provider replaces it only sees.
    assert!(run.applies(&values("s3", &json!({}))).ok);
    refused(&run.applies(&values("s3", &json!({"KEY": "bmV3"}))), unnamed);
    for metadata in [
        json!({"labels": {"team": "mine"}}),
        json!({"annotations": {"why": "none"}}),
        json!({"finalizers": ["a/b"]}),
    ] {
        let mut changed = values("app", &json!({}));
        changed["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        refused(&run.applies(&changed), unnamed);
    }
    // It makes one Secret, which is no way to the token of an account.
    let owners = json!([run.owner]);
    let make = |name: &str, kind: &str, owners: &Value| {
        let metadata = json!({"name": name, "ownerReferences": owners, "annotations": {"kubernetes.io/service-account.name": "default"}});
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind});
        let create = format!("create --dry-run=server -n {} {} -f -", run.namespace, run.who());
        server().kubectl_reading(&create, &object.to_string())
    };
    let keeper = names::revoked(&run.uid);
    assert!(make(&keeper, "Opaque", &owners).ok);
    for answer in [
        make(&keeper, "kubernetes.io/service-account-token", &owners),
        make(&keeper, "Opaque", &json!([])),
        make("mine", "Opaque", &owners),
        make(&names::revoked(&other.uid), "Opaque", &owners),
    ] {
        refused(&answer, "creates no Secret but the one that keeps");
    }
    for verb in ["get", "delete"] {
        let read = server().kubectl(&format!("{verb} secret app -n {} {}", run.namespace, run.who()));
        refused(&read, "forbidden");
    }
    // Bound where it is a stranger.
    other.at("Running", "Rotating");
    let bound = format!(
        "create rolebinding stranger -n {} --clusterrole=holdfast-rotate --serviceaccount={}:{}",
        other.namespace,
        run.namespace,
        names::rotator(&run.uid)
    );
    let _ = server().kubectl(&bound).success();
    let apply = format!(
        "apply --server-side --force-conflicts --dry-run=server -n {} {} -f -",
        other.namespace,
        run.who()
    );
    refused(&server().kubectl_reading(&apply, &token.to_string()), "does nothing outside its own namespace");

    run.at("Running", "Rotated");
    refused(&run.applies(&token), unnamed);
    run.at("Done", "Rotating");
    refused(&run.applies(&token), idle);
}

#[test]
fn i9_who_has_credentials_replaced_may_replace_them_by_hand() {
    let namespace = server().namespace("rotations");
    let of = |resource: &str, group: &str, verbs: &[&str], names: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": names});
    let runs = || vec![right("recoveryruns", &["create"], &[]), right("backuppolicies", &["recover"], &[])];
    let with = |name: &str, rules: &[Value]| {
        let mut all = runs();
        all.extend(rules.iter().cloned());
        user(&namespace, name, &all.into())
    };
    let (targets, sources) =
        (["app", "mail", "s3", "fixed", "lost", "keyless", "same"], ["mail-new", "same-new"]);
    let (update, read) = (of("secrets", "", &["update"], &targets), of("secrets", "", &["get"], &sources));
    let jobs = json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]});
    // Of two policies that refuse either may speak first.
    let nobody = with("nobody", &[read.clone(), jobs.clone()]);
    let writes = with("writes", &[update.clone(), jobs.clone()]);
    let no_jobs = with("no-jobs", &[update.clone(), read.clone()]);
    let may = with("may", &[update, read, jobs]);
    let asked = spec(&namespace, &rotations());
    for (who, words) in [
        (&nobody, "lacks the verb update on secrets \"app\""),
        (&writes, "lacks the verb get on secrets \"mail-new\""),
        (&no_jobs, "lacks the verb create on jobs.batch"),
    ] {
        let said = create(server(), &namespace, who, &asked).refusal();
        assert!(said.contains(words), "{words}: {said}");
    }
    // Who replaces nothing needs none of it.
    let mut plain = spec(&namespace, &rotations());
    plain["metadata"]["name"] = "plain".into();
    plain["spec"].as_object_mut().unwrap().remove("credentialRotations");
    let _ = create(server(), &namespace, &nobody, &plain).success();
    let _ = create(server(), &namespace, &may, &asked).success();
}

#[test]
fn what_a_run_replaces_is_said_when_it_is_created_and_never_changed() {
    let namespace = server().namespace("rotations-spec");
    let make = |name: &str, rotations: &Value, more: &Value| {
        let mut run = spec(&namespace, rotations);
        run["metadata"]["name"] = name.into();
        run["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server().kubectl_reading(&format!("create -n {namespace} -f -"), &run.to_string())
    };
    let one = |by: Value| {
        let mut value = json!({"name": "a", "secretRef": {"name": "app"}});
        value.as_object_mut().unwrap().extend(by.as_object().unwrap().clone());
        json!([value])
    };
    let generate = json!({"generate": {"key": "TOKEN"}});
    for (rotations, more, words) in [
        (one(json!({})), json!({}), "set exactly one of generate, from, job"),
        (
            one(json!({"generate": {"key": "a"}, "job": {"cronJobRef": {"name": "b"}}})),
            json!({}),
            "set exactly one of",
        ),
        (one(json!({"generate": {"key": "a", "length": 8}})), json!({}), "greater than or equal to 16"),
        (one(json!({"generate": {"key": "../a"}})), json!({}), "write a key that a Secret can have"),
        (
            one(json!({"from": {"secretRef": {"name": "b"}, "keys": ["../a"]}})),
            json!({}),
            "write keys that a Secret can have",
        ),
        (one(json!({"from": {"secretRef": {"name": "b"}, "keys": []}})), json!({}), "at least 1 items"),
        (
            one(generate.clone()),
            json!({"scenario": "CompleteFailure"}),
            "credentials are rotated after a SecurityBreach only",
        ),
    ] {
        let said = make("wrong", &rotations, &more).refusal();
        assert!(said.contains(words), "{words}: {said}");
    }
    let _ = make("right", &one(generate), &json!({})).success();
    let stored = server().kubectl(&format!("get hfrun right -n {namespace} --output=json")).success();
    let mut stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["spec"]["credentialRotations"][0]["generate"]["length"], 48);
    stored["spec"]["credentialRotations"][0]["secretRef"]["name"] = "another".into();
    let said =
        server().kubectl_reading(&format!("replace -n {namespace} -f -"), &stored.to_string()).refusal();
    assert!(said.contains("a RecoveryRun can't be changed"), "{said}");
}
