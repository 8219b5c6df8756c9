//! The main job told as a story, with real documents and their real embeddings: a ChromaDB is protected, written to, captured
//! twice, destroyed and recovered, and held against the writer's own ledger.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use crds::run::{RecoveryRunStatus, RunPhase, StepPhase};
use crds::{RecoveryPoint, RecoveryRun};
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tests::writer::{Ledger, Load, Record, Server, Writer, fill};

use crate::manifests::{self, CHROMADB, CLAIM, REPOSITORY};
use crate::place::Place;
use crate::runner::Leave;
use crate::stage::{self, PATIENCE, Stage};
use crate::{damage, install, runner, stories, wait};

/// Runs the demo; true when everything came out as told.
pub async fn run(vectors: &Path, leave: Leave) -> Result<bool> {
    let place = Arc::new(Place::find(false).await?);
    stage::sweep_stories(&place).await?;
    let told = tokio::select! {
        told = tell(&place, vectors) => told,
        () = runner::interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = &told {
        println!("\n{error:#}");
    }
    println!("\nTaking everything away again.");
    if leave != Leave::Everything {
        stage::sweep_stories(&place).await?;
        install::remove(&place).await?;
    }
    Ok(told.is_ok())
}

/// One line of the file of documents.
#[derive(Deserialize)]
struct Line {
    id: String,
    collection: String,
    document: String,
    metadata: Map<String, Value>,
    embedding: Vec<f32>,
}

type Library = BTreeMap<String, BTreeMap<String, Record>>;

fn read(vectors: &Path) -> Result<Library> {
    let file =
        std::fs::File::open(vectors).with_context(|| format!("{} can't be read", vectors.display()))?;
    let mut library = Library::new();
    for line in BufReader::new(file).lines() {
        let line: Line = serde_json::from_str(&line?).context("a line of the file of documents")?;
        let record = Record { vector: line.embedding, document: line.document, metadata: line.metadata };
        library.entry(line.collection).or_default().insert(line.id, record);
    }
    ensure!(!library.is_empty(), "{} holds no document", vectors.display());
    Ok(library)
}

async fn tell(place: &Arc<Place>, vectors: &Path) -> Result<()> {
    let began = Instant::now();
    chapter("Holdfast is installed, as anybody installs it");
    timed("helm install holdfast charts/holdfast --namespace holdfast-system", install::install(place))
        .await?;
    let stage = Stage::set(place, "demo").await?;

    chapter("A ChromaDB with real documents, and an application that keeps writing to it");
    let address = timed("kubectl apply -f chromadb.yaml", stage.chromadb()).await?;
    let library = read(vectors)?;
    let documents: usize = library.values().map(BTreeMap::len).sum();
    let what = format!("{documents} docstrings of Python's library with their all-MiniLM-L6-v2 embeddings");
    let ledger = timed(&what, fill(address.clone(), &library, 100, 100, Ledger::default())).await?;
    let load = Load {
        collections: library
            .into_iter()
            .map(|(name, records)| (name, Arc::new(records.into_values().collect::<Vec<_>>())))
            .collect(),
        ..Load::synthetic(2026, 0, 384)
    };

    chapter("Protection: a repository, a policy, and nothing else");
    timed("kubectl apply -f repository.yaml; its key is written down and acknowledged", stage.repository())
        .await?;
    timed("kubectl apply -f policy.yaml", stage.quiet_policy()).await?;
    let mut writer = Writer::resume(address, load, ledger).await?;
    writer.progress(30, PATIENCE).await?;
    timed("a capture while the application writes", stage.capture(CHROMADB)).await?;
    writer.progress(40, PATIENCE).await?;
    let point = timed("a second one, later", stage.capture(CHROMADB)).await?;
    writer.progress(20, PATIENCE).await?;
    table(&stage, &["get", "hfrepo,hfpolicy,hfpoint"]).await?;
    let ledger = writer.stop().await?;
    let pause = longest_pause(&stage, &ledger).await?;
    println!(
        "  While they were taken no request of the application took longer than {:.2} s.",
        pause.as_secs_f32()
    );

    chapter("The disaster");
    timed(
        "4 KiB pages of the database and of its vectors are overwritten, in place",
        damage::overwrite_pages(&stage, CLAIM),
    )
    .await?;
    let declared = Timestamp::now();
    println!("  The failure is declared at {declared:.0}. Both clocks run.");

    chapter("The recovery: one object");
    let mut run = manifests::run("db-corrupted", &stage.namespace);
    run["spec"]["incident"] =
        json!({"detectedAt": declared.to_string(), "summary": "pages of chroma.sqlite3 overwritten"});
    println!("$ kubectl apply -f run.yaml\n  {}", run["spec"]);
    stage.apply(&[run]).await?;
    let status = watch(&stage, "db-corrupted").await?;
    table(&stage, &["get", "hfrun"]).await?;
    table(&stage, &["get", "pvc"]).await?;

    chapter("The proof");
    let address = stage.chromadb_ready().await?;
    let found = stories::holds(&address, &ledger, &point).await?;
    prove(&stage, &ledger, &point, &found, &status).await?;
    let measured = status.measured.first().context("nothing was measured")?;
    println!("\n  RTO {}   from the declared failure to validation passed", measured.rto);
    let rpo = measured.rpo.as_deref().unwrap_or("none");
    println!("  RPO {rpo}   what was written in that time before the failure is lost");
    println!("  longest wait of a writer during a capture: {:.2} s", pause.as_secs_f32());
    println!("  the whole story took {:.0} s", began.elapsed().as_secs_f32());
    Ok(())
}

/// The longest that a request waited that was under way during any capture.
async fn longest_pause(stage: &Stage, ledger: &Ledger) -> Result<Duration> {
    let points = stage.api::<RecoveryPoint>().list(&kube::api::ListParams::default()).await?;
    let mut longest = None;
    for point in &points {
        let (from, content) = stories::content(point)?;
        longest = longest.max(ledger.longest_wait(from, content.released_at));
    }
    longest.context("the application did not write during a capture")
}

/// Prints each step as it ends; returns the status at the end.
async fn watch(stage: &Stage, name: &str) -> Result<RecoveryRunStatus> {
    let began = Instant::now();
    let mut printed = 0;
    let limit = Duration::from_secs(240);
    let status = wait::object(&stage.api::<RecoveryRun>(), name, "the end of the run", limit, |run| {
        let status = run.and_then(|r| r.status.clone()).unwrap_or_default();
        while let Some(step) = status.steps.get(printed) {
            if !matches!(step.phase, StepPhase::Done | StepPhase::Skipped | StepPhase::Failed) {
                break;
            }
            let phase = format!("{:?}", step.phase);
            println!(
                "  {:>5.1} s  {phase:<7} {:<24} {}",
                began.elapsed().as_secs_f32(),
                step.name,
                step.message
            );
            printed += 1;
        }
        let ended = matches!(status.phase, Some(RunPhase::Succeeded | RunPhase::Failed));
        Ok(ended.then_some(status))
    })
    .await?;
    if status.phase != Some(RunPhase::Succeeded) {
        crate::evidence::print(&stage.place, &stage.namespace).await;
        bail!("the recovery failed: {}", json!(status.conditions));
    }
    Ok(status)
}

async fn prove(
    stage: &Stage,
    ledger: &Ledger,
    point: &RecoveryPoint,
    found: &tests::writer::truth::Found,
    status: &RecoveryRunStatus,
) -> Result<()> {
    let (_, content) = stories::content(point)?;
    println!("  Holdfast's own checks, against what point {} recorded:", point.name_any());
    for check in &status.checks {
        println!(
            "    {:?}  {:<24} expected {}, observed {}",
            check.verdict, check.name, check.expected, check.observed
        );
    }
    println!(
        "  The writer's ledger of {} requests, read record by record through ChromaDB:",
        ledger.requests()
    );
    for (collection, count) in &found.counts {
        println!(
            "    {collection:<18} {count:>6} records: every id, vector, document and metadata value is equal"
        );
    }
    println!(
        "    {} requests were under way at the cut, {} of them are in, whole; {} records as recorded",
        found.in_between, found.included, content.records
    );
    let server = Server::new(stage.place.reach.service(&stage.namespace, CHROMADB).await?)?;
    server.heartbeat().await?;
    let kept = status.quarantine.first().context("nothing is in quarantine")?;
    println!(
        "  The destroyed volume was not touched: it is kept as claim {} (repository {REPOSITORY}).",
        kept.claim
    );
    Ok(())
}

fn chapter(title: &str) {
    println!("\n== {title}");
}

/// Says what is done, does it, says how long it took.
async fn timed<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let began = Instant::now();
    let done = work.await.with_context(|| what.to_owned())?;
    println!("  {:>5.1} s  {what}", began.elapsed().as_secs_f32());
    Ok(done)
}

/// What a user sees who types this.
async fn table(stage: &Stage, arguments: &[&str]) -> Result<()> {
    println!("$ kubectl {}", arguments.join(" "));
    for line in stage.kubectl(arguments).await?.lines() {
        println!("  {line}");
    }
    Ok(())
}
