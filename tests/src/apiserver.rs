//! A real API server with its etcd, for tests of schemas, admission policies and the chart. Tests that want the same
//! things in it share one, started when the first of them asks for it. It hangs on a pipe that this process holds, so it ends with the process however that
//! ends. There is no controller manager: nothing is collected, and a namespace with content stays Terminating.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    directory: PathBuf,
    kubectl: PathBuf,
    namespaces: AtomicUsize,
    // Its standard input is the pipe on whose end the server ends.
    _keeper: Child,
}

/// What a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// The standard output of a program that must have succeeded.
    ///
    /// # Panics
    /// When it failed; the message is what it said.
    #[must_use]
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.ok, "refused, though it should not be:\n{}{}", self.out, self.err);
        self.out
    }

    /// What a program that must have failed said about it.
    ///
    /// # Panics
    /// When it succeeded.
    #[must_use]
    #[track_caller]
    pub fn refusal(self) -> String {
        assert!(!self.ok, "accepted, though it should be refused:\n{}", self.out);
        self.err
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl ApiServer {
    /// The server that lives in `once`, prepared by `prepare` when it was just started.
    ///
    /// # Panics
    /// When it can't be started or prepared; the message says why.
    pub fn shared(once: &'static OnceLock<Self>, prepare: fn(&Self)) -> &'static Self {
        once.get_or_init(|| {
            let server = Self::start().expect("the API server starts: make setup prepares what it needs");
            prepare(&server);
            server
        })
    }

    /// Starts a server with an empty etcd.
    ///
    /// # Errors
    /// When its programs can't be built or it does not become ready within a minute.
    pub fn start() -> Result<Self> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("holdfast-apiserver-{}-{number}", std::process::id()));
        let script = repository().join("e2e/cluster/apiserver.sh");
        // The directory goes when the server has gone; on Ctrl-C the script still cleans up, this shell with it.
        let mut keeper = Command::new("bash")
            .args(["-c", r#"trap : INT; "$0" run "$1"; rm -rf "$1""#])
            .arg(&script)
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", script.display()))?;
        let said = keeper.stdout.take().context("the script has no standard output")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line.starts_with("KUBECONFIG="), "{} gave up; its own words stand above", script.display());
        let kubectl = tool("kubectl")?;
        Ok(Self { directory, kubectl, namespaces: AtomicUsize::new(0), _keeper: keeper })
    }

    /// Path of the administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Runs kubectl with arguments separated by blanks.
    ///
    /// # Panics
    /// When kubectl can't be run at all.
    pub fn kubectl(&self, arguments: &str) -> Answer {
        self.kubectl_reading(arguments, "")
    }

    /// Runs kubectl with arguments separated by blanks and `input` as its standard input (`-f -`).
    ///
    /// # Panics
    /// When kubectl can't be run at all.
    pub fn kubectl_reading(&self, arguments: &str, input: &str) -> Answer {
        let mut command = Command::new(&self.kubectl);
        command.args(arguments.split_whitespace());
        self.run(command, input)
    }

    /// Runs any client of the server: it finds the kubeconfig, and a home of its own that nobody else shares.
    ///
    /// # Panics
    /// When the program can't be run at all.
    pub fn run(&self, mut command: Command, input: &str) -> Answer {
        let mut child = command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", &self.directory)
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
        // A program that refuses before reading everything closes the pipe; what it said counts.
        let _ = child.stdin.take().expect("it was piped").write_all(input.as_bytes());
        child.wait_with_output().expect("a child can be waited for").into()
    }

    /// A new namespace for one test: `<prefix>-<number>`.
    ///
    /// # Panics
    /// When it can't be created.
    pub fn namespace(&self, prefix: &str) -> String {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let _ = self.kubectl(&format!("create namespace {name}")).success();
        name
    }
}

/// Path of a pinned program, or of the directory of those files, built into the cache when it is not there yet.
///
/// # Errors
/// When it can't be built.
pub fn tool(name: &str) -> Result<PathBuf> {
    let script = repository().join("e2e/cluster/tools.sh");
    let built = Command::new(&script).arg(name).stdout(Stdio::null()).status()?;
    ensure!(built.success(), "{} {name} failed", script.display());
    let said = Command::new(&script).args(["--print-path", name]).output()?;
    let path = PathBuf::from(String::from_utf8(said.stdout)?.trim());
    if !path.exists() {
        bail!("{} {name} left nothing at {}", script.display(), path.display());
    }
    Ok(path)
}

/// Root of the work tree.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the work tree")
}
