//! What is told when a place holds no repository, not this one, or not yet.

use std::fs;
use std::sync::Arc;

use crate::support::{Bench, at, password};
use engine::store::{DirStore, Store};
use engine::{Category, Error, Password, Repository};

fn empty() -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(DirStore::new(dir.path().join("repo")));
    (dir, store)
}

async fn refusal(store: Arc<dyn Store>) -> Error {
    Repository::open(store, &password()).await.unwrap_err()
}

#[tokio::test]
async fn an_empty_place_and_a_missing_directory_hold_no_repository() {
    let (dir, store) = empty();
    assert!(matches!(refusal(Arc::clone(&store)).await, Error::RepositoryMissing { .. }));
    fs::create_dir_all(dir.path().join("repo/lost+found")).unwrap();
    assert!(matches!(refusal(store).await, Error::RepositoryMissing { .. }));
}

#[tokio::test]
async fn a_directory_whose_parent_is_missing_is_refused_by_name() {
    let (dir, _) = empty();
    let store: Arc<dyn Store> = Arc::new(DirStore::new(dir.path().join("not/there")));
    let refused = Repository::init(store, &password(), at(0)).await.unwrap_err();
    assert_eq!(refused.category(), Category::BucketMissing);
    assert!(refused.to_string().contains("not/there does not exist"), "{refused}");
}

#[tokio::test]
async fn foreign_objects_are_left_alone() {
    let (dir, store) = empty();
    fs::create_dir_all(dir.path().join("repo/photos")).unwrap();
    fs::write(dir.path().join("repo/photos/1.jpg"), b"x").unwrap();
    let refused = Repository::init(Arc::clone(&store), &password(), at(0)).await.unwrap_err();
    assert!(
        matches!(&refused, Error::NotARepository { example, .. } if example == "photos/1.jpg"),
        "{refused}"
    );
    assert!(matches!(refusal(store).await, Error::NotARepository { .. }));
    assert_eq!(fs::read_dir(dir.path().join("repo")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_config_of_another_program_is_not_ours() {
    let (dir, store) = empty();
    fs::create_dir_all(dir.path().join("repo")).unwrap();
    fs::write(dir.path().join("repo/config"), b"[core]\nbare = true\n").unwrap();
    let refused = refusal(store).await;
    assert!(refused.to_string().contains("config"), "{refused}");
}

#[tokio::test]
async fn an_interrupted_creation_is_told_from_a_lost_configuration() {
    let bench = Bench::new().await;
    let config = bench.store_path().join("config");
    let bytes = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    assert!(matches!(refusal(bench.store()).await, Error::HalfInitialised { .. }));
    fs::write(&config, &bytes).unwrap();
    engine::backup(&bench.repo, crate::support::request(bench.source(), "a")).await.unwrap();
    fs::remove_file(&config).unwrap();
    assert!(matches!(refusal(bench.store()).await, Error::ConfigMissing { .. }));
    let refused = Repository::init(bench.store(), &password(), at(0)).await.unwrap_err();
    assert!(
        matches!(refused, Error::ConfigMissing { .. }),
        "a second creation would bury the points: {refused}"
    );
}

/// On the worst day nobody shall be told that his repository is none.
#[tokio::test]
async fn a_configuration_that_was_cut_short_or_written_over_is_told_from_somebody_elses() {
    let bench = Bench::new().await;
    engine::backup(&bench.repo, crate::support::request(bench.source(), "a")).await.unwrap();
    let config = bench.store_path().join("config");
    let bytes = fs::read(&config).unwrap();
    for left in [&bytes[..bytes.len() / 2], b"", b"[core]\nbare = true\n"] {
        fs::write(&config, left).unwrap();
        let refused = refusal(bench.store()).await;
        assert!(matches!(&refused, Error::Damaged { object, .. } if object == "config"), "{refused}");
        assert!(refused.to_string().contains("older"), "{refused}");
    }
}

#[tokio::test]
async fn a_newer_repository_names_both_formats() {
    let bench = Bench::new().await;
    let config = bench.store_path().join("config");
    let line = r#"{"magic":"holdfast repository","format":2,"something":"new"}"#;
    let sum = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, line.as_bytes()));
    fs::write(config, format!("{line}\nsha256:{sum}\n")).unwrap();
    let refused = refusal(bench.store()).await;
    assert_eq!(refused.category(), Category::NewerFormat);
    assert!(refused.to_string().contains("has format 2, this version reads up to 1"), "{refused}");
}

#[tokio::test]
async fn a_newer_point_is_reported_and_hides_no_other() {
    let bench = Bench::new().await;
    let point =
        engine::backup(&bench.repo, crate::support::request(bench.source(), "a")).await.unwrap().point;
    let newer =
        engine::backup(&bench.repo, crate::support::request(bench.source(), "b")).await.unwrap().point;
    let path = bench.store_path().join(newer.id.object());
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] = 2;
    fs::write(path, bytes).unwrap();
    let catalogue = bench.repo.points().await.unwrap();
    assert_eq!(catalogue.points, [point]);
    assert!(catalogue.unreadable[0].1.contains("format 2"), "{:?}", catalogue.unreadable);
    assert_eq!(bench.repo.point(newer.id).await.unwrap_err().category(), Category::NewerFormat);
}

#[tokio::test]
async fn a_wrong_password_is_told_with_its_fingerprint_and_without_itself() {
    let bench = Bench::new().await;
    let wrong = Password::new("incorrect horse battery").unwrap();
    let refused = Repository::open(bench.store(), &wrong).await.unwrap_err();
    assert_eq!(refused.category(), Category::Key);
    let message = refused.to_string();
    assert!(message.contains(&wrong.fingerprint()), "{message}");
    assert!(!message.contains("incorrect horse"), "{message}");
    let generated = Password::generate();
    let refused = Repository::open(bench.store(), &generated).await.unwrap_err();
    assert_eq!(refused.category(), Category::Key);
}

#[tokio::test]
async fn no_key_slot_left_is_told_apart_from_a_wrong_password() {
    let bench = Bench::new().await;
    fs::remove_dir_all(bench.store_path().join("keys")).unwrap();
    assert!(matches!(refusal(bench.store()).await, Error::NoKeySlot { .. }));
}

#[tokio::test]
async fn a_weak_password_makes_no_repository() {
    let (_dir, store) = empty();
    let weak = Password::new("changeme-changeme").unwrap();
    let refused = Repository::init(Arc::clone(&store), &weak, at(0)).await.unwrap_err();
    assert_eq!(refused.category(), Category::Key);
    assert!(matches!(refusal(store).await, Error::RepositoryMissing { .. }));
}

#[tokio::test]
async fn a_second_creation_changes_nothing() {
    let bench = Bench::new().await;
    let refused = Repository::init(bench.store(), &password(), at(0)).await.unwrap_err();
    assert!(matches!(refused, Error::AlreadyARepository { .. }), "{refused}");
    let opened = Repository::open_or_init(bench.store(), &password(), at(0)).await.unwrap();
    assert_eq!(opened.id(), bench.repo.id());
}

#[tokio::test]
async fn of_racing_creators_one_wins_and_all_open_the_same_repository() {
    let (_dir, store) = empty();
    let racers = (0..6).map(|_| {
        let store = Arc::clone(&store);
        async move { Repository::open_or_init(store, &password(), at(0)).await.unwrap().id() }
    });
    let ids = futures::future::join_all(racers).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
