//! The worst day: the namespace of the whole arXiv system was deleted, volumes, Secrets, policies and all. Namespace, repository with its
//! Secrets and one run are typed, and nothing else.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::run::{StepPhase, Verdict};
use crds::{BackupPolicy, RecoveryPoint, RecoveryRepository, RecoveryRun};
use futures::FutureExt;
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use serde_json::{Value, json};
use tests::writer::{Ledger, Server, Writer};

use super::{holds, load};
use crate::arxiv::{self, Mailer, Monitor, SCHOLARS, Truth};
use crate::manifests::{self, CHROMADB, REPOSITORY};
use crate::runner::Story;
use crate::scholar::Scholar;
use crate::stage::Stage;
use crate::wait;

pub const STORY: Story = Story {
    name: "complete-failure",
    promise: "a wholly deleted system comes back: one kubectl apply, every record, paper, mail, setting and Secret as it was",
    alone: false,
    play: |stage| play(stage).boxed(),
};

/// Papers that each scholar has in its own point, and those that the database's point has, which is younger.
const PAPERS: [(u64, u64); 2] = [(25, 30), (15, 20)];
/// Messages that were sent before the loss, and those that the mail server put off.
const SENT: [&str; 2] = ["All is well", "All is well again"];
const QUEUED: [&str; 3] = ["The disk is slow", "The disk is very slow", "The disk is gone"];

async fn play(stage: &Stage) -> Result<()> {
    let before = whole(stage).await?;
    stage.lose_namespace().await?;
    stage.say("the namespace is gone, and every volume of it");

    stage.make_namespace().await?;
    typed(stage, &before.repository).await?;
    stage.say("namespace, repository, its Secrets and one run are typed");
    let run = stage.succeeded("total").await?;
    recovered(&run, &before.points)?;
    stage.say(
        wait::condition(&run.status.clone().unwrap_or_default().conditions, "Ready")
            .map(|c| c.message.clone())
            .unwrap_or_default(),
    );

    let address = stage.chromadb_ready().await?;
    let chroma = &before.points[CHROMADB];
    holds(&address, &before.ledger, chroma).await?;
    stage.say("ChromaDB serves what the ledger says");
    let scholars = papers_are_back(stage, &Server::new(address)?, &before.papers).await?;
    mails_are_back(stage, &before.queue).await?;
    let rows = Monitor::serving(stage).await?.goes_on(&before.history, before.rows.clone()).await?;
    let back = as_they_are(stage).await?;
    for (name, what) in &before.objects {
        ensure!(back.get(name) == Some(what), "{name} was {what}, and is {:?}", back.get(name));
    }
    stage.say(format!("{rows} polls, {} objects as they were", before.objects.len()));
    goes_on(stage, &scholars).await
}

/// What there was before the loss.
pub(super) struct Before {
    pub(super) points: BTreeMap<&'static str, RecoveryPoint>,
    ledger: Ledger,
    papers: Vec<Truth>,
    queue: Vec<Value>,
    history: Vec<Value>,
    /// One of these rows is the last one of the monitor's point.
    rows: RangeInclusive<usize>,
    objects: BTreeMap<String, Value>,
    repository: RecoveryRepository,
}

/// The system at work, and a point of each component; the database's is the youngest, so that no other knows of what it hasn't.
pub(super) async fn whole(stage: &Stage) -> Result<Before> {
    let image = &stage.place.images.chromadb;
    let objects = [arxiv::mail_server(image), arxiv::objects(image)].concat();
    let (address, _, ()) = tokio::try_join!(stage.chromadb(), stage.repository(), stage.apply(&objects))?;
    stage.apply(&arxiv::policies(REPOSITORY)).await?;
    let (scholars, monitor, mailer) =
        tokio::try_join!(serving(stage), Monitor::serving(stage), Mailer::serving(stage))?;
    try_join_all(arxiv::POLICIES.map(|policy| stage.armed(policy))).await?;
    stage.say("five components answer, their policies are armed");

    let mut writer = Writer::start(address.clone(), load(11)).await?;
    for ((instance, scholar), (own, _)) in SCHOLARS.iter().zip(&scholars).zip(PAPERS) {
        instance.feed(scholar, 1..=own).await?;
        instance.agrees(scholar, own).await?;
    }
    mailer.send(&SENT).await?;
    mailer.has(0, SENT.len() as u64).await?;
    arxiv::refuse(stage).await?;
    mailer.send(&QUEUED).await?;
    monitor.sees_all_up(4).await?;
    let first = monitor.history().await?.len();
    let others = arxiv::POLICIES.iter().filter(|policy| **policy != CHROMADB);
    let mut points: BTreeMap<&str, RecoveryPoint> =
        try_join_all(others.map(|policy| async { anyhow::Ok((*policy, stage.capture(policy).await?)) }))
            .await?
            .into_iter()
            .collect();
    let rows = first..=monitor.history().await?.len();
    // Papers that the database's point has and theirs have not.
    for ((instance, scholar), (own, all)) in SCHOLARS.iter().zip(&scholars).zip(PAPERS) {
        instance.feed(scholar, own + 1..=all).await?;
    }
    let mut papers = Vec::new();
    let server = Server::new(address)?;
    for ((instance, scholar), (_, all)) in SCHOLARS.iter().zip(&scholars).zip(PAPERS) {
        instance.agrees(scholar, all).await?;
        papers.push(instance.truth(scholar, &server, all).await?);
    }
    let noted = Timestamp::now();
    writer.progress(60, Duration::from_secs(60)).await?;
    points.insert(CHROMADB, stage.capture(CHROMADB).await?);
    writer.progress(10, Duration::from_secs(60)).await?;
    let mut ledger = writer.stop().await?;
    for (instance, truth) in SCHOLARS.iter().zip(&papers) {
        truth.note(&mut ledger, instance, noted);
    }
    mailer.has(QUEUED.len() as u64, SENT.len() as u64).await?;
    let (queue, history) = (mailer.queue().await?, monitor.history().await?);
    let (objects, repository) = tokio::try_join!(as_they_are(stage), stage.get(REPOSITORY))?;
    Ok(Before { points, ledger, papers, queue, history, rows, objects, repository })
}

async fn serving(stage: &Stage) -> Result<Vec<Scholar>> {
    try_join_all(SCHOLARS.iter().map(|instance| instance.serving(stage))).await
}

/// All that a human does. The mail server is somebody else's, and was never away.
async fn typed(stage: &Stage, before: &RecoveryRepository) -> Result<()> {
    let fingerprint = before.status.as_ref().and_then(|status| status.key_fingerprint.clone());
    let mut repository = manifests::repository(REPOSITORY, &stage.place.s3, &stage.prefix);
    repository["spec"]["encryption"]["escrow"] =
        json!({"acknowledged": {"fingerprint": fingerprint.context("the key had no fingerprint")?}});
    let run = json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "RecoveryRun", "metadata": {"name": "total"},
        "spec": {"scenario": "CompleteFailure", "target": {"inPlace": {"confirm": stage.namespace}}}});
    stage.apply(&arxiv::mail_server(&stage.place.images.chromadb)).await?;
    stage
        .apply(&[
            manifests::s3_secret("s3", &stage.place.s3.writer),
            manifests::key_secret("repository-key", &stage.key),
            repository,
            run,
        ])
        .await
}

/// Points, order, checks and numbers.
fn recovered(run: &RecoveryRun, points: &BTreeMap<&str, RecoveryPoint>) -> Result<()> {
    let status = run.status.clone().unwrap_or_default();
    ensure!(status.verdict == Some(Verdict::Passed), "verdict {:?}", status.verdict);
    let chosen: BTreeMap<&str, &str> =
        status.points.iter().map(|point| (point.policy.as_str(), point.id.as_str())).collect();
    let captured: BTreeMap<&str, &str> =
        points.iter().map(|(policy, point)| (*policy, point.spec.id.as_str())).collect();
    ensure!(chosen == captured, "restored {chosen:?}, and not {captured:?}");
    let step = |name: &str| {
        let found = status.steps.iter().find(|step| step.name == name);
        found.with_context(|| format!("no step {name}"))
    };
    for step in &status.steps {
        let ended = matches!(step.phase, StepPhase::Done | StepPhase::Skipped);
        ensure!(ended, "step {} is {:?}: {}", step.name, step.phase, step.message);
    }
    let validated = step("Validate/chromadb")?.end;
    for instance in &SCHOLARS {
        let start = step(&format!("Start/{}", instance.name))?;
        ensure!(start.end > validated, "{} ran before its database was validated", instance.name);
    }
    // Nothing was there to be kept.
    ensure!(status.quarantine.is_empty(), "in quarantine: {:?}", status.quarantine);
    let mut checks = vec!["chromadb/corruption".to_owned(), "chromadb/counts".to_owned()];
    checks.extend(arxiv::POLICIES[1..].iter().map(|policy| format!("{policy}/workloads-ready")));
    checks.extend(arxiv::POLICIES.iter().map(|policy| format!("{policy}/operational")));
    checks.extend(SCHOLARS.iter().map(|instance| format!("{}/cronjobs-scheduled", instance.name)));
    checks.extend(SCHOLARS.iter().map(|instance| format!("{}/pipeline", instance.name)));
    checks.extend(arxiv::POLICIES.iter().map(|policy| format!("{policy}/backup-functional")));
    checks.extend([format!("{}/all-ready", arxiv::MONITORING), format!("{}/runs", arxiv::EMAIL)]);
    for check in &checks {
        let found = status.checks.iter().find(|found| found.name == *check);
        let found = found.with_context(|| format!("no check {check}"))?;
        ensure!(
            found.verdict == Verdict::Passed,
            "{check}: {} instead of {}",
            found.observed,
            found.expected
        );
    }
    ensure!(status.measured.len() == points.len(), "measured {:?}", status.measured);
    Ok(())
}

/// Each scholar is as it was, with the papers also that only the database had in its point; and what the database lacks it ingests by
/// itself.
async fn papers_are_back(stage: &Stage, server: &Server, before: &[Truth]) -> Result<Vec<Scholar>> {
    let scholars = serving(stage).await?;
    for (((instance, scholar), (_, all)), truth) in SCHOLARS.iter().zip(&scholars).zip(PAPERS).zip(before) {
        instance.agrees(scholar, all).await?;
        ensure!(instance.truth(scholar, server, all).await? == *truth, "{} is not as it was", instance.name);
        instance.finds(scholar, 7).await?;
        instance.forget(server, &[3, 4, all]).await?;
        instance.agrees(scholar, all).await?;
        ensure!(instance.truth(scholar, server, all).await? == *truth, "{} ingests otherwise", instance.name);
        let cron: CronJob = stage.get(&format!("{}-fetch", instance.name)).await?;
        let suspended = cron.spec.and_then(|spec| spec.suspend) == Some(true);
        ensure!(!suspended, "the CronJob of {} was left suspended", instance.name);
        stage.say(format!("{}: {all} papers, here and in ChromaDB", instance.name));
    }
    Ok(scholars)
}

/// What was queued is sent, and what was sent before is not sent again.
async fn mails_are_back(stage: &Stage, queued: &[Value]) -> Result<()> {
    ensure!(queued.len() == QUEUED.len(), "queued were {queued:?}");
    Mailer::serving(stage).await?.has(0, (SENT.len() + QUEUED.len()) as u64).await?;
    let received = arxiv::received(stage).await?;
    ensure!(received == queued, "the mail server got {received:?}, queued were {queued:?}");
    stage.say(format!("{} mails that were queued are sent", queued.len()));
    Ok(())
}

/// It works and is protected as before: the policies came back too.
async fn goes_on(stage: &Stage, scholars: &[Scholar]) -> Result<()> {
    for (instance, scholar) in SCHOLARS.iter().zip(scholars) {
        instance.fetches(stage, scholar).await?;
    }
    try_join_all(arxiv::POLICIES.map(|policy| stage.armed(policy))).await?;
    try_join_all([CHROMADB, SCHOLARS[0].name].map(|policy| stage.capture(policy))).await?;
    for instance in &SCHOLARS {
        let depends_on = stage.get::<BackupPolicy>(instance.name).await?.spec.depends_on;
        let still = depends_on.iter().any(|needed| needed.name == CHROMADB);
        ensure!(still, "{} depends on {depends_on:?}", instance.name);
    }
    Ok(())
}

/// What somebody wrote into each object; of a claim, what it asks for.
async fn as_they_are(stage: &Stage) -> Result<BTreeMap<String, Value>> {
    let claims = arxiv::CLAIMS.map(|claim| format!("persistentvolumeclaim/{claim}"));
    let names: Vec<String> = arxiv::OBJECTS.map(str::to_owned).into_iter().chain(claims).collect();
    let mut get = vec!["get", "--output", "json"];
    get.extend(names.iter().map(String::as_str));
    let listed: Value = serde_json::from_str(&stage.kubectl(&get).await?)?;
    let mut found = BTreeMap::new();
    for object in listed["items"].as_array().context("no objects")? {
        let mut spec = object["spec"].clone();
        for assigned in ["volumeName", "clusterIP", "clusterIPs"] {
            if let Some(spec) = spec.as_object_mut() {
                spec.remove(assigned);
            }
        }
        let name = format!("{}/{}", object["kind"], object["metadata"]["name"]);
        found.insert(name, json!([spec, object["data"], object["type"], object["metadata"]["labels"]]));
    }
    ensure!(found.len() == names.len(), "only {:?} are there", found.keys());
    Ok(found)
}
