//! `holdfast job`: one Request in, one Report out. Whatever happens, also a signal or a panic, a Report is written before the
//! process ends, and a lock that is held is released by the end of the process at the latest. Only a kill leaves no Report;
//! then the controller asks again with Confirm.

mod answers;
mod audit;
mod capture;
mod catalogue;
mod check_preserved;
mod clones;
mod collect;
mod confirm;
mod cut;
mod diagnose;
mod extract;
mod hook;
mod integrity;
pub(crate) mod inventory;
mod isolation;
mod losses;
mod mail;
mod maintain;
mod mark;
mod preserve;
mod probe;
mod recall;
mod recreate;
mod restore;
mod revoke;
mod revoked;
mod rotate;
mod seal;
mod server_auth;
mod validate;
mod verify;
mod verify_points;
mod write_report;

use std::path::{Path, PathBuf};

use crds::job::{self, FailureReason, Report, Request};
use engine::store::Location;
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::places::Places;
use crate::telling::Telling;

/// Arguments of the Job. All of them have the value that Kubernetes needs.
#[derive(Debug, clap::Args)]
pub struct JobArgs {
    /// File that Kubernetes reads the Report from
    #[arg(long, default_value = "/dev/termination-log", value_name = "FILE")]
    termination_log: PathBuf,
    /// A repository that is used instead of the bucket that the Request names
    #[arg(long, hide = true, value_name = "URL")]
    repository: Option<Location>,
}

/// What every request has at hand.
struct Desk {
    environment: Environment,
    places: Places,
    instead: Option<Location>,
    telling: Telling,
}

/// Carries out the Request of the environment and writes the Report.
pub async fn run(args: JobArgs, environment: Environment) -> Exit {
    let places = Places::below(environment.root.clone());
    let desk = Desk { environment, places, instead: args.repository, telling: Telling::new() };
    let done = tokio::select! {
        done = carry_out(&desk) => done,
        () = terminated() => {
            // The lock's process ends with ours: its end of the pipe closes.
            let asked = "the mover was asked to end (SIGTERM) before it was through; nothing half-done counts, try again";
            let report = Report::Failed(Failure::new(FailureReason::MoverFailed, asked).into());
            write(&args.termination_log, &report.to_message_of_turn());
            return Exit::Terminated;
        }
    };
    desk.telling.clear();
    let (report, exit) = match done {
        Ok(report) => (report, Exit::Done),
        Err(failure) => {
            let exit = match failure.reason.is_transient() && is_one_of_several(&desk) {
                // The pod goes on with the next one, which may fare better.
                true => Exit::Done,
                false => Exit::of(failure.reason),
            };
            tracing::error!(reason = ?failure.reason, "{failure}");
            (Report::Failed(failure.into()), exit)
        }
    };
    let message = match is_one_of_several(&desk) {
        true => report.to_message_of_turn(),
        false => report.to_message(),
    };
    if write(&args.termination_log, &message) { exit } else { Exit::Failed }
}

/// Without its Report a Job says nothing, so a Report that can't be written makes the Job fail.
fn write(to: &Path, message: &str) -> bool {
    tracing::info!("report: {message}");
    // Not created anew: the file is a mount of the kubelet's. A longer message of an earlier life must not show through.
    let written = std::fs::write(to, message);
    if let Err(e) = &written {
        tracing::error!("can't write the report to {}: {e}", to.display());
    }
    written.is_ok()
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(e) => {
            tracing::warn!("SIGTERM can't be heard: {e}");
            std::future::pending().await
        }
    }
}

async fn carry_out(desk: &Desk) -> Result<Report> {
    match request(desk)? {
        Request::Probe { repository } => probe::probe(desk, &repository).await,
        Request::Capture { repository, attempt, source, turn, cut } => {
            capture::capture(desk, &repository, attempt, source, turn, cut).await
        }
        Request::Preserve { repository, attempt, source, stopped } => {
            preserve::preserve(desk, &repository, attempt, source, stopped).await
        }
        Request::Cut { snapshots, chroma_db, patience } => {
            cut::cut(desk, snapshots, chroma_db, patience).await
        }
        Request::Hook { namespace, pods, hook, all_or_none, needed } => {
            hook::hook(desk, (&namespace, &pods), &hook, all_or_none, needed).await
        }
        Request::Diagnose { endpoints, patience } => {
            let patience = patience.map(|span| positive("patience", span)).transpose()?;
            Ok(diagnose::diagnose(&endpoints, patience).await)
        }
        Request::ProbeIsolation { endpoints, ready_on, patience } => {
            isolation::probe(desk, &endpoints, ready_on, positive("patience", patience)?).await
        }
        Request::Catalogue { repository, known } => catalogue::catalogue(desk, &repository, &known).await,
        Request::Judge { repository, rules, held } => maintain::judge(desk, &repository, &rules, &held).await,
        Request::Mark { repository, hold, release, trust, verified } => {
            let said = mark::Said { hold: &hold, release: &release, trust: &trust, verified: &verified };
            mark::mark(desk, &repository, said).await
        }
        Request::Revoke { repository, keeper, values, by } => {
            revoke::revoke(desk, &repository, &keeper, &values, &by).await
        }
        Request::Seal { repository, seal, by, reason } => {
            seal::seal(desk, &repository, seal, &by, &reason).await
        }
        Request::WriteReport { repository, path } => write_report::write(desk, &repository, &path).await,
        Request::Prune { repository, remove } => maintain::prune(desk, &repository, &remove).await,
        Request::Confirm { repository, attempt } => confirm::confirm(desk, &repository, &attempt).await,
        Request::CheckIntegrity { claim, data_path } => integrity::check(desk, &claim, &data_path).await,
        Request::CheckPreserved { repository, point, data_path } => {
            check_preserved::check(desk, &repository, &point, data_path.as_deref()).await
        }
        Request::VerifyPoints { repository, points, within } => {
            verify_points::verify(desk, &repository, &points, positive("within", within)?).await
        }
        Request::Extract { repository, point, run } => {
            extract::extract(desk, &repository, &point, &run).await
        }
        Request::Recreate { namespace, run, labels, storage_class, sandbox } => {
            let storage_class = storage_class.as_deref();
            let sandbox = sandbox.as_deref();
            let asked =
                recreate::Asked { namespace: &namespace, run: &run, labels: &labels, storage_class, sandbox };
            recreate::recreate(desk, asked).await
        }
        Request::Rotate { namespace, run, keeper, owner, rotations } => {
            let asked = rotate::Asked {
                namespace: &namespace,
                run: &run,
                keeper: &keeper,
                owner,
                rotations: &rotations,
            };
            rotate::rotate(desk, asked).await
        }
        Request::Collect { namespace, workloads, claims, logs_since, within, missing } => {
            let asked = collect::Asked {
                namespace: &namespace,
                workloads: &workloads,
                claims: &claims,
                logs_since,
                within,
                missing: &missing,
            };
            collect::collect(desk, asked).await
        }
        Request::Inventory { namespace, within } => inventory::list(desk, &namespace, within).await,
        Request::Audit(asked) => audit::audit(desk, *asked).await,
        Request::CountLoss(asked) => losses::count(desk, &asked).await,
        Request::Restore { repository, point, claims, run } => {
            restore::restore(desk, &repository, &point, &claims, &run).await
        }
        Request::VerifyOffline { repository, point, claims, data_path } => {
            verify::verify(desk, &repository, &point, &claims, data_path.as_deref()).await
        }
        Request::Validate {
            repository,
            point,
            url,
            auth,
            revoked,
            counts,
            queries,
            answers,
            mails,
            endpoints,
        } => {
            let (counts, queries, answers) = (&counts, &queries, &answers);
            let (mails, endpoints) = (&mails, &endpoints);
            let revoked = revoked.is_some();
            let own = validate::Own { counts, queries, answers, mails, endpoints, revoked };
            validate::validate(desk, &repository, &point, &url, auth.as_ref(), own).await
        }
        Request::Check { answers, mails, endpoints } => {
            answers::check(desk, &answers, &mails, &endpoints).await
        }
    }
}

fn is_one_of_several(desk: &Desk) -> bool {
    matches!(request(desk), Ok(Request::Capture { turn: Some(_), .. }))
}

fn request(desk: &Desk) -> Result<Request> {
    let text = desk.environment.request.as_deref().ok_or_else(|| {
        let name = job::REQUEST_ENV;
        Failure::new(
            FailureReason::InvalidRequest,
            format!("{name} is not set; `holdfast job` is started by the controller"),
        )
    })?;
    serde_json::from_str(text).map_err(|e| {
        let name = job::REQUEST_ENV;
        let why = format!("{name} can't be read ({e}): controller and mover are of different versions; upgrade both together");
        Failure::new(FailureReason::InvalidRequest, why)
    })
}

/// The id of a point that a Request names.
fn id_of(id: &str) -> Result<engine::PointId> {
    id.parse().map_err(|_| Failure::new(FailureReason::InvalidRequest, format!("`{id}` is no id of a point")))
}

/// A span of a Request that must not be negative.
fn positive(name: &str, span: jiff::SignedDuration) -> Result<std::time::Duration> {
    span.try_into().map_err(|_| {
        Failure::new(FailureReason::InvalidRequest, format!("{name} {span} must not be negative"))
    })
}

/// Refuses what would write to a repository that may only be read.
fn writable(access: &job::RepositoryAccess, refused: &str) -> Result<()> {
    if !access.read_only {
        return Ok(());
    }
    let why = format!("the repository is ReadOnly: {refused}. Set spec.mode: ReadWrite");
    Err(Failure::new(FailureReason::InvalidRequest, why))
}

impl Desk {
    /// Opens the Request's repository. Nothing is locked by what is opened so: a recovery must not fail for a lock.
    async fn open(&self, access: &job::RepositoryAccess) -> Result<engine::Repository> {
        self.open_with(access, None).await
    }

    /// Opens it to capture into, with the lock that the Request asks for.
    async fn open_locking(&self, access: &job::RepositoryAccess) -> Result<engine::Repository> {
        self.open_with(access, crate::access::lock_of(access, &self.environment)?).await
    }

    async fn open_with(
        &self,
        access: &job::RepositoryAccess,
        lock: Option<engine::store::Lock>,
    ) -> Result<engine::Repository> {
        let password = crate::access::mounted_key(&self.places)?;
        crate::access::open(access, self.store(access, lock).await?, &password).await
    }

    async fn store(
        &self,
        access: &job::RepositoryAccess,
        lock: Option<engine::store::Lock>,
    ) -> Result<std::sync::Arc<dyn engine::store::Store>> {
        crate::access::store_of(access, &self.environment, &self.places, self.instead.as_ref(), lock).await
    }
}
