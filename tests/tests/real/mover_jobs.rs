//! The mover's Jobs as Kubernetes runs them: the real program, its Request in the environment, its Report in a file, a real
//! S3 server, a real ChromaDB under a writer. Only the mounts lie below another root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crds::{
    job::{
        Answer, CA_DIR, ESCROW_DIR, FailureReason, KEY_DIR, KEY_FILE, LockTried, Report, RepositoryAccess,
        Request, SourceContent,
    },
    policy::{ChromaCount, Endpoint},
    repository::{Lock, Strength},
    run::Verdict,
};
use tests::{
    chroma_server::ChromaServer,
    shell::holdfast,
    writer::{Load, Server, Writer, truth},
};

use super::pod::{CLAIM, KEY, Pod, ballast, chroma};
use super::rival::Rival;

#[test]
fn a_lock_is_probed_points_are_locked_and_a_bucket_without_it_gets_none_and_still_restores() {
    let hour = crds::Span::from_hours(1);
    let lock = Some(Lock { strength: Strength::Governance, retain_for: hour });
    let pod = Pod { lock, ..Pod::with_s3("locked") };
    ballast(&pod.volume(), 1);
    let Report::Probed(probed) = pod.run(&pod.probe()).0 else { panic!("{:?}", pod.report()) };
    assert_eq!(probed.lock, Some(LockTried::Enforced));
    let captured = pod.captured("capture-1");
    let enough = captured.consistency_time + hour.to_duration();
    assert!(captured.locked_until.is_some_and(|until| until >= enough), "{captured:?}");
    let Report::Captured(confirmed) = pod.confirm("capture-1") else { panic!("{:?}", pod.report()) };
    assert_eq!(confirmed.locked_until, captured.locked_until);

    let free = Pod { lock: None, ..Pod::with_s3("not-locked") };
    ballast(&free.volume(), 1);
    assert!(matches!(free.run(&free.probe()).0, Report::Probed(probed) if probed.lock.is_none()));
    let point = free.captured("capture-1").point;
    let asking = |mut request: Request| {
        match &mut request {
            Request::Probe { repository }
            | Request::Capture { repository, .. }
            | Request::Restore { repository, .. } => repository.lock = lock,
            other => panic!("{other:?}"),
        }
        request
    };
    let Report::Probed(probed) = free.run(&asking(free.probe())).0 else { panic!("{:?}", free.report()) };
    assert!(matches!(&probed.lock, Some(LockTried::NotEnforced(why)) if !why.is_empty()), "{probed:?}");
    let (reason, message, code) = free.failure(&asking(free.capture("capture-2")));
    assert_eq!((reason, code), (FailureReason::LockNotEnforced, 4), "{message}");
    assert!(matches!(free.run(&asking(free.restore(&point, "u-1"))).0, Report::Restored(_)));
    let directory = Pod { lock, ..Pod::with_directory() };
    ballast(&directory.volume(), 1);
    assert_eq!(directory.failure(&directory.capture("x")).0, FailureReason::LockNotEnforced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_chroma_is_captured_confirmed_restored_verified_and_validated_by_jobs() {
    let mut pod = Pod::with_s3("round-trip");
    fs::create_dir_all(pod.at(ESCROW_DIR)).unwrap();
    fs::write(pod.at(ESCROW_DIR).join(KEY_FILE), "another key, kept elsewhere").unwrap();
    let Report::Probed(probed) = pod.run(&pod.probe()).0 else { panic!("{:?}", pod.report()) };
    assert!(
        probed.conditional_writes == Some(true) && probed.key_slots == 2 && probed.points == 0,
        "{probed:?}"
    );
    pod.expected_id = Some(probed.id.clone());
    let only_reading = Request::Probe { repository: RepositoryAccess { read_only: true, ..pod.access() } };
    let Report::Probed(untried) = pod.run(&only_reading).0 else { panic!("{:?}", pod.report()) };
    assert_eq!(untried.conditional_writes, None, "nothing was written, so nothing is known");

    let data = pod.volume();
    let server = ChromaServer::start(&data).await.unwrap();
    let load = Load { sync_threshold: 40, per_request: 20, ..Load::synthetic(5, 3, 16) };
    let mut writer = Writer::start(Arc::new(server.url().to_owned()), load).await.unwrap();
    writer.progress(60, Duration::from_secs(90)).await.unwrap();
    let rival = Rival::start(&data);
    let captured = pod.captured("capture-1");
    let (failed, succeeded) = rival.stop().within(captured.consistency_time, chroma(&captured).released_at);
    assert!(failed > 0, "no try of the rival fell into the hold of {:?}", captured.longest_hold);
    assert_eq!(succeeded, 0, "of {failed} tries under the lock");
    writer.progress(10, Duration::from_secs(90)).await.unwrap();
    let ledger = writer.stop().await.unwrap();
    server.stop().unwrap();
    assert_eq!((chroma(&captured).collection_count, captured.findings.len()), (3, 0), "{captured:?}");
    assert!(chroma(&captured).records > 0 && chroma(&captured).migrations == "2/6/10", "{captured:?}");

    // A lost report is found again, word for word; an attempt that never was isn't.
    assert_eq!(pod.confirm("capture-1"), Report::Captured(Box::new(captured.clone())));
    assert_eq!(pod.confirm("capture-2"), Report::NotCommitted);
    assert_eq!(pod.captured("capture-1"), captured, "the same attempt commits once");

    // What an interrupted attempt of the same step left does no harm.
    fs::write(pod.target().join("chroma.sqlite3-journal"), "stray").unwrap();
    let Report::Restored(restored) = pod.run(&pod.restore(&captured.point, "uid-1")).0 else {
        panic!("no restore")
    };
    assert_eq!((restored.files, restored.reused_bytes), (captured.files - captured.objects, 0));
    assert!(!pod.target().join("chroma.sqlite3-journal").exists());
    let Report::Restored(again) = pod.run(&pod.restore(&captured.point, "uid-1")).0 else {
        panic!("no second restore")
    };
    assert_eq!(again.reused_bytes, again.bytes);
    let (reason, message, code) = pod.failure(&pod.restore(&captured.point, "uid-2"));
    assert_eq!((reason, code), (FailureReason::AlreadyExecuted, 12), "{message}");

    let Report::Verified(verified) = pod.run(&pod.verify(&captured.point)).0 else { panic!("not verified") };
    assert_eq!(
        (verified.findings.as_slice(), verified.collections_equal),
        ([].as_slice(), 3),
        "{verified:?}"
    );
    assert_eq!(verified.files_equal, verified.files);

    let restored = ChromaServer::start(&pod.target()).await.unwrap();
    let served = Server::new(Arc::new(restored.url().to_owned())).unwrap();
    truth::hold(&served, &ledger, captured.consistency_time, chroma(&captured).released_at).await.unwrap();
    let port = restored.url().rsplit(':').next().unwrap().parse().unwrap();
    let validate = |url: &str| Request::Validate {
        repository: pod.access(),
        point: captured.point.clone(),
        url: url.into(),
        auth: None,
        revoked: None,
        counts: [("floor", 1), ("too-high", 1 << 40)]
            .map(|(name, at_least)| {
                let collection = chroma(&captured).collections[0].name.clone();
                (name.to_owned(), ChromaCount { collection, at_least })
            })
            .into(),
        queries: vec![],
        mails: vec![],
        answers: vec![Answer {
            name: "heartbeat".into(),
            url: format!("{}/api/v2/heartbeat", restored.url()),
            status: 200,
            patience: jiff::SignedDuration::from_secs(30),
        }],
        endpoints: vec![Endpoint { host: "127.0.0.1".into(), port }],
    };
    let Report::Validated { checks } = pod.run(&validate(restored.url())).0 else { panic!("not validated") };
    let own = |name: &str| checks.iter().find(|check| check.name == name).expect(name);
    for name in ["floor", "heartbeat", "network"] {
        assert_eq!(own(name).verdict, Verdict::Passed, "{checks:?}");
    }
    assert_eq!(
        (own("too-high").verdict, own("too-high").expected.as_str()),
        (Verdict::Failed, ">= 1099511627776")
    );
    for name in ["chromadb-responds", "collections-accessible", "counts", "corruption", "queries"] {
        let check = checks.iter().find(|check| check.name == name).expect(name);
        assert_eq!(check.verdict, Verdict::Passed, "{check:?}");
    }
    // One record less is seen, by count and by digest.
    let name = &chroma(&captured).collections[0].name;
    let collections = served.collections().await.unwrap();
    let id = &collections.iter().find(|(known, _)| known == name).unwrap().1;
    let first = served.everything(name).await.unwrap().into_keys().next().unwrap();
    restored.post(&format!("collections/{id}/delete"), &serde_json::json!({"ids": [first]})).await.unwrap();
    let Report::Validated { checks } = pod.run(&validate(restored.url())).0 else { panic!("not validated") };
    let failed: Vec<&str> =
        checks.iter().filter(|c| c.verdict == Verdict::Failed).map(|c| c.name.as_str()).collect();
    assert_eq!(failed, ["counts", "corruption", "too-high"], "{checks:?}");
    restored.stop().unwrap();

    let Report::Verified(differs) = pod.run(&pod.verify(&captured.point)).0 else { panic!("not verified") };
    assert!(differs.files_equal < differs.files && differs.collections_equal == 2, "{differs:?}");
    damage(&pod, &data);
}

/// Pages of the database are overwritten: CheckIntegrity says so, and leaves the volume as it was.
fn damage(pod: &Pod, data: &Path) {
    let db = data.join("chroma.sqlite3");
    let mut bytes = fs::read(&db).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 3 * 4096].fill(0xAA);
    fs::write(&db, &bytes).unwrap();
    let (report, code) = pod.run(&Request::CheckIntegrity { claim: CLAIM.into(), data_path: String::new() });
    let Report::Checked(checked) = report else { panic!("{report:?}") };
    assert!(code == 0 && checked.finding_count > 0, "{checked:?}");
    assert_eq!(checked.findings[0].subject, "chroma.sqlite3", "{checked:?}");
    assert_eq!(fs::read(&db).unwrap(), bytes);
}

#[test]
fn a_capture_killed_under_the_lock_leaves_no_lock_and_the_next_one_works() {
    let pod = Pod::with_directory();
    ballast(&pod.volume(), 64);
    pod.run(&pod.probe());
    let mut killed_under_it = false;
    for attempt in 0..5 {
        let name = format!("killed-{attempt}");
        let (mut child, mut output) = pod.capture_until(&name, "write lock held");
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(pod.can_lock(), "the lock outlived its mover");
        assert_eq!(pod.confirm(&name), Report::NotCommitted);
        killed_under_it |= !rest.contains("mirror is level");
        if killed_under_it {
            break;
        }
    }
    assert!(killed_under_it, "no kill hit the time under the lock");
    let captured = pod.captured("next");
    assert!(
        !captured.findings.is_empty(),
        "a database that is not Chroma's is captured, and the point says so"
    );
}

#[test]
fn a_capture_that_is_asked_to_end_releases_the_lock_and_says_so() {
    let pod = Pod::with_directory();
    ballast(&pod.volume(), 32);
    pod.run(&pod.probe());
    let _ = fs::remove_file(pod.log());
    let (mut child, _output) = pod.capture_until("asked", "write lock held");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(pod.can_lock());
    let Report::Failed(failure) = pod.report() else { panic!("{:?}", pod.report()) };
    assert_eq!(failure.reason, FailureReason::MoverFailed);
    assert_eq!(pod.confirm("asked"), Report::NotCommitted);
}

#[test]
fn a_report_that_cannot_be_written_is_no_success_and_the_point_is_confirmed() {
    let pod = Pod::with_directory();
    ballast(&pod.volume(), 1);
    pod.run(&pod.probe());
    let mut command = pod.command(&pod.capture("lost"));
    fs::remove_file(pod.log()).unwrap();
    fs::create_dir(pod.log()).unwrap();
    let output = command.output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    fs::remove_dir(pod.log()).unwrap();
    assert!(matches!(pod.confirm("lost"), Report::Captured(_)), "{:?}", pod.report());
}

/// The kubelet gives an unprivileged mover a new volume by its group; the root, and `lost+found`, stay root's.
#[test]
fn a_volume_whose_root_belongs_to_somebody_else_is_restored_into_all_the_same() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a directory to somebody else");
        return;
    }
    let pod = Pod::with_directory();
    ballast(&pod.volume(), 1);
    pod.run(&pod.probe());
    let captured = pod.captured("first");
    let target = pod.target();
    fs::create_dir(target.join("lost+found")).unwrap();
    let shell = format!(
        "cp '{}' '{root}/holdfast' && chown -R {NOBODY}:{NOBODY} '{root}' && chmod 755 '{root}' &&
         chown -R 0:{NOBODY} '{target}' && chmod 2775 '{target}' && chmod 700 '{target}/lost+found'",
        holdfast().display(),
        root = pod.root.path().display(),
        target = target.display()
    );
    assert!(Command::new("sh").args(["-c", &shell]).status().unwrap().success());
    let as_nobody = |request: &Request| {
        let ours = pod.command(request);
        let mut command = Command::new(pod.root.path().join("holdfast"));
        command.args(ours.get_args()).stdout(Stdio::piped()).stderr(Stdio::piped()).uid(NOBODY).gid(NOBODY);
        for (name, value) in ours.get_envs() {
            command.env(name, value.unwrap());
        }
        pod.run_with(command).0
    };
    let restored = as_nobody(&pod.restore(&captured.point, "uid"));
    assert!(
        matches!(&restored, Report::Restored(r) if r.files == captured.files - captured.objects),
        "{restored:?}"
    );
    let Report::Verified(verified) = as_nobody(&pod.verify(&captured.point)) else { panic!("not verified") };
    assert_eq!(verified.files_equal, verified.files, "{verified:?}");
}

#[test]
fn what_is_wrong_with_the_key_is_named() {
    let pod = Pod::with_s3("keys");
    let key = pod.at(KEY_DIR).join(KEY_FILE);
    let reason = |text: Option<&str>| {
        match text {
            Some(text) => fs::write(&key, text).unwrap(),
            None => fs::remove_file(&key).unwrap(),
        }
        let (reason, message, code) = pod.failure(&pod.probe());
        assert_eq!(code, 3, "{message}");
        reason
    };
    for weak in ["", "\n", "changeme-changeme", "short"] {
        assert_eq!(reason(Some(weak)), FailureReason::KeyUnsafe, "{weak:?}");
    }
    assert_eq!(reason(None), FailureReason::KeyMissing);
    fs::write(&key, KEY).unwrap();
    assert!(matches!(pod.run(&pod.probe()), (Report::Probed(_), 0)));
    assert_eq!(reason(Some("quite another key, and long")), FailureReason::KeyMismatch);
}

#[test]
fn what_is_wrong_with_the_store_is_named() {
    let mut pod = Pod::with_s3("stores");
    let mut command = pod.command(&pod.probe());
    command.env_remove("AWS_SECRET_ACCESS_KEY");
    let (report, code) = pod.run_with(command);
    let Report::Failed(failure) = report else { panic!("{report:?}") };
    assert_eq!((failure.reason, code), (FailureReason::CredentialsMissing, 4));

    let mut command = pod.command(&pod.probe());
    command.env("AWS_SECRET_ACCESS_KEY", "not the secret");
    let (report, _) = pod.run_with(command);
    let Report::Failed(failure) = report else { panic!("{report:?}") };
    assert_eq!(failure.reason, FailureReason::AccessDenied, "{failure:?}");

    let Report::Probed(probed) = pod.run(&pod.probe()).0 else { panic!("not probed") };
    pod.expected_id = Some("0".repeat(32));
    let (reason, message, _) = pod.failure(&pod.probe());
    assert_eq!(reason, FailureReason::RepositoryReplaced);
    assert!(message.contains(&probed.id), "{message}");

    pod.prefix = "mover/nothing-here/".into();
    assert_eq!(pod.failure(&pod.probe()).0, FailureReason::RepositoryMissing);

    pod.endpoint = Some("http://127.0.0.1:9".into());
    assert_eq!(pod.failure(&pod.probe()).0, FailureReason::BucketUnreachable);
}

#[test]
fn what_is_wrong_with_the_source_or_the_request_is_named() {
    let pod = Pod::with_directory();
    pod.run(&pod.probe());
    assert_eq!(pod.failure(&pod.capture("empty")).0, FailureReason::ChromaDBNotFound);
    fs::write(pod.volume().join("chroma.sqlite3"), "this is no database, whatever it is called").unwrap();
    assert_eq!(pod.failure(&pod.capture("text")).0, FailureReason::SourceUnreadable);
    let mut request = pod.capture("outside");
    if let Request::Capture { source, .. } = &mut request {
        source.content = SourceContent::ChromaDb { data_path: "../outside".into(), image: String::new() };
    }
    assert_eq!(pod.failure(&request).0, FailureReason::InvalidRequest);
    let unknown = "0123456789abcdef0123456789abcdef";
    assert_eq!(pod.failure(&pod.restore(unknown, "uid")).0, FailureReason::PointNotFound);
    let mut command = pod.command(&pod.probe());
    command.env("HOLDFAST_REQUEST", r#"{"kind":"fly"}"#);
    let (report, code) = pod.run_with(command);
    assert!(matches!(report, Report::Failed(f) if f.reason == FailureReason::InvalidRequest) && code == 2);
    assert!(!pod.at(CA_DIR).exists(), "no bundle is needed without one");
}
