//! A restored directory is held against its point: what differs is named, whatever kind of difference it is.

use crate::support::{Bench, noise, request};
use engine::RestoreMode::EmptyTarget;
use engine::{Difference, backup, compare, restore, silent};

#[tokio::test]
async fn every_difference_from_the_point_is_named_and_owners_and_times_are_none() {
    let bench = Bench::new().await;
    bench.write("chroma.sqlite3", &noise(1, 200_000));
    bench.write("segment/header.bin", &noise(2, 100));
    bench.write("segment/length.bin", &noise(3, 400));
    bench.write("gone", b"x");
    let point = backup(&bench.repo, request(bench.source(), "a")).await.unwrap().point;
    let target = bench.scratch("target");
    restore(&bench.repo, &point, &target, EmptyTarget, silent()).await.unwrap();
    std::fs::create_dir(target.join("lost+found")).unwrap();
    let same = compare(&bench.repo, &point, &target, silent()).await.unwrap();
    assert_eq!((same.files, same.files_equal, same.differences), (4, 4, vec![]));

    let mut one_bit = noise(1, 200_000);
    one_bit[150_000] ^= 1;
    std::fs::write(target.join("chroma.sqlite3"), one_bit).unwrap();
    std::fs::write(target.join("chroma.sqlite3-journal"), "stray").unwrap();
    std::fs::write(target.join("segment/header.bin"), "short").unwrap();
    std::fs::remove_file(target.join("gone")).unwrap();
    let seen = compare(&bench.repo, &point, &target, silent()).await.unwrap();
    assert_eq!((seen.files, seen.files_equal), (4, 1));
    let told: Vec<_> = seen
        .differences
        .iter()
        .map(|Difference { path, what }| (path.to_str().unwrap(), what.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("chroma.sqlite3", "its hash is not the point's"),
            ("gone", "it is missing"),
            ("segment/header.bin", "it has 5 bytes, the point has 100"),
            ("chroma.sqlite3-journal", "the point doesn't have it"),
        ]
    );
}
