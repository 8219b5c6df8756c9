//! How to talk to a bucket: endpoint, credentials, certificates, timeouts. It refuses a CA bundle that isn't one before
//! the SDK would abort on it, and switches the SDK's own retries off: [`super::Retrying`] does that for every store alike.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::{Builder, tls};
use secrecy::{ExposeSecret, SecretString};

use super::lock::Lock;

/// Static credentials. Never printed.
#[derive(Clone)]
pub struct S3Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: SecretString,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Credentials(..)")
    }
}

/// Which integrity checksums are added to requests, beyond the signature over the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// Only where the API demands one: works with every S3 compatible store.
    #[default]
    WhenRequired,
    /// Always: slower, and some compatible stores answer 501.
    WhenSupported,
}

/// Where the bucket is and how to talk to it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The endpoint; AWS's own when absent.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` with an endpoint, else from the environment.
    pub region: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The prefix; slashes at its ends don't matter.
    pub prefix: String,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`. By default: exactly when an endpoint is set.
    pub path_style: Option<bool>,
    /// Credentials; by default the usual AWS environment, profile, or web identity.
    pub credentials: Option<S3Credentials>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_bundle: Option<Vec<u8>>,
    /// How long establishing a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take, its body of some megabytes included. A store that is slower than that fails.
    pub attempt_timeout: Duration,
    /// Integrity checksums.
    pub checksums: Checksums,
    /// Objects of more bytes than this are written in parts.
    pub multipart_above: u64,
    /// How large a part is, in bytes; S3 wants 5 MiB at least.
    pub part_size: u64,
    /// How objects that stay are locked when they are written; by default the bucket decides.
    pub lock: Option<Lock>,
}

impl S3Options {
    /// Options with defaults for all but the bucket and the prefix.
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            endpoint: None,
            region: None,
            bucket: bucket.into(),
            prefix: prefix.into(),
            path_style: None,
            credentials: None,
            ca_bundle: None,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(120),
            checksums: Checksums::default(),
            multipart_above: 64 << 20,
            part_size: 16 << 20,
            lock: None,
        }
    }
}

/// A client with these options; the error says what is wrong with the CA bundle.
pub(super) async fn client(options: &S3Options) -> Result<Client, String> {
    let http = http_client(options)?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(options.connect_timeout)
        .operation_attempt_timeout(options.attempt_timeout)
        .operation_timeout(options.attempt_timeout)
        .build();
    let region = options.region.clone().or_else(|| options.endpoint.as_ref().map(|_| "us-east-1".to_owned()));
    let path_style = options.path_style.unwrap_or(options.endpoint.is_some());
    let (request_checksums, response_checksums) = match options.checksums {
        // A write that locks is refused without a checksum, which the SDK doesn't know to be required.
        Checksums::WhenRequired if options.lock.is_some() => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenRequired)
        }
        Checksums::WhenRequired => {
            (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
        }
        Checksums::WhenSupported => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
        }
    };
    let mut builder = match &options.credentials {
        Some(given) => {
            let token = given.session_token.as_ref().map(|t| t.expose_secret().to_owned());
            let secret = given.secret_access_key.expose_secret();
            let credentials = Credentials::new(&given.access_key_id, secret, token, None, "holdfast");
            aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(region.unwrap_or_else(|| "us-east-1".to_owned())))
                .credentials_provider(credentials)
        }
        None => {
            let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
            if let Some(region) = region {
                loader = loader.region(Region::new(region));
            }
            aws_sdk_s3::config::Builder::from(&loader.load().await)
        }
    };
    builder.set_endpoint_url(options.endpoint.clone());
    let config = builder
        .http_client(http)
        .force_path_style(path_style)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
        .request_checksum_calculation(request_checksums)
        .response_checksum_validation(response_checksums)
        .build();
    Ok(Client::from_conf(config))
}

/// An HTTP client: plain without TLS for an http endpoint, with the given roots, or with the system's.
fn http_client(options: &S3Options) -> Result<aws_sdk_s3::config::SharedHttpClient, String> {
    if options.endpoint.as_ref().is_some_and(|e| e.starts_with("http://")) {
        return Ok(Builder::new().build_http());
    }
    let trusted = match &options.ca_bundle {
        None => tls::TrustStore::default(),
        Some(pem) => {
            check_bundle(pem)?;
            tls::TrustStore::empty().with_pem_certificate(pem.clone())
        }
    };
    let context = tls::TlsContext::builder().with_trust_store(trusted).build().map_err(|e| e.to_string())?;
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    Ok(Builder::new().tls_provider(provider).tls_context(context).build_https())
}

fn check_bundle(pem: &[u8]) -> Result<(), String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| format!("it is not PEM: {e}"))?;
        roots.add(certificate).map_err(|e| format!("it holds an unusable certificate: {e}"))?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}
