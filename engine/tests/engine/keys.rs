//! Keys come and go; the data stays as it is, and at no moment is there none that opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::faulty::{Dies, Faulty};
use crate::support::{Bench, at, noise, password, request, same_tree, tree_of};
use engine::store::{DirStore, Store};
use engine::{Category, Error, Password, Repository, RestoreMode, backup, restore, silent};

fn new_password() -> Password {
    Password::new("another horse, another staple").unwrap()
}

/// Every object but the slots, with its bytes.
fn data(bench: &Bench) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut objects = tree_of(bench.store_path());
    objects.retain(|path, bytes| !path.starts_with("keys") && !bytes.is_empty());
    objects
}

async fn bench_with_a_point() -> Bench {
    let bench = Bench::new().await;
    bench.write("chroma.sqlite3", &noise(1, 200_000));
    backup(&bench.repo, request(bench.source(), "first")).await.unwrap();
    bench
}

async fn opens(store: Arc<dyn Store>, password: &Password) -> bool {
    match Repository::open(store, password).await {
        Ok(_) => true,
        Err(Error::WrongPassword { .. }) => false,
        Err(e) => panic!("{e}"),
    }
}

#[tokio::test]
async fn a_rotated_key_opens_the_same_data_and_the_old_one_is_refused_by_a_sentence() {
    let bench = bench_with_a_point().await;
    let before = data(&bench);
    let generated = Password::generate();
    let rotated = bench.repo.rotate_key(&generated, "second", at(100)).await.unwrap();
    assert_eq!(rotated.removed, password().fingerprint());
    assert_eq!(rotated.added.fingerprint, generated.fingerprint());
    assert!(data(&bench) == before, "only keys/ may change");

    let refused = Repository::open(bench.store(), &password()).await.unwrap_err();
    assert_eq!(refused.category(), Category::Key);
    let fingerprint = password().fingerprint();
    assert!(refused.to_string().contains("opens none of the 1 key slots"), "{refused}");
    assert!(refused.to_string().contains(&fingerprint), "{refused}");

    let repo = Repository::open(bench.store(), &generated).await.unwrap();
    let slots = repo.slots().await.unwrap();
    let shown: Vec<_> = slots.iter().map(|s| (s.label.as_str(), s.created)).collect();
    assert_eq!(shown, [("second", at(100))]);
    let point = repo.find_by_attempt("first").await.unwrap().unwrap();
    restore(&repo, &point, &bench.scratch("target"), RestoreMode::EmptyTarget, silent()).await.unwrap();
    same_tree(bench.source(), &bench.scratch("target"));
}

#[tokio::test]
async fn an_escrow_key_survives_the_rotation_of_the_other() {
    let bench = bench_with_a_point().await;
    let escrow = Password::generate();
    let slot = bench.repo.add_key_slot(&escrow, "escrow", at(1)).await.unwrap();
    assert_eq!(bench.repo.add_key_slot(&escrow, "again", at(2)).await.unwrap(), slot, "one slot a key");
    bench.repo.rotate_key(&new_password(), "second", at(3)).await.unwrap();
    assert!(opens(bench.store(), &escrow).await);
    assert!(opens(bench.store(), &new_password()).await);
    assert!(!opens(bench.store(), &password()).await);
}

#[tokio::test]
async fn the_last_key_the_one_in_use_and_an_unknown_one_are_not_removed() {
    let bench = bench_with_a_point().await;
    let own = password().fingerprint();
    let last = bench.repo.remove_key(&own, at(1)).await.unwrap_err();
    assert!(matches!(last, Error::LastKey { .. }), "{last}");
    let escrow = Password::generate();
    bench.repo.add_key_slot(&escrow, "escrow", at(1)).await.unwrap();
    let in_use = bench.repo.remove_key(&own, at(2)).await.unwrap_err();
    assert!(in_use.to_string().contains("open it with one that stays"), "{in_use}");
    assert_eq!(bench.repo.remove_key("0000-0000-0000", at(2)).await.unwrap_err().category(), Category::Input);
    assert_eq!(bench.repo.remove_key(&escrow.fingerprint(), at(3)).await.unwrap(), 1);
    assert!(!opens(bench.store(), &escrow).await);
    assert!(opens(bench.store(), &password()).await);
}

#[tokio::test]
async fn a_rotation_to_the_same_or_a_weak_key_changes_nothing() {
    let bench = bench_with_a_point().await;
    let before = tree_of(bench.store_path());
    for refused in [password(), Password::new("changeme-changeme").unwrap()] {
        bench.repo.rotate_key(&refused, "x", at(1)).await.unwrap_err();
    }
    let mut after = tree_of(bench.store_path());
    after.retain(|path, _| before.contains_key(path) || path.as_os_str() != "lease");
    assert!(after == before);
}

#[tokio::test]
async fn a_rotation_killed_at_any_store_operation_leaves_a_key_that_opens_and_can_be_repeated() {
    let bench = bench_with_a_point().await;
    let counting = Faulty::counting(bench.store());
    let repo = Repository::open(counting.clone(), &password()).await.unwrap();
    let opening = counting.count();
    repo.rotate_key(&new_password(), "second", at(0)).await.unwrap();
    let operations = counting.count() - opening;
    assert!(operations > 8, "{operations} operations are too few to mean anything");

    for n in 1..=operations {
        for dies in [Dies::Before, Dies::After] {
            let bench = bench_with_a_point().await;
            let before = data(&bench);
            let repo =
                Repository::open(Faulty::dying(bench.store(), opening + n, dies), &password()).await.unwrap();
            repo.rotate_key(&new_password(), "second", at(0)).await.unwrap_err();
            let old = opens(bench.store(), &password()).await;
            let new = opens(bench.store(), &new_password()).await;
            assert!(old || new, "killed at {n} {dies:?}: nothing opens the repository");
            if old {
                // An hour later the lease of the dead counts for nothing.
                let repo = Repository::open(bench.store(), &password()).await.unwrap();
                repo.rotate_key(&new_password(), "second", jiff::Timestamp::MAX).await.unwrap();
            }
            assert!(!opens(bench.store(), &password()).await, "killed at {n} {dies:?}");
            let repo = Repository::open(bench.store(), &new_password()).await.unwrap();
            assert_eq!(repo.slots().await.unwrap().len(), 1, "killed at {n} {dies:?}");
            let mut after = data(&bench);
            after.retain(|path, _| !path.starts_with("lease"));
            assert!(after == before, "killed at {n} {dies:?}: only keys/ may change");
        }
    }
}

/// How many operations this takes once the repository is open, and how many opening it takes.
async fn operations<T>(bench: &Bench, work: impl AsyncFn(Repository) -> engine::Result<T>) -> (usize, usize) {
    let counting = Faulty::counting(bench.store());
    let repo = Repository::open(counting.clone(), &password()).await.unwrap();
    let opening = counting.count();
    work(repo).await.unwrap_or_else(|e| panic!("{e}"));
    (opening, counting.count() - opening)
}

/// A bench that opens with a password that a person typed as well.
async fn bench_with_two_keys() -> Bench {
    let bench = bench_with_a_point().await;
    bench.repo.add_key_slot(&new_password(), "typed", at(1)).await.unwrap();
    bench
}

async fn is_as_before(bench: &Bench, before: &BTreeMap<std::path::PathBuf, Vec<u8>>, why: &str) {
    let mut after = data(bench);
    after.retain(|path, _| !path.starts_with("lease"));
    assert!(&after == before, "{why}: only keys/ may change");
    let repo = Repository::open(bench.store(), &password()).await.unwrap();
    let point = repo.find_by_attempt("first").await.unwrap().unwrap();
    let target = bench.scratch("target");
    restore(&repo, &point, &target, RestoreMode::EmptyTarget, silent()).await.unwrap();
    same_tree(bench.source(), &target);
    std::fs::remove_dir_all(target).unwrap();
}

#[tokio::test]
async fn an_addition_killed_at_any_store_operation_leaves_the_old_keys_and_can_be_repeated() {
    let begun = bench_with_two_keys().await;
    let escrow = Password::generate();
    let counted = Bench::copy(&begun, &password()).await;
    let add = async |repo: Repository| repo.add_key_slot(&escrow, "escrow", at(2)).await;
    let (opening, operations) = operations(&counted, add).await;
    assert!(operations > 4, "{operations} operations are too few to mean anything");
    for n in 1..=operations {
        for dies in [Dies::Before, Dies::After] {
            let why = format!("killed at {n} {dies:?}");
            let bench = Bench::copy(&begun, &password()).await;
            let before = data(&bench);
            let repo =
                Repository::open(Faulty::dying(bench.store(), opening + n, dies), &password()).await.unwrap();
            add(repo).await.unwrap_err();
            is_as_before(&bench, &before, &why).await;
            add(bench.repo.clone()).await.unwrap();
            assert!(opens(bench.store(), &escrow).await, "{why}");
            // What the dead added is found again and not added twice.
            assert_eq!(bench.repo.slots().await.unwrap().len(), 3, "{why}");
        }
    }
}

#[tokio::test]
async fn a_removal_killed_at_any_store_operation_keeps_what_should_stay_and_can_be_repeated() {
    let begun = bench_with_two_keys().await;
    let going = Password::new(format!("hfkey1-{}", "77".repeat(32))).unwrap();
    begun.repo.add_key_slot(&going, "going", at(2)).await.unwrap();
    let counted = Bench::copy(&begun, &password()).await;
    let remove = async |repo: Repository, now| repo.remove_key(&going.fingerprint(), now).await;
    let (opening, operations) = operations(&counted, async |repo| remove(repo, at(3)).await).await;
    assert!(operations > 8, "{operations} operations are too few to mean anything");
    for n in 1..=operations {
        for dies in [Dies::Before, Dies::After] {
            let why = format!("killed at {n} {dies:?}");
            let bench = Bench::copy(&begun, &password()).await;
            let before = data(&bench);
            let repo =
                Repository::open(Faulty::dying(bench.store(), opening + n, dies), &password()).await.unwrap();
            remove(repo, at(3)).await.unwrap_err();
            is_as_before(&bench, &before, &why).await;
            if opens(bench.store(), &going).await {
                // An hour later the lease of the dead counts for nothing.
                remove(bench.repo.clone(), jiff::Timestamp::MAX).await.unwrap();
            }
            assert!(!opens(bench.store(), &going).await, "{why}");
            assert_eq!(bench.repo.slots().await.unwrap().len(), 2, "{why}");
        }
    }
}

#[tokio::test]
async fn of_two_that_rotate_at_once_one_is_turned_away_and_the_repository_opens() {
    let bench = bench_with_a_point().await;
    let store: Arc<dyn Store> = Arc::new(DirStore::new(bench.store_path()));
    let (a, b) = (Password::generate(), Password::generate());
    let (one, two) = (
        Repository::open(Arc::clone(&store), &password()).await.unwrap(),
        Repository::open(Arc::clone(&store), &password()).await.unwrap(),
    );
    let now = jiff::Timestamp::MIN;
    let (first, second) = tokio::join!(one.rotate_key(&a, "a", now), two.rotate_key(&b, "b", now));
    for (outcome, key) in [(first, &a), (second, &b)] {
        match outcome {
            Ok(_) => assert!(opens(Arc::clone(&store), key).await),
            Err(e) => assert!(matches!(e, Error::UnderMaintenance { .. }), "{e}"),
        }
    }
    assert!(!opens(store, &password()).await);
}
