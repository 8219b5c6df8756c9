//! Collects what people need to see of a component besides its volumes and objects: the logs of its pods and what the cluster says. For a
//! container of the same pod that has a key and no token. Nothing here fails as a whole: what can't be read is listed and the rest is there.

mod logs;
mod told;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crds::job::{Collected, Report};
use crds::reference::WorkloadRef;
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Error};
use serde_json::{Value, json};

use super::{Desk, diagnose, positive};
use crate::cluster;
use crate::failure::{Failure, Result};
use told::{Kind, NotCollected, Read};

/// What is collected besides logs.
const CLUSTER: &str = "cluster.json";
/// What is not there, and why.
const FAILURES: &str = "failures.json";
/// The binding of the account comes after its Job, and the API server tells nobody when it knows of it.
const RIGHTS: Duration = Duration::from_secs(60);
/// The longest wait for one answer of the API server.
const ANSWER: Duration = Duration::from_secs(20);
/// Most objects of a kind that are told.
const MOST: u32 = 1000;

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) namespace: &'a str,
    pub(super) workloads: &'a [WorkloadRef],
    pub(super) claims: &'a [String],
    pub(super) logs_since: SignedDuration,
    pub(super) within: SignedDuration,
    pub(super) missing: &'a [String],
}

pub(super) async fn collect(desk: &Desk, asked: Asked<'_>) -> Result<Report> {
    let to = desk.places.evidence();
    let mut collecting = Collecting {
        namespace: asked.namespace,
        now: (desk.environment.clock)(),
        begun: Instant::now(),
        within: positive("within", asked.within)?,
        granted: false,
        collected: Collected::default(),
        failures: Vec::new(),
    };
    for sentence in asked.missing {
        collecting.missed("the component", sentence);
    }
    match cluster::of_this_pod(&desk.environment, &desk.places).await {
        Ok(client) => collecting.read(desk, &client, &asked, &to).await,
        Err(failure) => collecting.missed("the Kubernetes API", failure),
    }
    let Collecting { mut collected, failures, .. } = collecting;
    collected.failure_count = failures.len() as u64;
    collected.failures = failures.iter().map(NotCollected::told).collect();
    for failure in &collected.failures {
        tracing::warn!("not collected: {failure}");
    }
    if let Err(why) = written(&to.join(FAILURES), &json!(failures)) {
        tracing::warn!("not collected: {FAILURES}: {why}");
    }
    Ok(Report::Collected(collected))
}

/// What the container before could not collect, as it has written it down.
pub(super) fn failures(evidence: &Path) -> Vec<NotCollected> {
    let file = evidence.join(FAILURES);
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|e| {
            vec![NotCollected { what: format!("what {FAILURES} names"), why: e.to_string() }]
        }),
        Err(_) => Vec::new(),
    }
}

/// One collection while it goes on.
struct Collecting<'a> {
    namespace: &'a str,
    now: Timestamp,
    begun: Instant,
    within: Duration,
    /// The account has its rights: what is refused now is refused for good.
    granted: bool,
    collected: Collected,
    failures: Vec<NotCollected>,
}

impl Collecting<'_> {
    async fn read(&mut self, desk: &Desk, client: &Client, asked: &Asked<'_>, to: &Path) {
        let mut read = Read { nodes_and_volumes: self.sent(desk), ..Read::default() };
        for kind in Kind::ALL {
            desk.telling.say(format!("look at {}", kind.words()));
            match self.list(client, kind).await {
                Ok(listed) => {
                    read.listed.insert(kind, listed);
                }
                Err(why) => self.missed(kind.words(), why),
            }
        }
        match self.in_time(client.apiserver_version()).await {
            Ok(version) => read.server = json!(version),
            Err(why) => self.missed("the version of the API server", why),
        }
        (read.interfaces, read.routes) = diagnose::network();
        read.disks = asked.claims.iter().map(|claim| self.disk(desk, claim)).collect();
        let told = told::cluster(&read, asked, self.now);
        if let Err(why) = written(&to.join(CLUSTER), &told) {
            self.missed(CLUSTER, why);
        }
        let pods = read.listed.remove(&Kind::Pod).unwrap_or_default();
        let own = pods.iter().filter(|pod| told::belongs(pod, asked.workloads, asked.claims));
        self.logs(desk, client, own, asked.logs_since, to).await;
    }

    fn missed(&mut self, what: impl Into<String>, why: impl ToString) {
        self.failures.push(NotCollected { what: what.into(), why: why.to_string() });
    }

    /// What the controller saw beyond the namespace.
    fn sent(&mut self, desk: &Desk) -> Vec<Value> {
        let mut sent = Vec::new();
        for text in &desk.environment.objects {
            match serde_json::from_str(text) {
                Ok(Value::Object(said)) if said.get("kind") == Some(&json!("NotCollected")) => {
                    let text =
                        |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                    self.missed(text("what"), text("why"));
                }
                Ok(object) => sent.push(object),
                Err(e) => self.missed("a node or a volume", e),
            }
        }
        sent
    }

    /// How full a volume is that is mounted here.
    fn disk(&mut self, desk: &Desk, claim: &str) -> Value {
        let look = desk.places.source(claim).and_then(|path| {
            let unseen = |e: std::io::Error| Failure::unexpected(format!("volume of claim {claim}"), &e);
            rustix::fs::statvfs(&path).map_err(|e| unseen(e.into()))
        });
        match look {
            Ok(stat) => {
                let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
                json!({"claim": claim, "bytes": bytes(stat.f_blocks), "freeBytes": bytes(stat.f_bavail)})
            }
            Err(why) => {
                self.missed(format!("the free space of claim {claim}"), &why);
                json!({"claim": claim, "unknown": why.message})
            }
        }
    }

    fn left(&self) -> Duration {
        self.within.saturating_sub(self.begun.elapsed())
    }

    /// An answer of the API server, waited for as long as there is time.
    async fn in_time<T>(
        &self,
        asked: impl Future<Output = std::result::Result<T, Error>>,
    ) -> std::result::Result<T, String> {
        match tokio::time::timeout(self.left().min(ANSWER), asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(cluster::said(&error)),
            Err(_) if self.left().is_zero() => Err(self.out_of_time()),
            Err(_) => Err(format!("the API server did not answer within {}s", ANSWER.as_secs())),
        }
    }

    fn out_of_time(&self) -> String {
        format!("there was no time left, {}s were given", self.within.as_secs())
    }

    async fn list(&mut self, client: &Client, kind: Kind) -> std::result::Result<Vec<Value>, String> {
        let (group, version, name) = kind.resource();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, name));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), self.namespace, &resource);
        let params = ListParams::default().limit(MOST);
        let params = if kind == Kind::Event { params.fields("type=Warning") } else { params };
        loop {
            let answer = tokio::time::timeout(self.left().min(ANSWER), api.list(&params)).await;
            let listed = match answer {
                Ok(Err(error)) if !self.granted && cluster::not_yet(&error, self.begun, RIGHTS) => {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    continue;
                }
                Ok(Ok(listed)) => listed,
                Ok(Err(error)) => return Err(cluster::said(&error)),
                Err(_) if self.left().is_zero() => return Err(self.out_of_time()),
                Err(_) => return Err(format!("the API server did not answer within {}s", ANSWER.as_secs())),
            };
            self.granted = true;
            if listed.metadata.continue_.as_deref().is_some_and(|more| !more.is_empty()) {
                self.missed(kind.words(), format!("there are more than the {MOST} that are told"));
            }
            return Ok(listed.items.iter().map(|object| json!(object)).collect());
        }
    }
}

fn written(path: &Path, value: &Value) -> std::result::Result<(), String> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    text.push('\n');
    put(path, text.as_bytes())
}

fn put(path: &Path, bytes: &[u8]) -> std::result::Result<(), String> {
    let put = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, bytes)
    };
    put().map_err(|e: std::io::Error| format!("it can't be written to {}: {e}", path.display()))
}
