//! A prune on a bad line, at each of its requests and from the same state each time: it removes what it was told to and condemns
//! what nothing needs, or says why not; what the other point needs is there, and the next prune finishes. What is condemned waits
//! an hour at least, so that sweeping is tested where time is made up.

use engine::{PointId, Prune, VerifyReport, prune};
use jiff::SignedDuration;

use super::*;

/// Two points, of which one is to go.
struct Pruning {
    scene: Scene,
    going: PointId,
    kept: PointId,
    /// What the store holds with both.
    full: Vec<(String, Vec<u8>)>,
}

impl Pruning {
    async fn new(fault: Fault) -> Self {
        let scene = Scene::new(&format!("prune-{fault:?}")).await;
        let kept = scene.honest.find_by_attempt("first").await.unwrap().unwrap().id;
        fs::write(scene.source().join("new"), noise(1, 60_000)).unwrap();
        let going = backup(&scene.honest, scene.capture("going")).await.unwrap().point.id;
        let mut full = Vec::new();
        for name in scene.objects().await {
            let bytes = scene.honest.store().get(&name, None).await.unwrap();
            full.push((name, bytes.to_vec()));
        }
        Self { scene, going, kept, full }
    }

    async fn put_back(&self) {
        let state = &self.full;
        let store = self.scene.honest.store();
        for name in self.scene.objects().await {
            if !state.iter().any(|(known, _)| *known == name) {
                store.delete(&name).await.unwrap();
            }
        }
        let there = self.scene.objects().await;
        for (name, bytes) in state.iter().filter(|(name, _)| !there.contains(name)) {
            store.put(name, bytes.clone().into()).await.unwrap();
        }
    }

    fn request(&self) -> Prune {
        let wait = SignedDuration::from_hours(24);
        Prune { remove: [self.going].into(), wait, waste: 30, dry_run: false, now: now() }
    }

    /// With this fault at the nth request, for each n. Returns how many requests there are.
    async fn suffers(&self, fault: Fault, passes: bool) -> usize {
        for n in 1.. {
            self.put_back().await;
            let why = format!("{fault:?} at {n}");
            let script = move |seen: &Seen| (seen.number == n).then_some(fault);
            let lists = Arc::clone(&self.scene.lists);
            let proxy = Proxy::to(SeaweedFs::shared().endpoint(), lists, script).await;
            let (store, _) = line_to(proxy.endpoint(), &self.scene.prefix, LONG).await;
            let done = async {
                let repo = Repository::open(store, &password()).await?;
                prune(&repo, &self.request(), silent()).await
            };
            let done = done.await;
            if let Err(refused) = &done {
                let message = refused.to_string();
                assert!(!passes && message.len() > 40, "{why}: {message}");
            }
            assert_eq!(self.verified(&why).await.findings, [], "{why}");
            self.an_hour_passes().await;
            prune(&self.scene.honest, &self.request(), silent()).await.unwrap();
            // What a store that lied made it forget of its index is found again.
            let report = self.verified(&why).await;
            assert!(report.passed(), "{why}, then pruned again: {report:?}");
            let left = self.scene.honest.points().await.unwrap();
            let ids: Vec<PointId> = left.points.iter().map(|point| point.id).collect();
            assert_eq!((ids, left.unreadable), (vec![self.kept], vec![]), "{why}");
            if proxy.count() < n {
                return n;
            }
        }
        unreachable!("a prune has a last request")
    }

    /// A lease that could not be given back counts no longer than that.
    async fn an_hour_passes(&self) {
        for lease in self.scene.honest.store().list("lease/").await.unwrap() {
            self.scene.honest.store().delete(&lease.name).await.unwrap();
        }
    }

    async fn verified(&self, why: &str) -> VerifyReport {
        let kept = self.scene.honest.point(self.kept).await.unwrap_or_else(|e| panic!("{why}: {e}"));
        verify(&self.scene.honest, &kept, Level::Full, silent()).await.unwrap()
    }
}

async fn suffers(fault: Fault, passes: bool) {
    let pruning = Pruning::new(fault).await;
    let requests = pruning.suffers(fault, passes).await;
    assert!(requests > 10, "{requests} requests are too few to mean anything");
    pruning.scene.first_is_whole().await;
}

macro_rules! faults {
    ($($name:ident: $fault:ident $passes:literal)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            suffers(Fault::$fault, $passes).await;
        })*
    };
}

faults! {
    a_prune_survives_a_connection_dropped_after_the_server_did_it: DropAfter true
    i3_a_write_that_is_acknowledged_and_forgotten_costs_no_point: LyingOk false
    i3_a_store_that_does_not_see_what_is_there_costs_no_point: Unseen false
    i3_an_answer_that_ends_early_and_looks_whole_costs_no_point: ShortAnswer false
}
