//! Creates what is missing of a component, from objects that the container before this one has left: what exists is never changed.

mod tame;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crds::job::{FailureReason, Recreated, Report, Revoked};
use crds::names;
use crds::reference::{RECREATED_BY, REPLICAS, STANDS_FOR};
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::tame::Tamed;
use super::Desk;
use crate::cluster;
use crate::failure::{Failure, Result, sentence};

/// What the container before leaves, in [`RECREATE_DIR`](crds::job::RECREATE_DIR).
pub(super) const FILE: &str = "objects.json";
/// How long the API server may take until it knows of the right to create something.
const RIGHTS: Duration = Duration::from_secs(20);

/// Objects of a point.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bundle {
    /// Claims whose volumes the point holds.
    pub(super) volumes: Vec<String>,
    /// In the order in which they can be applied.
    pub(super) objects: Vec<Value>,
    /// What of their Secrets is void, and who made it so.
    pub(super) void: Vec<(Revoked, String)>,
}

/// For whom something is created.
pub(super) struct Asked<'a> {
    pub(super) namespace: &'a str,
    pub(super) run: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) storage_class: Option<&'a str>,
    /// The sandbox that everything but claims to restore into is created in.
    pub(super) sandbox: Option<&'a str>,
}

impl Asked<'_> {
    /// Where the component is.
    fn home(&self) -> &str {
        self.sandbox.unwrap_or(self.namespace)
    }
}

pub(super) async fn recreate(desk: &Desk, asked: Asked<'_>) -> Result<Report> {
    let file = desk.places.recreate().join(FILE);
    let unreadable =
        |e: &dyn std::error::Error| Failure::unexpected(format!("can't read {}", file.display()), e);
    let bytes = fs::read(&file).map_err(|e| unreadable(&e))?;
    let bundle: Bundle = serde_json::from_slice(&bytes).map_err(|e| unreadable(&e))?;
    let client = cluster::of_this_pod(&desk.environment, &desk.places).await?;
    // What was revoked does no harm where nobody can be reached.
    if asked.sandbox.is_none() {
        void(&client, &asked, &bundle).await?;
    }
    let (mut done, mut refused) =
        (Recreated { created: Vec::new(), created_count: 0, existing: 0 }, Vec::new());
    for object in &bundle.objects {
        let kind = text(&object["kind"]);
        let name = format!("{kind} {}", text(&object["metadata"]["name"]));
        let restored =
            kind == "PersistentVolumeClaim" && bundle.volumes.contains(&text(&object["metadata"]["name"]));
        if restored && exists(&client, asked.home(), object).await? {
            done.existing += 1;
            continue;
        }
        let (place, wanted) = match (restored, asked.sandbox) {
            (true, _) => (asked.namespace, stand_in(object, &asked)),
            (false, None) => (asked.namespace, anew(object, &workloads(&bundle.objects), &asked)),
            (false, Some(sandbox)) => match tame::tame(object) {
                Tamed::Fit(object) => (sandbox, anew(&object, &workloads(&bundle.objects), &asked)),
                Tamed::LeftOut => continue,
                Tamed::Unfit(why) => {
                    refused.push(format!("{name}: {why}"));
                    continue;
                }
            },
        };
        match create(&client, place, &wanted, &PostParams::default()).await? {
            Created::Now => {
                desk.telling.say(format!("{name} is created"));
                done.created_count += 1;
                done.created.push(name);
            }
            Created::Before => done.existing += 1,
            Created::Refused(why) => refused.push(format!("{name}: {why}")),
        }
    }
    let Some(first) = refused.first() else { return Ok(Report::Recreated(done)) };
    let more = refused.len() - 1;
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Failure::new(
        FailureReason::ObjectRefused,
        format!(
            "the cluster does not take {first}{more} ({} others were created, {} were there); create it by hand from `holdfast objects`, or change what refuses it",
            done.created_count, done.existing
        ),
    ))
}

/// Refuses what would bring a credential back that was revoked, before anything is created. A Secret that exists stays as it is.
async fn void(client: &Client, asked: &Asked<'_>, bundle: &Bundle) -> Result<()> {
    for (of, by) in &bundle.void {
        let is = |object: &&Value| object["kind"] == "Secret" && object["metadata"]["name"] == of.secret;
        let Some(object) = bundle.objects.iter().find(is) else { continue };
        let wanted = anew(object, &[], asked);
        let trial = PostParams { dry_run: true, ..PostParams::default() };
        if matches!(create(client, asked.namespace, &wanted, &trial).await?, Created::Before) {
            continue;
        }
        let Revoked { secret, key } = of;
        let why = format!(
            "Secret {secret} is missing, and what the point holds of it was revoked after a breach ({key}, by {by}): create Secret {secret} with the values that count now, for what exists is left as it is; then create a new run. Nothing of the component was created"
        );
        return Err(Failure::new(FailureReason::CredentialRevoked, why));
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Kind and name of the component's workloads, as the policy among the objects says.
fn workloads(objects: &[Value]) -> Vec<(String, String)> {
    let policy = objects.iter().find(|object| object["kind"] == "BackupPolicy");
    let listed = policy.and_then(|policy| policy["spec"]["component"]["workloads"].as_array());
    listed.into_iter().flatten().map(|workload| (text(&workload["kind"]), text(&workload["name"]))).collect()
}

/// An object as it is created: in this namespace, marked, and stopped if it is a workload of the component.
fn anew(object: &Value, workloads: &[(String, String)], asked: &Asked<'_>) -> Value {
    let mut wanted = object.clone();
    wanted["metadata"]["namespace"] = asked.home().into();
    wanted["metadata"]["annotations"][RECREATED_BY] = asked.run.into();
    let own = (text(&object["kind"]), text(&object["metadata"]["name"]));
    if !workloads.contains(&own) {
        return wanted;
    }
    let replicas = match own.0.as_str() {
        "CronJob" => {
            wanted["spec"]["suspend"] = true.into();
            i64::from(object["spec"]["suspend"] != true)
        }
        _ => {
            wanted["spec"]["replicas"] = 0.into();
            // Absent it is one.
            object["spec"]["replicas"].as_i64().unwrap_or(1)
        }
    };
    wanted["metadata"]["annotations"][REPLICAS] = replicas.to_string().into();
    wanted
}

/// The claim that the volume of a lost one is restored into. What it stands for it has written on it.
fn stand_in(lost: &Value, asked: &Asked<'_>) -> Value {
    let name = names::restore_claim(&text(&lost["metadata"]["name"]), asked.run);
    let stands_for = json!({
        "labels": lost["metadata"]["labels"].as_object().cloned().unwrap_or_default(),
        "annotations": lost["metadata"]["annotations"].as_object().cloned().unwrap_or_default(),
    });
    let mut spec = json!({
        "accessModes": lost["spec"]["accessModes"], "resources": lost["spec"]["resources"],
    });
    for field in ["storageClassName", "volumeMode"] {
        if let Some(value) = lost["spec"].get(field) {
            spec[field] = value.clone();
        }
    }
    if let Some(class) = asked.storage_class {
        spec["storageClassName"] = class.into();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec, "metadata": {
        "name": name, "namespace": asked.namespace, "labels": asked.labels,
        "annotations": {RECREATED_BY: asked.run, STANDS_FOR: stands_for.to_string()}}})
}

enum Created {
    Now,
    Before,
    Refused(String),
}

fn api(client: &Client, namespace: &str, object: &Value) -> Api<DynamicObject> {
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

async fn exists(client: &Client, namespace: &str, object: &Value) -> Result<bool> {
    let name = text(&object["metadata"]["name"]);
    let begun = Instant::now();
    loop {
        match api(client, namespace, object).get_opt(&name).await {
            Ok(found) => return Ok(found.is_some()),
            Err(error) if cluster::not_yet(&error, begun, RIGHTS) => {
                tokio::time::sleep(Duration::from_millis(250)).await
            }
            Err(error) => return Err(unanswered(&format!("{} {name}", text(&object["kind"])), &error)),
        }
    }
}

async fn create(client: &Client, namespace: &str, object: &Value, how: &PostParams) -> Result<Created> {
    let name = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
    let wanted: DynamicObject = match serde_json::from_value(object.clone()) {
        Ok(wanted) => wanted,
        Err(e) => return Ok(Created::Refused(format!("it is no object ({e})"))),
    };
    let begun = Instant::now();
    loop {
        match api(client, namespace, object).create(how, &wanted).await {
            Ok(_) => return Ok(Created::Now),
            Err(Error::Api(status)) if status.code == 409 => return Ok(Created::Before),
            Err(error) if cluster::not_yet(&error, begun, RIGHTS) => {
                tokio::time::sleep(Duration::from_millis(250)).await
            }
            Err(Error::Api(status)) if (400..429).contains(&status.code) => {
                return Ok(Created::Refused(status.message));
            }
            Err(error) => return Err(unanswered(&name, &error)),
        }
    }
}

fn unanswered(name: &str, error: &Error) -> Failure {
    Failure::new(
        FailureReason::MoverFailed,
        format!("the Kubernetes API, asked for {name}: {}", sentence(error)),
    )
}

#[cfg(test)]
mod tests;
