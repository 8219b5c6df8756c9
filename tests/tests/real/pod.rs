//! The mover as a pod runs it: its mounts below a directory, its Request in the environment, its Report in a file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

use crds::{
    job::{
        CaptureSource, Captured, CapturedChroma, FailureReason, KEY_DIR, KEY_FILE, REPOSITORY_DIR, Report,
        RepositoryAccess, RepositoryPlace, Request, RunMark, SCRATCH_DIR, SOURCE_DIR, SourceContent,
        TARGET_DIR,
    },
    repository::{Addressing, Lock},
};
use jiff::SignedDuration;
use rusqlite::Connection;
use tempfile::TempDir;
use tests::{
    seaweedfs::{ADMIN, BUCKET, LOCKED_BUCKET, SeaweedFs, WRITER},
    shell::{Shell, holdfast},
};

/// The claim that is captured.
pub(crate) const CLAIM: &str = "data-chromadb-0";
pub(crate) const KEY: &str = "a key for the tests, long enough\n";

/// What a pod of the mover has: mounts below one directory, and where its repository is.
pub(crate) struct Pod {
    pub(crate) root: TempDir,
    pub(crate) endpoint: Option<String>,
    pub(crate) prefix: String,
    pub(crate) expected_id: Option<String>,
    /// Its repository is on the volume of a claim.
    pub(crate) volume: bool,
    /// Asked for, in a bucket that has Object Lock.
    pub(crate) lock: Option<Lock>,
}

impl Pod {
    /// One with a key and a repository of its own in the S3 server.
    pub(crate) fn with_s3(name: &str) -> Pod {
        let mut pod = Pod::with_directory();
        pod.endpoint = Some(SeaweedFs::shared().endpoint().to_owned());
        pod.prefix = format!("mover/{name}/");
        pod
    }

    /// One whose repository is a directory.
    pub(crate) fn with_directory() -> Pod {
        let pod = Pod {
            root: tempfile::tempdir().unwrap(),
            endpoint: None,
            prefix: String::new(),
            expected_id: None,
            volume: false,
            lock: None,
        };
        for dir in [KEY_DIR, SCRATCH_DIR] {
            fs::create_dir_all(pod.at(dir)).unwrap();
        }
        fs::create_dir_all(pod.volume()).unwrap();
        fs::create_dir_all(pod.target()).unwrap();
        fs::write(pod.at(KEY_DIR).join(KEY_FILE), KEY).unwrap();
        pod
    }

    /// One whose repository is on a volume that is mounted.
    pub(crate) fn with_volume() -> Pod {
        let pod = Pod { volume: true, ..Pod::with_directory() };
        fs::create_dir_all(pod.at(REPOSITORY_DIR)).unwrap();
        pod
    }

    /// A person's shell on its repository, which is a directory.
    pub(crate) fn shell(&self) -> Shell {
        let url = format!("file://{}", self.root.path().join("repository").display());
        Shell { url, password: KEY.trim_end().to_owned() }
    }

    /// Whether a writer gets the lock of the database, within the time that one bears.
    pub(crate) fn can_lock(&self) -> bool {
        let connection = Connection::open(self.volume().join("chroma.sqlite3")).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    }

    /// Starts a capture and returns once it has said this.
    pub(crate) fn capture_until(&self, attempt: &str, said: &str) -> (Child, BufReader<ChildStderr>) {
        let mut child = self.command(&self.capture(attempt)).spawn().unwrap();
        let mut output = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while output.read_line(&mut line).unwrap() > 0 && !line.contains(said) {
            line.clear();
        }
        assert!(line.contains(said), "the capture ended before it said: {said}");
        (child, output)
    }

    /// The volume of the claim that is captured.
    pub(crate) fn volume(&self) -> PathBuf {
        self.at(SOURCE_DIR).join(CLAIM)
    }

    /// The volume that it is restored into.
    pub(crate) fn target(&self) -> PathBuf {
        self.at(TARGET_DIR).join(CLAIM)
    }

    pub(crate) fn at(&self, dir: &str) -> PathBuf {
        self.root.path().join(dir.trim_start_matches('/'))
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.path().join("termination-log")
    }

    fn place(&self) -> RepositoryPlace {
        if self.volume {
            return RepositoryPlace::Volume { claim: "emergency-storage".into() };
        }
        RepositoryPlace::S3 {
            endpoint: self.endpoint.clone(),
            region: "us-east-1".into(),
            bucket: if self.lock.is_some() { LOCKED_BUCKET } else { BUCKET }.into(),
            prefix: self.prefix.clone(),
            addressing: Addressing::Path,
        }
    }

    pub(crate) fn access(&self) -> RepositoryAccess {
        RepositoryAccess {
            place: self.place(),
            expected_id: self.expected_id.clone(),
            read_only: false,
            sealed: false,
            evidence: false,
            lock: self.lock,
        }
    }

    pub(crate) fn command(&self, request: &Request) -> Command {
        let mut command = Command::new(holdfast());
        command.arg("job").arg("--termination-log").arg(self.log());
        if self.endpoint.is_none() && !self.volume {
            command
                .arg("--repository")
                .arg(format!("file://{}", self.root.path().join("repository").display()));
        }
        let identity = if self.lock.is_some() { ADMIN } else { WRITER };
        command
            .env("HOLDFAST_REQUEST", serde_json::to_string(request).unwrap())
            .env("HOLDFAST_ROOT", self.root.path())
            .env("AWS_ACCESS_KEY_ID", identity.access_key)
            .env("AWS_SECRET_ACCESS_KEY", identity.secret_key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn report(&self) -> Report {
        serde_json::from_slice(&fs::read(self.log()).expect("a report was written")).unwrap()
    }

    pub(crate) fn run(&self, request: &Request) -> (Report, i32) {
        self.run_with(self.command(request))
    }

    pub(crate) fn run_with(&self, mut command: Command) -> (Report, i32) {
        let _ = fs::remove_file(self.log());
        let output = command.output().unwrap();
        keeps_secrets(&output);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("{said}");
        (self.report(), output.status.code().expect("it was not killed"))
    }

    pub(crate) fn failure(&self, request: &Request) -> (FailureReason, String, i32) {
        match self.run(request) {
            (Report::Failed(failure), code) => (failure.reason, failure.message, code),
            (other, _) => panic!("{other:?} is no failure"),
        }
    }

    pub(crate) fn probe(&self) -> Request {
        Request::Probe { repository: self.access() }
    }

    pub(crate) fn capture(&self, attempt: &str) -> Request {
        let source = CaptureSource {
            policy: "chromadb".into(),
            namespace: "arxiv".into(),
            claims: vec![CLAIM.into()],
            content: SourceContent::ChromaDb {
                data_path: String::new(),
                image: "chroma@sha256:5b7e11aa".into(),
            },
            max_writer_pause: SignedDuration::from_secs(20),
            policy_spec: serde_json::json!({"component": {"chromaDB": {}}}),
        };
        Request::Capture { repository: self.access(), attempt: attempt.into(), source, turn: None, cut: None }
    }

    pub(crate) fn captured(&self, attempt: &str) -> Captured {
        match self.run(&self.capture(attempt)) {
            (Report::Captured(captured), 0) => *captured,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn confirm(&self, attempt: &str) -> Report {
        self.run(&Request::Confirm { repository: self.access(), attempt: attempt.into() }).0
    }

    pub(crate) fn restore(&self, point: &str, uid: &str) -> Request {
        let run = RunMark {
            namespace: "arxiv".into(),
            name: "db-2026-11-23".into(),
            uid: uid.into(),
            spec_hash: "77d0".into(),
        };
        Request::Restore { repository: self.access(), point: point.into(), claims: vec![CLAIM.into()], run }
    }

    pub(crate) fn verify(&self, point: &str) -> Request {
        Request::VerifyOffline {
            repository: self.access(),
            point: point.into(),
            claims: vec![CLAIM.into()],
            data_path: Some(String::new()),
        }
    }
}

/// What a capture of a ChromaDB says of it.
pub(crate) fn chroma(captured: &Captured) -> &CapturedChroma {
    captured.chroma().expect("a ChromaDB was captured")
}

/// I11: neither keys nor credentials in anything a mover prints.
pub(crate) fn keeps_secrets(output: &Output) {
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream);
        assert!(
            !text.contains(KEY.trim())
                && !text.contains(WRITER.secret_key)
                && !text.contains(ADMIN.secret_key),
            "{text}"
        );
    }
}

/// An SQLite database of some megabytes where a ChromaDB should be: the guard captures it, and the check says what it is.
pub(crate) fn ballast(data: &Path, megabytes: usize) {
    let connection = Connection::open(data.join("chroma.sqlite3")).unwrap();
    connection.execute_batch("CREATE TABLE rows (content BLOB)").unwrap();
    for _ in 0..megabytes {
        connection.execute("INSERT INTO rows VALUES (randomblob(1000000))", []).unwrap();
    }
}
