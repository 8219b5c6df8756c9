//! Waiting for a condition: a watch and a deadline, never a sleep. What was seen last is part of the failure.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::stage::PATIENCE;

/// Watches the object `name` until `judge` returns something. `judge` sees `None` while the object doesn't exist, and
/// fails when the condition can no longer come true.
pub async fn object<K, T>(
    api: &Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    mut judge: impl FnMut(Option<&K>) -> Result<Option<T>>,
) -> Result<T>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let mut last = "nothing".to_owned();
    let seen = async {
        let mut stream = std::pin::pin!(watcher::watch_object(api.clone(), name));
        while let Some(next) = stream.next().await {
            // The watcher itself tries again after an error, for as long as we wait.
            let Ok(found) = next else { continue };
            last = found.as_ref().map_or_else(|| "no such object".to_owned(), describe);
            if let Some(value) = judge(found.as_ref())? {
                return Ok(value);
            }
        }
        bail!("the watch ended")
    };
    match tokio::time::timeout(limit, seen).await {
        Ok(result) => result.with_context(|| format!("waiting for {what} ({name})")),
        Err(_) => bail!("waited {limit:?} for {what} ({name}); last seen: {last}"),
    }
}

/// Watches every object of a selection until `judge` returns something for one of them.
pub async fn any<K, T>(
    api: &Api<K>,
    labels: &str,
    what: &str,
    limit: Duration,
    mut judge: impl FnMut(&K) -> Result<Option<T>>,
) -> Result<T>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let mut last = "nothing".to_owned();
    let config = watcher::Config::default().labels(labels);
    let seen = async {
        let mut stream = std::pin::pin!(watcher(api.clone(), config).default_backoff().applied_objects());
        loop {
            match stream.try_next().await {
                Ok(Some(found)) => {
                    last = describe(&found);
                    if let Some(value) = judge(&found)? {
                        return Ok(value);
                    }
                }
                Ok(None) => bail!("the watch ended"),
                Err(_) => {}
            }
        }
    };
    match tokio::time::timeout(limit, seen).await {
        Ok(result) => result.with_context(|| format!("waiting for {what}")),
        Err(_) => bail!("waited {limit:?} for {what}; last seen: {last}"),
    }
}

/// Watches a kind until none of its objects is one of those that `concerned` chooses.
pub async fn none<K>(api: &Api<K>, what: &str, concerned: impl Fn(&K) -> bool) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let mut there: BTreeMap<String, String> = BTreeMap::new();
    let seen = async {
        let mut stream = std::pin::pin!(watcher(api.clone(), watcher::Config::default()).default_backoff());
        loop {
            let listed = match stream.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => bail!("the watch ended"),
                Err(_) => continue,
            };
            let (object, is_there) = match listed {
                watcher::Event::Init => {
                    there.clear();
                    continue;
                }
                watcher::Event::InitApply(object) => {
                    if concerned(&object) {
                        there.insert(object.meta().uid.clone().unwrap_or_default(), describe(&object));
                    }
                    continue;
                }
                watcher::Event::InitDone if there.is_empty() => return Ok(()),
                watcher::Event::InitDone => continue,
                watcher::Event::Apply(object) => {
                    let is_there = concerned(&object);
                    (object, is_there)
                }
                watcher::Event::Delete(object) => (object, false),
            };
            let uid = object.meta().uid.clone().unwrap_or_default();
            match is_there {
                true => there.insert(uid, describe(&object)),
                false => there.remove(&uid),
            };
            if there.is_empty() {
                return Ok(());
            }
        }
    };
    match tokio::time::timeout(PATIENCE, seen).await {
        Ok(result) => result.with_context(|| format!("waiting for {what}")),
        Err(_) => bail!("waited {PATIENCE:?} for {what}; there are still: {there:?}"),
    }
}

/// Asks again until the answer is good: for what can't be watched, such as a server's first answer.
pub async fn answer<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("waited {limit:?} for {what}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One of some conditions, by its type.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Waits until an object of ours is Ready; returns it.
pub async fn ready<K>(api: &Api<K>, name: &str) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let what = format!("a Ready {}", K::kind(&()));
    object(api, name, &what, PATIENCE, |found| {
        let ready = found.map(conditions).unwrap_or_default();
        Ok(found.filter(|_| condition(&ready, "Ready").is_some_and(|c| c.status == "True")).cloned())
    })
    .await
}

/// Waits until a condition of type `kind` has `status` and one of `reasons`; returns its message.
pub async fn reason<K>(api: &Api<K>, name: &str, kind: &str, status: &str, reasons: &[&str]) -> Result<String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let what = format!("{kind}={status} for {reasons:?}");
    object(api, name, &what, PATIENCE, |found| {
        let conditions = found.map(conditions).unwrap_or_default();
        let found = condition(&conditions, kind);
        let fits = found.filter(|c| c.status == status && reasons.contains(&c.reason.as_str()));
        Ok(fits.map(|c| c.message.clone()))
    })
    .await
}

/// The conditions in the status of any kind.
fn conditions<K: Serialize>(object: &K) -> Vec<Condition> {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    serde_json::from_value(value["status"]["conditions"].take()).unwrap_or_default()
}

/// Status of an object as one line: all of it, since a failure has no second chance to look.
fn describe<K: Serialize>(object: &K) -> String {
    let value = serde_json::to_value(object).unwrap_or(Value::Null);
    let name = value["metadata"]["name"].as_str().unwrap_or("?").to_owned();
    match value.get("status") {
        Some(status) => format!("{name}: {status}"),
        None => format!("{name}, without a status"),
    }
}
