//! Lists the names of the namespace's ConfigMaps and Secrets for an audit. It asks the API server for metadata alone, so that no value ever comes here,
//! and leaves annotations out: kubectl keeps there what was applied. For a container of the same pod that has a key and no token.

use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crds::job::Report;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL};
use jiff::SignedDuration;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::{Desk, positive};
use crate::audit::names::{Inventory, Listed};
use crate::capture::unwritable;
use crate::cluster;
use crate::failure::Result;

/// Where it is left.
const FILE: &str = "inventory.json";
/// The binding of the account comes after its Job, and the API server tells nobody when it knows of it.
const RIGHTS: Duration = Duration::from_secs(60);
/// The longest wait for one answer of the API server.
const ANSWER: Duration = Duration::from_secs(20);
/// Annotation of a Secret that holds a token of a ServiceAccount, which does not expire.
const TOKEN_OF: &str = "kubernetes.io/service-account.name";
/// Most objects of a kind.
const MOST: u32 = 5000;

pub(super) async fn list(desk: &Desk, namespace: &str, within: SignedDuration) -> Result<Report> {
    let end = Instant::now() + positive("within", within)?;
    let mut inventory = Inventory::default();
    match cluster::of_this_pod(&desk.environment, &desk.places).await {
        Ok(client) => {
            kind::<ConfigMap>(&client, namespace, end, &mut inventory).await;
            kind::<Secret>(&client, namespace, end, &mut inventory).await;
        }
        Err(failure) => inventory.missed.push(("ConfigMaps and Secrets".to_owned(), failure.message)),
    }
    let dir = desk.places.evidence();
    let file = dir.join(FILE);
    let text = serde_json::to_vec(&inventory).expect("an inventory holds only strings and times");
    fs::create_dir_all(&dir).and_then(|()| fs::write(&file, text)).map_err(|e| unwritable(&file, &e))?;
    Ok(Report::Inventoried { names: inventory.objects.len() as u64 })
}

/// What the container before has listed; absent where nobody was asked to.
pub(super) fn left(evidence: &Path) -> Option<std::result::Result<Inventory, String>> {
    let text = fs::read(evidence.join(FILE)).ok()?;
    Some(serde_json::from_slice(&text).map_err(|e| e.to_string()))
}

async fn kind<K>(client: &Client, namespace: &str, end: Instant, inventory: &mut Inventory)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let word = K::kind(&());
    match metadata::<K>(client, namespace, end).await {
        Ok((objects, more)) => {
            inventory.objects.extend(objects);
            if more {
                inventory.missed.push((format!("{word}s"), format!("there are more than {MOST}")));
            }
        }
        Err(why) => inventory.missed.push((format!("{word}s"), why)),
    }
}

async fn metadata<K>(
    client: &Client,
    namespace: &str,
    end: Instant,
) -> std::result::Result<(Vec<Listed>, bool), String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().limit(MOST);
    let begun = Instant::now();
    let rights = RIGHTS.min(end.saturating_duration_since(begun));
    loop {
        let left = end.saturating_duration_since(Instant::now()).min(ANSWER);
        match tokio::time::timeout(left, api.list_metadata(&params)).await {
            Ok(Err(error)) if cluster::not_yet(&error, begun, rights) => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok(Ok(listed)) => {
                let more = listed.metadata.continue_.as_deref().is_some_and(|more| !more.is_empty());
                let word = K::kind(&());
                let objects = listed.items.iter().map(|object| told(&word, &object.metadata));
                return Ok((objects.collect(), more));
            }
            Ok(Err(error)) => return Err(cluster::said(&error)),
            Err(_) => return Err(format!("the API server did not answer within {}s", left.as_secs())),
        }
    }
}

/// An object by its metadata.
pub(crate) fn told(kind: &str, metadata: &ObjectMeta) -> Listed {
    let labels = metadata.labels.as_ref();
    let last =
        metadata.managed_fields.iter().flatten().max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    Listed {
        name: format!("{kind} {}", metadata.name.as_deref().unwrap_or_default()),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        manager: last.and_then(|entry| entry.manager.clone()),
        // A Secret is never ours: whoever writes the label on one gains nothing.
        ours: kind == "ConfigMap"
            && labels.is_some_and(|labels| labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY)),
        token_of: metadata.annotations.as_ref().and_then(|annotations| annotations.get(TOKEN_OF).cloned()),
    }
}
