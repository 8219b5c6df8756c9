//! Where one story is played: a namespace of its own, a ChromaDB in it, a prefix in the bucket. Left as it was found.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::writer::{Address, Server};

use crate::bucket::Bucket;
use crate::manifests::{self, CHROMADB, REPOSITORY};
use crate::place::{LABEL, Place};
use crate::solo::Turn;
use crate::{install, wait};

/// How long things take at most on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One story's surroundings.
pub struct Stage {
    pub place: Arc<Place>,
    pub story: String,
    pub namespace: String,
    /// Prefix in the bucket, ending in a slash.
    pub prefix: String,
    /// The password of the repository.
    pub key: String,
    began: Instant,
    waited: OnceLock<Duration>,
}

impl Stage {
    /// A namespace of its own. Pods in it are held to the `baseline` level, as clusters of users often are.
    pub async fn set(place: &Arc<Place>, story: &str) -> Result<Self> {
        let stage = Self {
            place: place.clone(),
            story: story.to_owned(),
            prefix: format!("e2e-{}/{story}/", place.token),
            key: format!("{story}-{}-a-key-of-nobody-else", place.token),
            namespace: format!("hf-{story}-{}", place.token),
            began: Instant::now(),
            waited: OnceLock::new(),
        };
        stage.make_namespace().await?;
        Ok(stage)
    }

    /// Makes the namespace: at first, and after it was lost.
    pub async fn make_namespace(&self) -> Result<()> {
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace,
            "labels": {LABEL: self.place.token, "pod-security.kubernetes.io/enforce": "baseline"}}});
        let api: Api<Namespace> = Api::all(self.place.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(made)?).await?;
        Ok(())
    }

    /// Deletes the namespace with all that is in it, its volumes included; the bucket stays.
    pub async fn lose_namespace(&self) -> Result<()> {
        strike(&self.place, &self.namespace).await?;
        let volumes: Api<PersistentVolume> = Api::all(self.place.client.clone());
        wait::answer("every volume of the namespace to be gone", PATIENCE, || async {
            let left = volumes.list(&ListParams::default()).await?;
            let ours = left.items.iter().filter(|volume| {
                let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
                claim.and_then(|claim| claim.namespace.as_deref()) == Some(self.namespace.as_str())
            });
            ensure!(ours.count() == 0, "volumes are left");
            Ok(())
        })
        .await
    }

    /// Waits until nobody plays beside this story; from then on, and as long as what is returned lives, the installation,
    /// which is as users make it, is this story's.
    pub async fn alone(&self) -> Result<Turn> {
        let began = Instant::now();
        let turn = self.place.solo.turn().await;
        let _ = self.waited.set(began.elapsed());
        install::as_usual(&self.place).await?;
        self.say("plays alone");
        Ok(turn)
    }

    /// How long this story waited for its turn.
    pub fn waited(&self) -> Duration {
        self.waited.get().copied().unwrap_or_default()
    }

    /// Says what happens, when asked to.
    pub fn say(&self, text: impl AsRef<str>) {
        if self.place.verbose {
            println!("  [{} {:6.1} s] {}", self.story, self.began.elapsed().as_secs_f32(), text.as_ref());
        }
    }

    /// Objects of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.place.client.clone(), &self.namespace)
    }

    pub async fn get<K>(&self, name: &str) -> Result<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.api::<K>().get(name).await.with_context(|| format!("{name} in {}", self.namespace))
    }

    /// Changes an object as `kubectl patch --type merge` does.
    pub async fn patch<K>(&self, name: &str, change: &Value) -> Result<()>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(arguments);
        self.place.kubectl.run(&all, None).await
    }

    /// `kubectl apply` of these objects.
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        self.place.kubectl.run(&["--namespace", &self.namespace, "apply", "-f", "-"], Some(&list)).await?;
        Ok(())
    }

    /// `kubectl apply` of an object that must be refused; returns what the user reads.
    pub async fn refused(&self, object: &Value) -> Result<String> {
        let arguments = ["--namespace", &self.namespace, "apply", "-f", "-"];
        let printed = self.place.kubectl.attempt(&arguments, Some(&object.to_string())).await?;
        if printed.success {
            bail!("this was taken and should have been refused: {object}");
        }
        Ok(printed.err)
    }

    /// A ChromaDB that answers.
    pub async fn chromadb(&self) -> Result<Arc<dyn Address>> {
        self.apply(&manifests::chromadb(&self.place.images.chromadb)).await?;
        self.chromadb_ready().await
    }

    /// Waits until the ChromaDB answers; returns where.
    pub async fn chromadb_ready(&self) -> Result<Arc<dyn Address>> {
        let api = self.api::<StatefulSet>();
        wait::object(&api, CHROMADB, "a ready ChromaDB", PATIENCE, |set| {
            let ready = set.and_then(|s| s.status.as_ref()).and_then(|s| s.ready_replicas);
            Ok((ready == Some(1)).then_some(()))
        })
        .await?;
        let address = self.place.reach.service(&self.namespace, CHROMADB).await?;
        let server = Server::new(address.clone())?;
        wait::answer("ChromaDB's heartbeat", Duration::from_secs(20), || server.heartbeat()).await?;
        Ok(address)
    }

    /// The Secrets and a RecoveryRepository that is Ready, its key acknowledged by the fingerprint in its status.
    pub async fn repository(&self) -> Result<RecoveryRepository> {
        self.apply(&[
            manifests::s3_secret("s3", &self.place.s3.writer),
            manifests::key_secret("repository-key", &self.key),
            manifests::repository(REPOSITORY, &self.place.s3, &self.prefix),
        ])
        .await?;
        self.acknowledge(REPOSITORY).await
    }

    /// Waits for the fingerprint, writes it into the spec as the user does, waits for Ready.
    pub async fn acknowledge(&self, name: &str) -> Result<RecoveryRepository> {
        let api = self.api::<RecoveryRepository>();
        let fingerprint = wait::object(&api, name, "the key's fingerprint", PATIENCE, |repo| {
            Ok(repo.and_then(|r| r.status.as_ref()).and_then(|s| s.key_fingerprint.clone()))
        })
        .await?;
        let escrow =
            json!({"spec": {"encryption": {"escrow": {"acknowledged": {"fingerprint": fingerprint}}}}});
        self.patch::<RecoveryRepository>(name, &escrow).await?;
        wait::ready(&api, name).await
    }

    /// The policy `chromadb`, armed, nothing in it that has a default.
    pub async fn policy(&self) -> Result<BackupPolicy> {
        self.apply(&[manifests::policy(CHROMADB, REPOSITORY)]).await?;
        self.armed(CHROMADB).await
    }

    /// The same with a schedule whose slots lie far from now: the newest point is the one that the story asked for.
    pub async fn quiet_policy(&self) -> Result<BackupPolicy> {
        let minute = Timestamp::now().as_second().rem_euclid(3600) / 60;
        let mut made = manifests::policy(CHROMADB, REPOSITORY);
        made["spec"]["schedule"] = json!({"cron": format!("{} * * * *", (minute + 40) % 60)});
        made["spec"]["objectives"] = json!({"rpo": "2h", "rto": "4h"});
        self.apply(&[made]).await?;
        self.armed(CHROMADB).await
    }

    /// Waits until a policy is Ready.
    pub async fn armed(&self, name: &str) -> Result<BackupPolicy> {
        wait::ready(&self.api(), name).await
    }

    /// ChromaDB, repository and policy: what most stories begin with.
    pub async fn protected_chromadb(&self) -> Result<Arc<dyn Address>> {
        let (address, _) = tokio::try_join!(self.chromadb(), self.repository())?;
        self.say("ChromaDB answers, the repository is Ready");
        self.quiet_policy().await?;
        self.say("the policy is armed");
        Ok(address)
    }

    /// Asks for a capture as the user does, by an annotation; does not wait. Returns the time asked with.
    pub async fn request_capture(&self, policy: &str) -> Result<Timestamp> {
        let now = Timestamp::now();
        let asked = json!({"metadata": {"annotations": {crds::reference::REQUESTED_AT: now.to_string()}}});
        self.patch::<BackupPolicy>(policy, &asked).await?;
        Ok(now)
    }

    /// A capture now: waits until its point is Available.
    pub async fn capture(&self, policy: &str) -> Result<RecoveryPoint> {
        let asked = self.request_capture(policy).await?;
        let point = self.captured_after(policy, asked).await?;
        let content = point.status.as_ref().and_then(|s| s.chroma_db.as_ref());
        self.say(format!("point {} with {:?} records", point.name_any(), content.map(|c| c.records)));
        Ok(point)
    }

    /// The first Available point that was asked for and whose consistency time lies after `time`.
    pub async fn captured_after(&self, policy: &str, time: Timestamp) -> Result<RecoveryPoint> {
        let api = self.api::<RecoveryPoint>();
        let waiting = wait::any(&api, "", "an Available point", PATIENCE, |point: &RecoveryPoint| {
            let Some(status) = point.status.as_ref().filter(|_| point.spec.policy == policy) else {
                return Ok(None);
            };
            let young = status.consistency_time.is_some_and(|t| t >= time)
                && status.origin == Some(crds::policy::Origin::Requested);
            match status.phase {
                Some(crds::point::PointPhase::Available) if young => Ok(Some(point.clone())),
                Some(crds::point::PointPhase::Quarantined) if young => {
                    bail!("point {} is Quarantined: {:?}", point.name_any(), status.conditions)
                }
                _ => Ok(None),
            }
        });
        match waiting.await {
            Ok(point) => Ok(point),
            Err(error) => {
                let policy = self.get::<BackupPolicy>(policy).await?;
                Err(error).with_context(|| format!("the policy says: {}", json!(policy.status)))
            }
        }
    }

    /// Waits until the run has ended in any way.
    pub async fn ended(&self, run: &str) -> Result<RecoveryRun> {
        let limit = Duration::from_secs(240);
        wait::object(&self.api::<RecoveryRun>(), run, "the end of the run", limit, |seen| {
            let status = seen.and_then(|r| r.status.as_ref());
            let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
            let ended = ["Complete", "Failed"]
                .iter()
                .any(|kind| wait::condition(conditions, kind).is_some_and(|c| c.status == "True"));
            Ok(seen.filter(|_| ended).cloned())
        })
        .await
    }

    /// Waits until the run has Succeeded; its failure is ours.
    pub async fn succeeded(&self, run: &str) -> Result<RecoveryRun> {
        let ended = self.ended(run).await?;
        let status = ended.status.clone().unwrap_or_default();
        if status.phase != Some(crds::run::RunPhase::Succeeded) {
            bail!("run {run} ended as {:?}: {}", status.phase, json!(status.conditions));
        }
        Ok(ended)
    }

    /// Waits until these points are on hold in the bucket, and no others.
    pub async fn held_in_the_bucket(&self, held: &[&RecoveryPoint]) -> Result<()> {
        let wanted: BTreeSet<&str> = held.iter().map(|point| point.spec.id.as_str()).collect();
        let api = self.api::<RecoveryRepository>();
        wait::object(&api, REPOSITORY, "the holds in the bucket", PATIENCE, |repository| {
            let round = repository.and_then(|r| r.status.as_ref()).and_then(|s| s.marks.as_ref());
            let told = round.filter(|round| round.finished.is_some());
            let same =
                told.is_some_and(|r| r.told.iter().map(|h| h.point.as_str()).eq(wanted.iter().copied()));
            Ok(same.then_some(()))
        })
        .await
    }

    /// Our part of the bucket.
    pub async fn bucket(&self) -> Result<Bucket> {
        Bucket::open(&self.place.s3, &self.prefix).await
    }

    /// Takes everything away: the namespace, its volumes, its objects in the bucket.
    pub async fn strike(&self) -> Result<()> {
        strike(&self.place, &self.namespace).await?;
        self.bucket().await?.empty().await
    }
}

/// Removes a namespace and every volume that a claim in it holds or held, those set to Retain included.
pub async fn strike(place: &Place, namespace: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let volumes: Api<PersistentVolume> = Api::all(place.client.clone());
    let begin = namespaces.delete(namespace, &DeleteParams::default()).await;
    if let Err(kube::Error::Api(status)) = &begin
        && status.code != 404
    {
        begin?;
    }
    for volume in volumes.list(&ListParams::default()).await? {
        let claim = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
        if claim.and_then(|c| c.namespace.as_deref()) == Some(namespace) {
            let delete = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
            let name = volume.name_any();
            match volumes.patch(&name, &PatchParams::default(), &Patch::Merge(delete)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => drop(other?),
            }
        }
    }
    wait::object(&namespaces, namespace, "the namespace to be gone", PATIENCE, |seen| {
        Ok(seen.is_none().then_some(()))
    })
    .await
}

/// Marks a node that a story has cordoned, so that whoever comes after a killed one finds it.
const CORDONED: &str = "e2e.holdfast.dev/cordoned";

/// Lets nothing new be put on a node.
pub async fn cordon(place: &Place, node: &str) -> Result<()> {
    place.kubectl.run(&["label", "--overwrite", "node", node, &format!("{CORDONED}=yes")], None).await?;
    place.kubectl.run(&["cordon", node], None).await?;
    Ok(())
}

/// Undoes it on every node.
pub async fn uncordon(place: &Place) -> Result<()> {
    let selector = format!("--selector={CORDONED}");
    if place.kubectl.run(&["get", "nodes", &selector, "--output=name"], None).await?.trim().is_empty() {
        return Ok(());
    }
    place.kubectl.run(&["uncordon", &selector], None).await?;
    place.kubectl.run(&["label", "nodes", &selector, &format!("{CORDONED}-")], None).await?;
    Ok(())
}

/// Removes what a killed run left: namespaces with our label, the installation's excepted, and cordons.
pub async fn sweep_stories(place: &Place) -> Result<()> {
    uncordon(place).await?;
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let left = namespaces.list(&ListParams::default().labels(&format!("{LABEL},{LABEL}!=system"))).await?;
    let strikes = left.items.iter().map(|n| {
        let name = n.name_any();
        let prefix =
            n.metadata.labels.as_ref().and_then(|l| l.get(LABEL)).map(|token| format!("e2e-{token}/"));
        async move {
            strike(place, &name).await?;
            match prefix {
                Some(prefix) => Bucket::open(&place.s3, &prefix).await?.empty().await,
                None => Ok(()),
            }
        }
    });
    futures::future::try_join_all(strikes).await?;
    // What rehearsals of those have left, whose controllers are gone.
    let left = namespaces.list(&ListParams::default().labels(crds::reference::SANDBOX_LABEL)).await?;
    let names: Vec<String> = left.items.iter().map(|namespace| namespace.name_any()).collect();
    futures::future::try_join_all(names.iter().map(|name| strike(place, name))).await?;
    Ok(())
}
