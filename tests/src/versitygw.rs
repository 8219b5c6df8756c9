//! A real versitygw, the second opinion on everything that speaks S3: plain, or with a certificate of an authority made
//! for the occasion. It keeps objects as files, versions included, so Object Lock can be tried on it. It hangs on a pipe
//! that this process holds, so it ends with the process however that ends.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::apiserver::tool;
use crate::ports;
use crate::seaweedfs::Identity;

/// How long the server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bucket that is there from the start.
pub const BUCKET: &str = "holdfast-tests";
/// A bucket with Object Lock, there from the start as well.
pub const LOCKED_BUCKET: &str = "holdfast-locked";
/// May do everything.
pub const ROOT: Identity = Identity { access_key: "tests-root", secret_key: "tests-root-secret" };

/// The hash of a body without bytes, which curl doesn't add by itself.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A running server.
#[derive(Debug)]
pub struct VersityGw {
    endpoint: String,
    directory: PathBuf,
    // Its standard input is the pipe on whose end the server ends.
    _keeper: Child,
}

impl VersityGw {
    /// The server of this test program, without TLS.
    ///
    /// # Panics
    /// When it can't be built or started.
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<VersityGw> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(false).expect("versitygw starts"))
    }

    /// Starts a server of one's own, with TLS if asked for.
    ///
    /// # Errors
    /// When the program can't be built or doesn't become ready in time.
    pub fn start(with_tls: bool) -> Result<Self> {
        let program = tool("versitygw")?;
        let [port] = ports::free()?;
        let directory =
            std::env::temp_dir().join(format!("holdfast-versitygw-{}-{port}", std::process::id()));
        for part in ["objects", "versions"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let log = fs::File::create(directory.join("log"))?;
        let script = r#"trap : INT; directory=$1; shift; "$@" & server=$!
            cat >/dev/null; kill "$server" 2>/dev/null; wait "$server"; rm -rf "$directory""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "versitygw"]).arg(&directory).arg(program);
        command.args(["--quiet", "--port"]).arg(format!("127.0.0.1:{port}"));
        if with_tls {
            certify(&directory)?;
            command.arg("--cert").arg(directory.join("server.crt"));
            command.arg("--key").arg(directory.join("server.key"));
        }
        let keeper = command
            .args(["posix", "--versioning-dir"])
            .arg(directory.join("versions"))
            .arg(directory.join("objects"))
            .env("ROOT_ACCESS_KEY", ROOT.access_key)
            .env("ROOT_SECRET_KEY", ROOT.secret_key)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("can't start a shell")?;
        let scheme = if with_tls { "https" } else { "http" };
        let server = Self { endpoint: format!("{scheme}://127.0.0.1:{port}"), directory, _keeper: keeper };
        server.prepare(port).with_context(|| {
            let said = fs::read_to_string(server.directory.join("log")).unwrap_or_default();
            format!("versitygw is not usable; it said: {said}")
        })?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The certificate of the authority that signed the server's, in PEM.
    ///
    /// # Errors
    /// When the server was started without TLS.
    pub fn authority(&self) -> Result<Vec<u8>> {
        fs::read(self.directory.join("ca.crt")).context("the server was started without TLS")
    }

    fn prepare(&self, port: u16) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(begun.elapsed() < PATIENCE, "it did not listen after {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.make_bucket(BUCKET, false)?;
        self.make_bucket(LOCKED_BUCKET, true)
    }

    fn make_bucket(&self, name: &str, locked: bool) -> Result<()> {
        let url = format!("{}/{name}", self.endpoint);
        let authority = self.directory.join("ca.crt");
        let mut curl = vec!["--request", "PUT", &url];
        if self.endpoint.starts_with("https") {
            curl.extend(["--cacert", authority.to_str().context("the path is UTF-8")?]);
        }
        if locked {
            curl.extend(["--header", "x-amz-bucket-object-lock-enabled: true"]);
        }
        Self::curl(&curl).map(drop)
    }

    /// What a server of this kind answers to a signed request without a body, asked by curl and so not by the SDK.
    ///
    /// # Errors
    /// When the answer is a refusal; it is part of the message.
    pub fn curl(arguments: &[&str]) -> Result<String> {
        signed(&ROOT, arguments)
    }
}

/// What an S3 server answers to a request without a body that this identity signed, asked by curl.
///
/// # Errors
/// When the answer is a refusal; it is part of the message.
pub fn signed(identity: &Identity, arguments: &[&str]) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body"])
        .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user"])
        .arg(format!("{}:{}", identity.access_key, identity.secret_key))
        .arg("--header")
        .arg(format!("x-amz-content-sha256: {EMPTY_SHA256}"))
        .args(arguments);
    succeed(&mut curl)
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certify(directory: &Path) -> Result<()> {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        succeed(command.args(arguments).current_dir(directory)).map(drop)
    };
    let authority = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=holdfast tests CA", "-days", "2"];
    openssl(&[&["req", "-x509"], &key[..], &authority].concat())?;
    let request = ["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1"];
    let name = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    openssl(&[&["req", "-new"], &key[..], &request, &name].concat())?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-copy_extensions",
        "copy",
        "-out",
        "server.crt",
    ])
}

fn succeed(command: &mut Command) -> Result<String> {
    let said = command.output().with_context(|| format!("can't run {:?}", command.get_program()))?;
    if !said.status.success() {
        bail!(
            "{:?} failed: {}{}",
            command.get_program(),
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}
