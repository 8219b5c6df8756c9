//! The engine on a bad line to a real SeaweedFS. Whatever happens to any one request of a capture, it either completes and
//! verifies, or fails with a sentence; the point that was there before stays whole, and the next capture works.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod in_parts;
mod proxy;
mod pruning;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::store::{Patience, S3Options, S3Store, Store, Tally, Traffic, steady};
use engine::{
    Backup, Category, Level, Password, Repository, RestoreMode, backup, restore, silent, verify, verify_all,
};
use jiff::Timestamp;
use proxy::{Fault, FirstLists, Proxy, Seen};
use tests::seaweedfs::{BUCKET, SeaweedFs, WRITER};

/// Pauses of milliseconds: the attempts are what is tested, not the waiting.
const PATIENCE: Patience = Patience {
    attempts: 4,
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(4),
    total: Duration::from_secs(300),
};
/// Longer than any answer takes, however busy the machine is.
const LONG: Duration = Duration::from_secs(120);

async fn line_to(endpoint: &str, prefix: &str, timeout: Duration) -> (Arc<dyn Store>, Arc<Traffic>) {
    let options =
        S3Options { attempt_timeout: timeout, ..crate::s3::options(endpoint, &WRITER, BUCKET, prefix) };
    steady(Arc::new(S3Store::connect(options).await.unwrap()), PATIENCE, None)
}

fn password() -> Password {
    // A generated key: opened without a slow derivation, for it is opened often here.
    Password::new(format!("hfkey1-{}", "5a".repeat(32))).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A repository with one point, a source that moves on, and an honest line beside the bad one.
struct Scene {
    dir: tempfile::TempDir,
    prefix: String,
    honest: Repository,
    lists: FirstLists,
    timeout: Duration,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let prefix = format!("faulty/{name}").to_lowercase();
        let store = line_to(SeaweedFs::shared().endpoint(), &prefix, LONG).await.0;
        let honest = Repository::init(store, &password(), now()).await.unwrap();
        let scene = Self { dir, prefix, honest, lists: FirstLists::default(), timeout: LONG };
        fs::create_dir(scene.source()).unwrap();
        fs::write(scene.source().join("chroma.sqlite3"), noise(0, 300_000)).unwrap();
        backup(&scene.honest, scene.capture("first")).await.unwrap();
        let kept = std::process::Command::new("cp").arg("-a").arg(scene.source()).arg(scene.first()).status();
        assert!(kept.unwrap().success());
        scene
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn first(&self) -> PathBuf {
        self.dir.path().join("first")
    }

    fn capture(&self, attempt: &str) -> Backup {
        crate::s3::capture(&self.source(), attempt, now())
    }

    /// Captures something new over a line with this script. The result, how many requests it took, and what was counted.
    async fn over(
        &self,
        attempt: &str,
        seed: usize,
        script: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static,
    ) -> (engine::Result<()>, usize, Tally) {
        fs::write(self.source().join("new"), noise(seed, 60_000)).unwrap();
        let proxy = Proxy::to(SeaweedFs::shared().endpoint(), Arc::clone(&self.lists), script).await;
        let (store, traffic) = line_to(proxy.endpoint(), &self.prefix, self.timeout).await;
        let done = async {
            let repo = Repository::open(store, &password()).await?;
            backup(&repo, self.capture(attempt)).await.map(drop)
        };
        (done.await, proxy.count(), traffic.tally())
    }

    /// The point of this attempt, if there is one, is whole; a success has one, and a failure says something.
    async fn is_sound(&self, attempt: &str, done: &engine::Result<()>) {
        let catalogue = self.honest.points().await.unwrap();
        assert_eq!(catalogue.unreadable, [], "{attempt}");
        match self.honest.find_by_attempt(attempt).await.unwrap() {
            Some(point) => {
                let report = verify(&self.honest, &point, Level::Full, silent()).await.unwrap();
                assert!(report.passed(), "{attempt}: {:?}", report.findings);
            }
            None => assert!(done.is_err(), "{attempt}: success without a point"),
        }
        if let Err(refused) = done {
            let message = refused.to_string();
            assert!(message.contains(&self.prefix) && message.len() > 40, "{attempt}: {message}");
        }
    }

    async fn first_is_whole(&self) {
        let point = self.honest.find_by_attempt("first").await.unwrap().expect("it was committed");
        let target = self.dir.path().join("target");
        restore(&self.honest, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
        assert!(
            fs::read(target.join("chroma.sqlite3")).unwrap()
                == fs::read(self.first().join("chroma.sqlite3")).unwrap()
        );
    }

    async fn objects(&self) -> BTreeSet<String> {
        self.honest.store().list("").await.unwrap().into_iter().map(|object| object.name).collect()
    }

    /// With this fault at the nth request of a capture, for each n, from the same state each time; `passes` when the
    /// capture must succeed all the same.
    async fn suffers(&self, fault: Fault, passes: bool) {
        let before = self.objects().await;
        let (clean, requests, tally) = self.over("clean", 1, |_| None).await;
        clean.unwrap();
        assert!(requests > 10, "{requests} requests are too few to mean anything");
        assert_eq!((tally.retries, tally.failed), (0, 0));
        let mut repeated = 0;
        for n in 1..=requests {
            // A list can only be stale where something was written since.
            if fault != Fault::StaleList {
                for name in self.objects().await.difference(&before) {
                    self.honest.store().delete(name).await.unwrap();
                }
            }
            let attempt = format!("{fault:?} at {n}");
            let (done, came, tally) =
                self.over(&attempt, 1 + n, move |seen| (seen.number == n).then_some(fault)).await;
            assert!(came >= n, "{attempt}: only {came} requests came");
            if passes {
                assert!(done.is_ok(), "{attempt}: {}", done.unwrap_err());
            }
            repeated += tally.retries;
            self.is_sound(&attempt, &done).await;
        }
        if passes && !matches!(fault, Fault::WrongEtag | Fault::Slow) {
            // Not each: that something isn't there can be read off half an answer as well.
            assert!(repeated * 2 > requests as u64, "{fault:?} was noticed {repeated} times of {requests}");
        }
        let (next, ..) = self.over("next", 1_000, |_| None).await;
        next.unwrap();
        self.is_sound("next", &Ok(())).await;
        self.first_is_whole().await;
        assert_eq!(verify_all(&self.honest, Level::Full, silent()).await.unwrap().findings, []);
    }
}

/// One test a fault: `passes` where a capture must come through, `sound` where it may fail with a sentence.
macro_rules! faults {
    ($($name:ident: $fault:ident $passes:literal)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            Scene::new(stringify!($fault)).await.suffers(Fault::$fault, $passes).await;
        })*
    };
}

faults! {
    a_connection_dropped_before_the_request_arrives_costs_a_retry: DropBefore true
    a_connection_dropped_after_the_server_did_it_costs_a_retry: DropAfter true
    a_request_cut_in_half_costs_a_retry: CutRequest true
    an_answer_cut_in_half_costs_a_retry: CutAnswer true
    an_internal_error_costs_a_retry: InternalError true
    a_store_that_asks_to_slow_down_is_asked_again: SlowDown true
    a_load_balancer_without_a_backend_is_asked_again: Unavailable true
    a_wrong_etag_is_believed_by_nobody: WrongEtag true
    a_write_that_is_acknowledged_and_forgotten_makes_no_broken_point: LyingOk false
    a_stale_list_makes_no_broken_point: StaleList false
    a_slow_line_costs_nothing_but_time: Slow true
    an_answer_that_ends_early_and_looks_whole_makes_no_broken_point: ShortAnswer false
    an_answer_with_another_bit_makes_no_broken_point: FlippedBit false
    a_page_of_somebody_between_makes_no_broken_point: ForeignPage false
    a_store_that_does_not_see_what_is_there_makes_no_broken_point: Unseen false
}

/// The same for a restore, which writes nothing to the store: it brings back what was captured or says why not, and then goes
/// on from what it left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_over_a_bad_line_is_whole_or_fails_with_a_sentence_and_goes_on() {
    let scene = Scene::new("restored").await;
    let target = scene.dir.path().join("restored");
    let first = scene.honest.find_by_attempt("first").await.unwrap().unwrap();
    let over = async |fault: Option<(usize, Fault)>| {
        let script = move |seen: &Seen| fault.filter(|(n, _)| seen.number == *n).map(|(_, fault)| fault);
        let proxy = Proxy::to(SeaweedFs::shared().endpoint(), Arc::clone(&scene.lists), script).await;
        let (store, _) = line_to(proxy.endpoint(), &scene.prefix, scene.timeout).await;
        let done = async {
            let repo = Repository::open(store, &password()).await?;
            let point = repo.find_by_attempt("first").await?;
            let Some(point) = point else { return Ok(false) };
            restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.map(|_| true)
        };
        (done.await, proxy.count())
    };
    let whole = || fs::read(target.join("chroma.sqlite3")).unwrap() == noise(0, 300_000);
    let (clean, requests) = over(None).await;
    assert!(clean.unwrap() && whole() && requests > 8, "{requests} requests");
    for (fault, passes) in [
        (Fault::DropBefore, true),
        (Fault::DropAfter, true),
        (Fault::CutAnswer, true),
        (Fault::InternalError, true),
        (Fault::SlowDown, true),
        (Fault::Slow, true),
        (Fault::WrongEtag, true),
        (Fault::ShortAnswer, false),
        (Fault::FlippedBit, false),
        (Fault::ForeignPage, false),
        (Fault::Unseen, false),
    ] {
        for n in 1..=requests {
            let why = format!("{fault:?} at {n}");
            let _ = fs::remove_dir_all(&target);
            match over(Some((n, fault))).await.0 {
                Ok(true) => assert!(whole(), "{why}: told as restored"),
                // The commit record was hidden from it: for the caller there is no such point.
                Ok(false) => assert!(!passes, "{why}: no point"),
                Err(refused) => {
                    let message = refused.to_string();
                    assert!(!passes && message.contains(&scene.prefix), "{why}: {message}");
                    restore(&scene.honest, &first, &target, RestoreMode::OntoExisting, silent())
                        .await
                        .unwrap();
                    assert!(whole(), "{why}: not gone on with");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_stalls_is_given_up_and_asked_for_again() {
    let scene = Scene { timeout: Duration::from_secs(10), ..Scene::new("stall").await };
    // Reads of the opening, of which the third is the slot: once in the middle is enough, each costs a timeout.
    let (done, _, tally) = scene.over("stalls", 1, |seen| (seen.number == 3).then_some(Fault::Stall)).await;
    done.unwrap();
    assert_eq!((tally.retries, tally.failed), (1, 1), "{tally:?}");
    scene.is_sound("stalls", &Ok(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_stays_ill_is_given_up_with_its_own_words() {
    let scene = Scene::new("ill").await;
    for (fault, category, words) in [
        (Fault::SlowDown, Category::Throttled, "503 SlowDown"),
        (Fault::InternalError, Category::Unreachable, "500 InternalError"),
        (Fault::DropAfter, Category::Unreachable, "tried 4 times"),
    ] {
        for from in [1, 6, 10] {
            let attempt = format!("{fault:?} from {from}");
            let (done, requests, tally) =
                scene.over(&attempt, from, move |seen| (seen.number >= from).then_some(fault)).await;
            let refused = done.unwrap_err();
            assert_eq!(refused.category(), category, "{attempt}: {refused}");
            let message = refused.to_string();
            assert!(message.contains(words) && message.contains("tried 4 times"), "{message}");
            assert!(requests < from + 40 && tally.retries >= 3, "{attempt}: {requests} requests, {tally:?}");
        }
    }
    scene.first_is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_stay_stale_hide_what_is_new_and_break_nothing() {
    let scene = Scene::new("stays-stale").await;
    let proxy =
        Proxy::to(SeaweedFs::shared().endpoint(), FirstLists::default(), |_| Some(Fault::StaleList)).await;
    let (store, _) = line_to(proxy.endpoint(), &scene.prefix, LONG).await;
    let stale = Repository::open(store, &password()).await.unwrap();
    for n in 1..4 {
        fs::write(scene.source().join("new"), noise(n, 60_000)).unwrap();
        let attempt = format!("stale {n}");
        let done = backup(&stale, scene.capture(&attempt)).await.map(drop);
        scene.is_sound(&attempt, &done).await;
    }
    scene.first_is_whole().await;
    assert_eq!(verify_all(&scene.honest, Level::Full, silent()).await.unwrap().findings, []);
}
