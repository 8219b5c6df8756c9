//! A sealed repository gives nothing up, whoever opens it, and still restores.

use crate::support::{Bench, at, request};
use engine::{Error, Password, Prune, RestoreMode, backup, prune, restore, silent};
use jiff::SignedDuration;

#[tokio::test]
async fn nothing_is_removed_and_no_key_is_changed_until_a_later_mark_lifts_it() {
    let bench = Bench::new().await;
    std::fs::write(bench.source().join("a"), "one").unwrap();
    let first = backup(&bench.repo, request(bench.source(), "attempt-1")).await.unwrap().point;
    std::fs::write(bench.source().join("a"), "two").unwrap();
    let second = backup(&bench.repo, request(bench.source(), "attempt-2")).await.unwrap().point;
    assert_eq!(bench.repo.sealed().await.unwrap(), None);

    let sealed = bench.repo.set_seal(true, "run/breach", "INC-2041", at(3)).await.unwrap().unwrap();
    // Said again it keeps its reason.
    assert_eq!(bench.repo.set_seal(true, "another", "again", at(4)).await.unwrap(), Some(sealed.clone()));
    assert_eq!((sealed.by.as_str(), sealed.reason.as_str(), sealed.since), ("run/breach", "INC-2041", at(3)));
    let removal = Prune {
        remove: [first.id].into(),
        wait: SignedDuration::from_hours(24),
        waste: 30,
        dry_run: false,
        now: at(5),
    };
    let other = Password::new(format!("hfkey1-{}", "5a".repeat(32))).unwrap();
    let fingerprint = bench.repo.fingerprint().to_owned();
    let before = bench.repo.store().list("").await.unwrap();
    for refused in [
        prune(&bench.repo, &removal, silent()).await.map(drop),
        bench.repo.add_key_slot(&other, "escrow", at(5)).await.map(drop),
        bench.repo.rotate_key(&other, "", at(5)).await.map(drop),
        bench.repo.remove_key(&fingerprint, at(5)).await.map(drop),
    ] {
        let why = refused.unwrap_err();
        assert!(matches!(&why, Error::Sealed { by, .. } if by == "run/breach"), "{why}");
        assert!(why.to_string().contains("holdfast repo unseal"), "{why}");
    }
    assert_eq!(bench.repo.store().list("").await.unwrap(), before, "not even a lease is left");
    let target = bench.source().join("../restored");
    restore(&bench.repo, &second, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    assert_eq!(std::fs::read(target.join("a")).unwrap(), b"two");
    // What evidence is captured into it is the caller's to decide.
    std::fs::write(bench.source().join("a"), "three").unwrap();
    backup(&bench.repo, request(bench.source(), "attempt-6")).await.unwrap();

    assert_eq!(bench.repo.set_seal(false, "security", "looked at", at(7)).await.unwrap(), None);
    assert_eq!(prune(&bench.repo, &removal, silent()).await.unwrap().points_removed, 1);
    bench.repo.add_key_slot(&other, "escrow", at(8)).await.unwrap();
    let again = bench.repo.set_seal(true, "run/second", "INC-2042", at(9)).await.unwrap().unwrap();
    assert_eq!(again.by, "run/second");
}
