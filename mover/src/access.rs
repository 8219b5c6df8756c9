//! From a Request or a URL to an open repository: credentials, key and certificate authorities are looked for first, so that
//! what is missing is named before anything is sent.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crds::job::{FailureReason, RepositoryAccess, RepositoryPlace};
use crds::repository::{Addressing, Strength};
use engine::store::{
    DirStore, Location, Lock, LockMode, Patience, S3Credentials, S3Options, S3Store, Store, steady,
};
use engine::{Password, Repository};
use secrecy::ExposeSecret;

use crate::environment::Environment;
use crate::failure::{Failure, Result, sentence};
use crate::places::Places;

/// The store that a Request names, whose objects are written without a lock, or with this one. `instead`, a repository
/// URL, takes the place of the bucket.
pub async fn store_of(
    access: &RepositoryAccess,
    environment: &Environment,
    places: &Places,
    instead: Option<&Location>,
    lock: Option<Lock>,
) -> Result<Arc<dyn Store>> {
    if let Some(Location::Directory(path)) = instead {
        return directory(path, lock);
    }
    let (endpoint, region, bucket, prefix, addressing) = match &access.place {
        RepositoryPlace::S3 { endpoint, region, bucket, prefix, addressing } => {
            (endpoint, region, bucket, prefix, *addressing)
        }
        RepositoryPlace::Volume { claim } => return volume(claim, places, lock),
    };
    let credentials = credentials(environment).ok_or_else(|| {
        Failure::new(
            FailureReason::CredentialsMissing,
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; the Secret named in spec.s3.credentials needs both keys",
        )
    })?;
    let mut options = S3Options::new(bucket, prefix);
    options.endpoint.clone_from(endpoint);
    options.region = Some(region.clone());
    options.path_style = Some(addressing == Addressing::Path);
    options.credentials = Some(credentials);
    options.lock = lock;
    options.ca_bundle = match fs::read(places.ca()) {
        Ok(pem) => Some(pem),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(Failure::unexpected(format!("can't read {}", places.ca().display()), &e)),
    };
    Ok(steady(Arc::new(S3Store::connect(options).await?), Patience::default(), None).0)
}

/// The lock that a Request asks for, from now on.
pub fn lock_of(access: &RepositoryAccess, environment: &Environment) -> Result<Option<Lock>> {
    let Some(wanted) = access.lock else { return Ok(None) };
    let mode = match wanted.strength {
        Strength::Governance => LockMode::Governance,
        Strength::Compliance => LockMode::Compliance,
    };
    let lock = Lock::new(mode, wanted.retain_for.to_duration(), (environment.clock)());
    lock.map(Some).map_err(|why| Failure::new(FailureReason::InvalidRequest, why))
}

/// The volume of a claim. Movers run as whoever owns the files of their workload, so all of them may write into it: what lies there is encrypted and
/// authenticated, and only who mounts the claim can reach it.
fn volume(claim: &str, places: &Places, lock: Option<Lock>) -> Result<Arc<dyn Store>> {
    let path = places.repository();
    if !path.parent().is_some_and(Path::is_dir) {
        let why = format!("the volume of claim {claim} is not mounted; it is the place of this repository");
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    directory(path, lock)
}

/// A directory. It can't keep anything from whoever may write there, so it takes no lock.
fn directory(path: impl Into<PathBuf>, lock: Option<Lock>) -> Result<Arc<dyn Store>> {
    let path = path.into();
    match lock {
        None => Ok(Arc::new(DirStore::new(path))),
        Some(_) => Err(Failure::new(
            FailureReason::LockNotEnforced,
            format!(
                "objects can't be locked in file://{}: a directory has no Object Lock. Use a bucket that was made with it, or ask \
                 for no lock",
                path.display()
            ),
        )),
    }
}

/// The store at a URL, with the usual AWS environment, whose objects are written without a lock, or with this one.
pub async fn store_at(url: &str, environment: &Environment, lock: Option<Lock>) -> Result<Arc<dyn Store>> {
    let location =
        Location::parse(url).map_err(|e| Failure::new(FailureReason::InvalidRequest, e.to_string()))?;
    let (bucket, prefix) = match location {
        Location::Directory(path) => return directory(path, lock),
        Location::S3 { bucket, prefix } => (bucket, prefix),
    };
    let mut options = S3Options::new(bucket, prefix);
    options.endpoint.clone_from(&environment.endpoint);
    options.region.clone_from(&environment.region);
    options.credentials = credentials(environment);
    options.lock = lock;
    if let Some(path) = &environment.ca_bundle {
        let pem = fs::read(path).map_err(|e| {
            Failure::new(
                FailureReason::InvalidRequest,
                format!(
                    "can't read AWS_CA_BUNDLE {}: {e}; give a file with PEM certificates",
                    path.display()
                ),
            )
        })?;
        options.ca_bundle = Some(pem);
    }
    Ok(steady(Arc::new(S3Store::connect(options).await?), Patience::default(), None).0)
}

fn credentials(environment: &Environment) -> Option<S3Credentials> {
    Some(S3Credentials {
        access_key_id: environment.access_key_id.clone()?,
        secret_access_key: environment.secret_access_key.clone()?,
        session_token: environment.session_token.clone(),
    })
}

/// The key in this file: `None` when there is no file.
pub fn key_in(file: &Path) -> Result<Option<Password>> {
    match fs::read(file) {
        Ok(bytes) => Password::new(bytes).map(Some).map_err(Failure::from),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::new(
            FailureReason::KeyMissing,
            format!("can't read the key in {}: {e}", file.display()),
        )),
    }
}

/// The repository's key as the Job has it mounted.
pub fn mounted_key(places: &Places) -> Result<Password> {
    key_in(&places.key())?.ok_or_else(|| {
        Failure::new(
            FailureReason::KeyMissing,
            "no key is mounted: the Secret named in spec.encryption.keySecretRef needs the key `password`; \
             make one with: kubectl create secret generic NAME --from-literal=password=\"$(holdfast key generate)\"",
        )
    })
}

/// The password of the command line: the file's, else the environment's.
pub fn given_key(file: Option<&Path>, environment: &Environment) -> Result<Password> {
    let missing = || {
        Failure::new(
            FailureReason::KeyMissing,
            "no password was given: set HOLDFAST_PASSWORD, or give --password-file FILE",
        )
    };
    match file {
        Some(file) => key_in(file)?.ok_or_else(|| {
            Failure::new(
                FailureReason::KeyMissing,
                format!("the password file {} does not exist", file.display()),
            )
        }),
        None => {
            let given = environment.password.as_ref().ok_or_else(missing)?;
            Ok(Password::new(given.expose_secret().as_bytes().to_vec())?)
        }
    }
}

/// The new key of the command line: the file's, which is made with a random key when asked for, else the environment's.
pub fn new_key(file: Option<&Path>, generate: bool, environment: &Environment) -> Result<Password> {
    let missing = |why: String| Err(Failure::new(FailureReason::KeyMissing, why));
    match (file, &environment.new_password) {
        (Some(file), _) if generate => generate_key(file),
        (Some(file), _) => match key_in(file)? {
            Some(key) => Ok(key),
            None => missing(format!(
                "the password file {} does not exist; add --generate to make it with a random key",
                file.display()
            )),
        },
        (None, Some(given)) => Ok(Password::new(given.expose_secret().as_bytes().to_vec())?),
        (None, None) => missing(
            "no new password was given: set HOLDFAST_NEW_PASSWORD, or give --new-password-file FILE"
                .to_owned(),
        ),
    }
}

/// Makes a random key and stores it before anything depends on it. An existing file is never written.
fn generate_key(file: &Path) -> Result<Password> {
    let key = Password::generate();
    let written = File::options().write(true).create_new(true).mode(0o600).open(file).and_then(|mut made| {
        made.write_all(key.expose())?;
        made.write_all(b"\n")?;
        made.sync_all()
    });
    match written {
        Ok(()) => Ok(key),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Failure::new(
            FailureReason::InvalidRequest,
            format!(
                "{} exists and is not overwritten: leave --generate out to use the key in it, or name another file",
                file.display()
            ),
        )),
        Err(e) => Err(Failure::unexpected(format!("can't write the new key to {}", file.display()), &e)),
    }
}

/// Opens the repository of a Request and makes sure that it is the one it names.
pub async fn open(
    access: &RepositoryAccess,
    store: Arc<dyn Store>,
    password: &Password,
) -> Result<Repository> {
    let repository = Repository::open(store, password).await?;
    expect_id(access, &repository)?;
    Ok(repository)
}

/// Refuses a repository that was made anew in the same place.
pub fn expect_id(access: &RepositoryAccess, repository: &Repository) -> Result<()> {
    match &access.expected_id {
        Some(expected) if *expected != repository.id() => Err(Failure::new(
            FailureReason::RepositoryReplaced,
            format!(
                "{} holds repository {}, but {expected} was there before: it was replaced, and its points are not the ones \
                 recorded. Restore the old objects, or delete this RecoveryRepository and create it anew",
                repository.place(),
                repository.id()
            ),
        )),
        _ => Ok(()),
    }
}

/// A point by its id in text.
pub async fn point(repository: &Repository, id: &str) -> Result<engine::Point> {
    let id =
        id.parse().map_err(|e: engine::Error| Failure::new(FailureReason::PointNotFound, sentence(&e)))?;
    repository.point(id).await.map_err(|e| Failure::from(e).while_reading_a_point())
}
