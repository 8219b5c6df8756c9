//! One directory of a point stands for all of it: what restores, compares, exports and lists differences sees nothing else.

use std::path::Path;

use crate::support::{Bench, noise, request};
use engine::RestoreMode::{EmptyTarget, OntoExisting};
use engine::{Point, backup, compare, diff, export, restore, silent};

async fn two_volumes(bench: &Bench) -> Point {
    bench.write("objects/a.json", b"{}");
    bench.write("volumes/data/chroma.sqlite3", &noise(1, 200_000));
    bench.write("volumes/data/segment/header.bin", &noise(2, 100));
    bench.write("volumes/data-2/chroma.sqlite3", &noise(3, 100));
    let (first, further) = ("volumes/data/segment/header.bin", "volumes/data/segment/same.bin");
    std::fs::hard_link(bench.source().join(first), bench.source().join(further)).unwrap();
    backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point
}

#[tokio::test]
async fn a_part_is_restored_as_the_root_of_its_target_and_nothing_beside_it_is() {
    let bench = Bench::new().await;
    let point = two_volumes(&bench).await;
    let part = point.part(Path::new("volumes/data"));
    let target = bench.scratch("target");
    let done = restore(&bench.repo, &part, &target, EmptyTarget, silent()).await.unwrap();
    assert_eq!((done.files, done.links, done.bytes), (2, 1, 200_100));
    assert_eq!(std::fs::read(target.join("chroma.sqlite3")).unwrap(), noise(1, 200_000));
    assert_eq!(std::fs::read(target.join("segment/same.bin")).unwrap(), noise(2, 100));
    assert!(!target.join("objects").exists() && !target.join("volumes").exists());
    let same = compare(&bench.repo, &part, &target, silent()).await.unwrap();
    assert_eq!((same.files, same.files_equal, same.differences), (2, 2, vec![]));

    std::fs::write(target.join("stray"), "x").unwrap();
    let other = point.part(Path::new("volumes/data-2"));
    let done = restore(&bench.repo, &other, &target, OntoExisting, silent()).await.unwrap();
    assert_eq!((done.files, done.removed), (1, 2));
    assert_eq!(std::fs::read(target.join("chroma.sqlite3")).unwrap(), noise(3, 100));
}

#[tokio::test]
async fn a_part_that_the_point_does_not_have_is_refused_and_the_target_stays() {
    let bench = Bench::new().await;
    let point = two_volumes(&bench).await;
    let target = bench.scratch("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("precious"), "x").unwrap();
    for wrong in ["volumes/dat", "volumes/data/chroma.sqlite3", "nothing"] {
        let part = point.part(Path::new(wrong));
        let refused = restore(&bench.repo, &part, &target, OntoExisting, silent()).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("point {} has no directory {wrong}", point.id));
        assert!(compare(&bench.repo, &part, &target, silent()).await.is_err());
        assert!(target.join("precious").exists());
    }
}

#[tokio::test]
async fn a_part_is_exported_and_compared_with_that_of_another_point() {
    let bench = Bench::new().await;
    let first = two_volumes(&bench).await;
    bench.write("objects/b.json", b"{}");
    bench.write("volumes/data/new", b"x");
    let second = backup(&bench.repo, request(bench.source(), "b")).await.unwrap().point;
    let part = Path::new("volumes/data");
    let changes = diff(&bench.repo, &first.part(part), &second.part(part)).await.unwrap();
    let changed: Vec<_> = changes.iter().map(|change| change.path.to_str().unwrap()).collect();
    assert_eq!(changed, ["new"]);

    let mut paths = Vec::new();
    let scratch = bench.scratch("scratch");
    std::fs::create_dir(&scratch).unwrap();
    export(&bench.repo, &second.part(part), &scratch, silent(), &mut |entry| {
        paths.push(entry.path.to_str().unwrap().to_owned());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(paths, [".", "chroma.sqlite3", "new", "segment", "segment/header.bin", "segment/same.bin"]);
}
