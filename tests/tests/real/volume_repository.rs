//! A repository on a volume: what movers of several users write there all of them can add to, and nothing of a bucket is needed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crds::job::{FailureReason, REPOSITORY_DIR, Report};
use tests::files::facts;

use super::pod::{Pod, ballast};

#[test]
fn points_are_captured_onto_a_volume_and_restored_from_it() {
    let pod = Pod::with_volume();
    // What a file system has of its own is left alone.
    fs::create_dir(pod.at(REPOSITORY_DIR).join("lost+found")).unwrap();
    ballast(&pod.volume(), 2);
    let Report::Probed(probed) = pod.run(&pod.probe()).0 else { panic!("{:?}", pod.report()) };
    assert_eq!((probed.conditional_writes, probed.points), (Some(true), 0));
    let captured = pod.captured("capture-1");
    assert!(matches!(pod.confirm("capture-1"), Report::Captured(_)));
    let Report::Restored(restored) = pod.run(&pod.restore(&captured.point, "u-1")).0 else {
        panic!("{:?}", pod.report())
    };
    assert!(restored.bytes > 2_000_000);
    let bytes =
        |root: &Path| facts(root).into_iter().map(|(path, facts)| (path, facts.bytes)).collect::<Vec<_>>();
    assert_eq!(bytes(&pod.target()), bytes(&pod.volume()));
    let Report::Probed(probed) = pod.run(&pod.probe()).0 else { panic!("{:?}", pod.report()) };
    assert_eq!(probed.points, 1);
    let mut directories = 0;
    open_to_all(&pod.at(REPOSITORY_DIR).join("holdfast"), &mut directories);
    assert!(directories > 3, "{directories}");
}

/// Whoever runs as another user can add to each directory and read each file.
fn open_to_all(directory: &Path, directories: &mut usize) {
    *directories += 1;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory), 0o777, "{}", directory.display());
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => open_to_all(&path, directories),
            false => assert_eq!(mode(&path) & 0o444, 0o444, "{}", path.display()),
        }
    }
}

#[test]
fn a_volume_that_is_not_there_is_named() {
    let pod = Pod::with_volume();
    fs::remove_dir(pod.at(REPOSITORY_DIR)).unwrap();
    let (reason, message, _) = pod.failure(&pod.probe());
    assert_eq!(reason, FailureReason::InvalidRequest);
    assert!(message.contains("the volume of claim emergency-storage is not mounted"), "{message}");
}
