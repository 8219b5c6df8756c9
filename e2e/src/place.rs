//! The cluster that the stories are played in: the local one, or one of the user's. All that differs between the two is
//! decided here and in `reach`.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::program::Program;
use crate::reach::Reach;
use crate::solo::Solo;

/// Label on everything that is made here, so that a later run finds what a killed one left.
pub const LABEL: &str = "e2e.holdfast.dev/run";

/// Everything a story needs to know of its surroundings.
pub struct Place {
    pub client: Client,
    pub reach: Reach,
    pub kubectl: Program,
    pub helm: Program,
    /// The `holdfast` binary, as it is used on the day the cluster is gone.
    pub holdfast: Program,
    /// ChromaDB's server, for a restored directory on this machine.
    pub chroma: Program,
    pub chart: PathBuf,
    pub images: Images,
    pub s3: S3,
    /// Where the local cluster keeps the records of its daemons.
    pub daemons: Option<PathBuf>,
    /// Where the local cluster keeps its volumes, a directory each, on this machine; absent in a cluster of the user's.
    pub volumes: Option<PathBuf>,
    /// Unique in this run: part of names and prefixes.
    pub token: String,
    pub verbose: bool,
    /// Who may touch the installation.
    pub solo: Solo,
}

pub struct Images {
    pub mover: String,
    pub controller: String,
    pub chromadb: String,
}

/// The S3 server.
#[derive(Clone)]
pub struct S3 {
    /// As pods reach it.
    pub endpoint: String,
    /// As this program reaches it.
    pub endpoint_here: String,
    pub region: String,
    pub bucket: String,
    pub writer: Identity,
    /// May list and read, not write.
    pub reader: Option<Identity>,
}

#[derive(Clone)]
pub struct Identity {
    pub access_key: String,
    pub secret_key: String,
}

/// Whether the cluster is the user's.
pub fn is_existing() -> bool {
    env::var("HOLDFAST_E2E_CLUSTER").is_ok_and(|which| which == "existing")
}

impl Place {
    pub async fn find(verbose: bool) -> Result<Self> {
        let existing = is_existing();
        let kubeconfig = env::var("KUBECONFIG").context("KUBECONFIG is not set: run it by e2e/run.sh")?;
        let config = Config::from_custom_kubeconfig(
            Kubeconfig::read_from(&kubeconfig).with_context(|| format!("{kubeconfig} can't be read"))?,
            &KubeConfigOptions::default(),
        )
        .await?;
        let client = Client::try_from(config)?;
        let version = client.apiserver_version().await.context("the API server does not answer")?;
        let kubectl = Program::new(tool("HOLDFAST_KUBECTL", "tools.sh", "kubectl").await?);
        let reach = if existing { Reach::forwarded(kubectl.clone()) } else { Reach::direct(client.clone()) };
        if verbose {
            println!("Kubernetes {}", version.git_version);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let or = |key: &str, default: &str| env::var(key).unwrap_or_else(|_| default.to_owned());
        Ok(Self {
            client,
            reach,
            helm: Program::new(tool("HOLDFAST_HELM", "tools.sh", "helm").await?),
            kubectl,
            holdfast: Program::new(match env::var("HOLDFAST_CLI") {
                Ok(path) => PathBuf::from(path),
                Err(_) => env::current_exe()?.with_file_name("holdfast"),
            }),
            chroma: Program::new(tool("HOLDFAST_CHROMA", "python.sh", "chroma").await?),
            chart: root.join("charts/holdfast"),
            images: Images {
                mover: or("HOLDFAST_E2E_MOVER_IMAGE", "localhost/holdfast:dev"),
                controller: or("HOLDFAST_E2E_CONTROLLER_IMAGE", "localhost/holdfast-controller:dev"),
                chromadb: or("HOLDFAST_E2E_CHROMADB_IMAGE", "localhost/chromadb:1.5.9"),
            },
            s3: if existing { S3::from_environment()? } else { S3::of_local_cluster(&kubeconfig)? },
            daemons: (!existing).then(|| Path::new(&kubeconfig).with_file_name("run")),
            volumes: (!existing).then(|| Path::new(&kubeconfig).with_file_name("pool").join("volumes")),
            token: token(),
            verbose,
            solo: Solo::default(),
        })
    }
}

impl S3 {
    fn from_environment() -> Result<Self> {
        let want = |key: &str| {
            env::var(key)
                .with_context(|| format!("with HOLDFAST_E2E_CLUSTER=existing {key} is wanted as well"))
        };
        let endpoint = want("HOLDFAST_E2E_S3_ENDPOINT")?;
        Ok(Self {
            endpoint_here: env::var("HOLDFAST_E2E_S3_ENDPOINT_HERE").unwrap_or_else(|_| endpoint.clone()),
            endpoint,
            region: env::var("HOLDFAST_E2E_S3_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
            bucket: want("HOLDFAST_E2E_S3_BUCKET")?,
            writer: Identity {
                access_key: want("HOLDFAST_E2E_S3_ACCESS_KEY")?,
                secret_key: want("HOLDFAST_E2E_S3_SECRET_KEY")?,
            },
            reader: env::var("HOLDFAST_E2E_S3_READER_ACCESS_KEY")
                .ok()
                .zip(env::var("HOLDFAST_E2E_S3_READER_SECRET_KEY").ok())
                .map(|(access_key, secret_key)| Identity { access_key, secret_key }),
        })
    }

    /// The local cluster writes what its S3 server wants beside its kubeconfig.
    fn of_local_cluster(kubeconfig: &str) -> Result<Self> {
        let path = Path::new(kubeconfig).with_file_name("s3.env");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} can't be read: is the local cluster up?", path.display()))?;
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let get = |key: &str| match values.get(key) {
            Some(value) => Ok((*value).to_owned()),
            None => bail!("{} does not name {key}", path.display()),
        };
        let identity = |who: &str| -> Result<Identity> {
            Ok(Identity {
                access_key: get(&format!("S3_{who}_ACCESS_KEY"))?,
                secret_key: get(&format!("S3_{who}_SECRET_KEY"))?,
            })
        };
        Ok(Self {
            endpoint: get("S3_ENDPOINT")?,
            endpoint_here: get("S3_ENDPOINT")?,
            region: get("S3_REGION")?,
            bucket: get("S3_BUCKET")?,
            writer: identity("WRITER")?,
            reader: Some(identity("READER")?),
        })
    }
}

/// A program of the test bed: named by the environment, or else where the cluster's scripts keep it.
async fn tool(variable: &str, script: &str, name: &str) -> Result<PathBuf> {
    if let Ok(path) = env::var(variable) {
        return Ok(PathBuf::from(path));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(script);
    let path = Program::new(&script).run(&["--print-path", name], None).await?;
    Ok(PathBuf::from(path.trim()))
}

/// Six letters and digits of the time and this process.
fn token() -> String {
    let now = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    let mut n = now.wrapping_mul(1009).wrapping_add(u64::from(std::process::id()));
    (0..6)
        .map(|_| {
            let digit = u32::try_from(n % 36).unwrap_or(0);
            n /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        })
        .collect()
}
