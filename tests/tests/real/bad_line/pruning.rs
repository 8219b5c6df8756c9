//! A prune on a bad line: whatever happens to any one of its requests, it comes through, only the point that was to go is
//! gone, and nothing that another needs.

use engine::{Prune, prune};
use jiff::SignedDuration;

use super::*;

/// With this fault at the nth request of a prune, for each n.
async fn suffers(fault: Fault) {
    let scene = Scene::new(&format!("prune-{fault:?}")).await;
    let mut requests = 0;
    loop {
        requests += 1;
        let at = requests;
        let attempt = format!("{fault:?} at {at}");
        fs::write(scene.source().join("new"), noise(at, 60_000)).unwrap();
        let going = backup(&scene.honest, scene.capture(&attempt)).await.unwrap().point.id;

        let script = move |seen: &Seen| (seen.number == at).then_some(fault);
        let proxy = Proxy::to(SeaweedFs::shared().endpoint(), Arc::clone(&scene.lists), script).await;
        let (store, _) = line_to(proxy.endpoint(), &scene.prefix, LONG).await;
        let request = Prune {
            remove: [going].into(),
            wait: SignedDuration::from_hours(24),
            waste: 30,
            dry_run: false,
            now: now(),
        };
        let repo = Repository::open(store, &password()).await.unwrap();
        let pruned = prune(&repo, &request, silent()).await.unwrap_or_else(|e| panic!("{attempt}: {e}"));
        assert_eq!((pruned.points_removed, pruned.points_kept), (1, 1), "{attempt}");
        let left = scene.honest.points().await.unwrap();
        assert_eq!((left.points.len(), left.unreadable.len()), (1, 0), "{attempt}");
        let report = verify(&scene.honest, &left.points[0], Level::Full, silent()).await.unwrap();
        assert!(report.passed(), "{attempt}: {:?}", report.findings);
        if proxy.count() < at {
            break;
        }
    }
    assert!(requests > 10, "{requests} requests are too few to mean anything");
    assert_eq!(verify_all(&scene.honest, Level::Full, silent()).await.unwrap().findings, []);
    scene.first_is_whole().await;
}

macro_rules! faults {
    ($($name:ident: $fault:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            suffers(Fault::$fault).await;
        })*
    };
}

faults! {
    a_prune_survives_a_connection_dropped_before_the_request_arrives: DropBefore
    a_prune_survives_a_connection_dropped_after_the_server_did_it: DropAfter
    a_prune_survives_an_answer_cut_in_half: CutAnswer
    a_prune_survives_an_internal_error: InternalError
}
