//! Replaces values of Secrets, through the Kubernetes API. The account has no right to read one: it sees those that it may change by a change that
//! changes nothing, which the chart's admission policy lets through for these alone. Every Secret is marked in the write that replaces a value,
//! and that write holds only for the version that was seen: whoever comes after finds the mark, and no value is replaced twice. What it was
//! is kept before, in a Secret that goes when the run has ended. No value is printed, and none is in what is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crds::job::{Change, FailureReason, NotRotated, Report, Rotated, Rotation};
use crds::names;
use crds::reference::{MANAGED_BY, MANAGED_BY_LABEL, ROTATED_BY};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Error, ResourceExt};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::{Value, json};

use super::Desk;
use crate::cluster;
use crate::failure::{Failure, Result, sentence};
use crate::places::Places;

/// How long the API server may take until it knows of the right, and that the run is at this step.
const RIGHTS: Duration = Duration::from_secs(20);
/// How often a Secret is looked at again that somebody else has changed meanwhile.
const LOOKS: u32 = 8;
/// What generated values are made of.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) namespace: &'a str,
    pub(super) run: &'a str,
    pub(super) keeper: &'a str,
    pub(super) owner: OwnerReference,
    pub(super) rotations: &'a [Rotation],
}

/// Why a rotation can't be carried out.
enum Refused {
    /// A sentence for people; the others go on.
    Why(String),
    /// Nothing is known: the whole is tried again.
    Unknown(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Unknown(failure)
    }
}

pub(super) async fn rotate(desk: &Desk, asked: Asked<'_>) -> Result<Report> {
    let client = cluster::of_this_pod(&desk.environment, &desk.places).await?;
    let secrets = Secrets { api: Api::namespaced(client, asked.namespace), begun: Instant::now() };
    let mut rotated = Rotated::default();
    for rotation in asked.rotations {
        match one(desk, &secrets, &asked, rotation).await {
            Ok(how) => {
                desk.telling.say(format!("Secret {}, {}: {how}", rotation.secret, rotation.name));
                rotated.done.push(rotation.name.clone());
            }
            Err(Refused::Why(why)) => rotated.refused.push(NotRotated { name: rotation.name.clone(), why }),
            Err(Refused::Unknown(failure)) => return Err(failure),
        }
    }
    Ok(Report::Rotated(rotated))
}

/// Carries out one rotation unless that was done.
async fn one(
    desk: &Desk,
    secrets: &Secrets,
    asked: &Asked<'_>,
    rotation: &Rotation,
) -> std::result::Result<&'static str, Refused> {
    for _ in 0..LOOKS {
        let seen = secrets.see(&rotation.secret).await?;
        if is_marked(&seen, asked.run, &rotation.name) {
            return Ok("was replaced before");
        }
        let new = values(&desk.places, &seen, rotation)?;
        let kept = kept(&seen, rotation);
        if !kept.is_empty() {
            secrets.keep(asked, kept).await?;
        }
        if matches!(rotation.change, Change::Elsewhere { .. }) {
            return Ok("what it is is kept");
        }
        let data: BTreeMap<&String, &ByteString> = new.iter().collect();
        let patch = json!({
            "metadata": {
                "resourceVersion": seen.resource_version(),
                "annotations": {ROTATED_BY: marks(&seen, asked.run, &rotation.name)},
            },
            "data": data,
        });
        if secrets.write(&rotation.secret, &patch).await? {
            return Ok("replaced");
        }
    }
    let why = format!("Secret {} was changed by somebody whenever it was looked at", rotation.secret);
    Err(Failure::new(FailureReason::MoverFailed, why).into())
}

/// The marks of this run on a Secret; those of earlier ones mean nothing any more.
fn own_marks<'a>(secret: &'a Secret, run: &'a str) -> impl Iterator<Item = &'a str> {
    let all = secret.annotations().get(ROTATED_BY).map(String::as_str).unwrap_or_default();
    all.split(',').filter(move |mark| mark.split_once('/').is_some_and(|(by, _)| by == run))
}

fn is_marked(secret: &Secret, run: &str, name: &str) -> bool {
    own_marks(secret, run).any(|mark| mark.split_once('/').is_some_and(|(_, of)| of == name))
}

/// The annotation once `name` is done.
fn marks(secret: &Secret, run: &str, name: &str) -> String {
    let mut marks: Vec<String> = own_marks(secret, run).map(str::to_owned).collect();
    marks.push(format!("{run}/{name}"));
    marks.join(",")
}

/// The keys that are replaced, or that count where somebody else replaces them.
fn keys(change: &Change) -> &[String] {
    match change {
        Change::Generate { key, .. } => std::slice::from_ref(key),
        Change::Copy { keys, .. } | Change::Elsewhere { keys } => keys,
    }
}

/// What is there now, by the name under which it is kept.
fn kept(seen: &Secret, rotation: &Rotation) -> BTreeMap<String, ByteString> {
    let of = |key: &String| {
        let value = seen.data.as_ref()?.get(key)?.clone();
        Some((names::revoked_key(&rotation.secret, key), value))
    };
    keys(&rotation.change).iter().filter_map(of).collect()
}

/// What is put in the place of what is there, or why not.
fn values(
    places: &Places,
    seen: &Secret,
    rotation: &Rotation,
) -> std::result::Result<BTreeMap<String, ByteString>, Refused> {
    let (secret, refused) = (&rotation.secret, |why: String| Err(Refused::Why(why)));
    if matches!(rotation.change, Change::Elsewhere { .. }) {
        return Ok(BTreeMap::new());
    }
    if seen.immutable == Some(true) {
        return refused(format!(
            "Secret {secret} is immutable, so nobody can change it: delete it and create it with another value under the same name"
        ));
    }
    let mut new = BTreeMap::new();
    for key in keys(&rotation.change) {
        let Some(old) = seen.data.as_ref().and_then(|data| data.get(key)) else {
            return refused(format!("Secret {secret} has no key {key}: there is nothing to replace"));
        };
        let value = match &rotation.change {
            Change::Generate { length, .. } => generated(*length)?,
            Change::Copy { from, .. } => match places.mounted(from, key)? {
                Some(value) => ByteString(value),
                None => {
                    return refused(format!(
                        "Secret {from}, from which {key} of Secret {secret} was to be copied, does not exist or has no such key: prepare it"
                    ));
                }
            },
            Change::Elsewhere { .. } => continue,
        };
        if value.0.is_empty() || value == *old {
            return refused(format!(
                "what was prepared for {key} of Secret {secret} is empty, or what is there already: prepare another value"
            ));
        }
        new.insert(key.clone(), value);
    }
    Ok(new)
}

/// Random letters and digits, each as likely as any other.
fn generated(length: u16) -> Result<ByteString> {
    let most = 256 - 256 % ALPHABET.len();
    let (mut value, mut bytes) = (Vec::with_capacity(length.into()), [0_u8; 64]);
    while value.len() < usize::from(length) {
        let read = getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|e| Failure::unexpected("the system gives no random bytes", &e))?;
        let fair = bytes[..read].iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < most);
        value.extend(fair.map(|byte| ALPHABET[byte % ALPHABET.len()]));
    }
    value.truncate(length.into());
    Ok(ByteString(value))
}

/// The Secrets of the namespace, as far as this account may change them.
struct Secrets {
    api: Api<Secret>,
    begun: Instant,
}

impl Secrets {
    /// What a Secret is now.
    async fn see(&self, name: &str) -> std::result::Result<Secret, Refused> {
        let nothing = Patch::Merge(json!({}));
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        loop {
            match self.api.patch(name, &params, &nothing).await {
                Ok(seen) => return Ok(seen),
                Err(Error::Api(status)) if status.code == 404 => {
                    return Err(Refused::Why(format!(
                        "Secret {name} does not exist: create it with another value than it had"
                    )));
                }
                Err(error) if self.not_yet(&error) => tokio::time::sleep(Duration::from_millis(250)).await,
                Err(error) => return Err(unanswered(name, error)),
            }
        }
    }

    /// Writes to it. Returns false when it is not what was seen any more.
    async fn write(&self, name: &str, patch: &Value) -> std::result::Result<bool, Refused> {
        loop {
            match self.api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return Ok(true),
                Err(Error::Api(status)) if status.code == 409 => return Ok(false),
                Err(error) if self.not_yet(&error) => tokio::time::sleep(Duration::from_millis(250)).await,
                Err(error) => return Err(unanswered(name, error)),
            }
        }
    }

    /// Keeps what is about to be replaced.
    async fn keep(
        &self,
        asked: &Asked<'_>,
        values: BTreeMap<String, ByteString>,
    ) -> std::result::Result<(), Refused> {
        let keeper = Secret {
            metadata: ObjectMeta {
                name: Some(asked.keeper.to_owned()),
                namespace: Some(asked.namespace.to_owned()),
                labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])),
                owner_references: Some(vec![asked.owner.clone()]),
                ..ObjectMeta::default()
            },
            data: Some(values.clone()),
            ..Secret::default()
        };
        loop {
            match self.api.create(&PostParams::default(), &keeper).await {
                Ok(_) => return Ok(()),
                // Of this rotation, or of one before it: what is not replaced yet is what was there.
                Err(Error::Api(status)) if status.code == 409 => {
                    return self.write(asked.keeper, &json!({"data": values})).await.map(drop);
                }
                Err(error) if self.not_yet(&error) => tokio::time::sleep(Duration::from_millis(250)).await,
                Err(error) => return Err(unanswered(asked.keeper, error)),
            }
        }
    }

    /// Of the right, or of the step.
    fn not_yet(&self, error: &Error) -> bool {
        cluster::not_yet(error, self.begun, RIGHTS)
    }
}

/// The cluster refuses, or does not answer.
fn unanswered(name: &str, error: Error) -> Refused {
    match error {
        Error::Api(status) if (400..429).contains(&status.code) => {
            Refused::Why(format!("the cluster does not take the change of Secret {name}: {}", status.message))
        }
        error => {
            let why = format!("the Kubernetes API, asked for Secret {name}: {}", sentence(&error));
            Failure::new(FailureReason::MoverFailed, why).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_generated_has_its_length_is_letters_and_digits_and_never_the_same() {
        let all: BTreeSet<Vec<u8>> = (0..200).map(|_| generated(48).unwrap().0).collect();
        assert_eq!(all.len(), 200);
        assert!(all.iter().all(|value| value.len() == 48 && value.iter().all(u8::is_ascii_alphanumeric)));
        let used: BTreeSet<u8> = all.into_iter().flatten().collect();
        assert_eq!(used.len(), ALPHABET.len(), "a letter is never used");
        assert_eq!(generated(128).unwrap().0.len(), 128);
    }

    #[test]
    fn a_mark_counts_for_its_run_and_its_rotation_alone() {
        let marked = |value: &str| {
            let mut secret = Secret::default();
            secret.annotations_mut().insert(ROTATED_BY.to_owned(), value.to_owned());
            secret
        };
        let secret = marked("u-1/token,u-2/mail,u-1/mail-2");
        assert!(is_marked(&secret, "u-1", "token") && is_marked(&secret, "u-1", "mail-2"));
        for (run, name) in [("u-1", "mail"), ("u-2", "token"), ("u", "token"), ("u-1", "tok")] {
            assert!(!is_marked(&secret, run, name), "{run} {name}");
        }
        assert_eq!(marks(&secret, "u-1", "mail"), "u-1/token,u-1/mail-2,u-1/mail");
        assert_eq!(marks(&Secret::default(), "u-1", "mail"), "u-1/mail");
        assert!(!is_marked(&marked(""), "u-1", "mail"));
    }
}
