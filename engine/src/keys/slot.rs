//! Key slots: `keys/<id>` holds the master key, wrapped by a key derived from one password. Any number of slots may
//! exist; a second one, whose password is kept elsewhere, is the escrow.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Password;
use super::derive::{Kdf, Keys, MasterKey};
use crate::names;
use crate::plain;
use crate::seal::{Purpose, random};

/// The slot as stored: plain JSON with a checksum. What it tells a stranger is that a slot exists.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slot {
    kdf: Kdf,
    salt: String,
    nonce: String,
    wrapped: String,
    /// Label, fingerprint and time, sealed by the master key: any holder of a password sees whose slots there are.
    facts: String,
}

/// What is known of a slot by those who can open the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotInfo {
    /// Its random id.
    #[serde(skip)]
    pub id: String,
    /// What the caller called it, such as `escrow`.
    pub label: String,
    /// The fingerprint of its password.
    pub fingerprint: String,
    /// When it was added, by the adder's clock.
    pub created: Timestamp,
}

fn wrap_context(repository: &[u8; 16], id: &str) -> Vec<u8> {
    [b"holdfast 1\0".as_slice(), repository, b"slot\0", id.as_bytes()].concat()
}

/// A new slot for this password: its object name and its bytes. Costs two password derivations: call it off the
/// async threads.
pub(crate) fn new_slot(
    master: &MasterKey,
    keys: &Keys,
    repository: &[u8; 16],
    password: &Password,
    label: &str,
    now: Timestamp,
) -> (SlotInfo, Vec<u8>) {
    let id = hex::encode(random::<16>());
    let (salt, nonce) = (random::<16>(), random::<24>());
    let kdf = Kdf::for_password(password);
    let key =
        kdf.derive(password, &salt, "holdfast 1 slot").expect("the parameters of format 1 are in bounds");
    let payload = Payload { msg: master.0.as_slice(), aad: &wrap_context(repository, &id) };
    let wrapped = XChaCha20Poly1305::new((&*key).into())
        .encrypt(&XNonce::from(nonce), payload)
        .expect("32 bytes are within the cipher's bound");
    let info = SlotInfo {
        id: id.clone(),
        label: label.to_owned(),
        fingerprint: password.fingerprint(),
        created: now,
    };
    let facts = serde_json::to_vec(&info).expect("strings and a time always serialize");
    let slot = Slot {
        kdf,
        salt: hex::encode(salt),
        nonce: hex::encode(nonce),
        wrapped: hex::encode(wrapped),
        facts: hex::encode(keys.objects.seal(Purpose::SlotFacts, id.as_bytes(), &facts)),
    };
    (info, plain::write(&slot))
}

impl Slot {
    fn unwrap(&self, repository: &[u8; 16], id: &str, password: &Password) -> Option<MasterKey> {
        let salt = hex::decode(&self.salt).ok().filter(|s| s.len() >= 8)?;
        let nonce: [u8; 24] = hex::decode(&self.nonce).ok()?.try_into().ok()?;
        let wrapped = hex::decode(&self.wrapped).ok()?;
        let key = self.kdf.derive(password, &salt, "holdfast 1 slot")?;
        let payload = Payload { msg: &wrapped, aad: &wrap_context(repository, id) };
        let opened = XChaCha20Poly1305::new((&*key).into()).decrypt(&XNonce::from(nonce), payload).ok()?;
        Some(MasterKey(Zeroizing::new(Zeroizing::new(opened).as_slice().try_into().ok()?)))
    }
}

/// What trying the slots gave.
pub(crate) enum Opened {
    /// One opened, and it is the key this repository was made with.
    Yes {
        /// What it holds.
        master: MasterKey,
        /// Its object.
        slot: String,
    },
    /// None did.
    No {
        /// How many were tried.
        tried: usize,
        /// Names of those that can't be read.
        damaged: Vec<String>,
    },
}

/// Tries the password on each slot. Costs a password derivation a slot: call it off the async threads.
pub(crate) fn open_any(
    slots: &[(String, Vec<u8>)],
    repository: &[u8; 16],
    check: &str,
    password: &Password,
) -> Opened {
    let mut damaged = Vec::new();
    for (name, bytes) in slots {
        match plain::read::<Slot>(bytes) {
            Err(_) => damaged.push(name.clone()),
            Ok(slot) => {
                let master = slot.unwrap(repository, names::last_part(name), password);
                if let Some(master) = master.filter(|m| m.check(repository) == check) {
                    return Opened::Yes { master, slot: name.clone() };
                }
            }
        }
    }
    Opened::No { tried: slots.len() - damaged.len(), damaged }
}

/// Label, fingerprint and age of a slot; `None` when it is damaged or of another master key.
pub(crate) fn read_facts(keys: &Keys, name: &str, bytes: &[u8]) -> Option<SlotInfo> {
    let id = names::last_part(name);
    let slot = plain::read::<Slot>(bytes).ok()?;
    let sealed = hex::decode(&slot.facts).ok()?;
    let facts = keys.objects.open(Purpose::SlotFacts, id.as_bytes(), &sealed, 1 << 16).ok()?;
    let mut info: SlotInfo = serde_json::from_slice(&facts).ok()?;
    info.id = id.to_owned();
    Some(info)
}
