//! Derivations, each fixed in format 1: Argon2id from a password, HKDF-SHA-256 from a 256-bit key.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::hkdf;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Password;
use crate::seal::Sealer;

/// How a slot's wrapping key comes from what the user holds. Stored with the slot, so that it can change for new ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(crate) enum Kdf {
    /// For passwords.
    #[serde(rename = "argon2id")]
    Argon2id { memory_kib: u32, passes: u32, lanes: u32 },
    /// For generated keys.
    HkdfSha256,
}

/// 19 MiB and two passes: OWASP's recommendation, and small enough for a mover of 80 MB.
const PASSWORD: Kdf = Kdf::Argon2id { memory_kib: 19 * 1024, passes: 2, lanes: 1 };

impl Kdf {
    /// The one a new slot for this password uses.
    pub(super) fn for_password(password: &Password) -> Self {
        if password.generated().is_some() { Self::HkdfSha256 } else { PASSWORD }
    }

    /// The derived key; `None` when this derivation can't apply: parameters out of bounds, or no generated key.
    pub(super) fn derive(&self, password: &Password, salt: &[u8], info: &str) -> Option<Zeroizing<[u8; 32]>> {
        match self {
            Self::Argon2id { memory_kib, passes, lanes } => {
                // A forged slot must not make a reader allocate the machine.
                let sane = *memory_kib <= 1 << 20 && *passes <= 64 && *lanes <= 16;
                let params = Params::new(*memory_kib, *passes, *lanes, Some(32)).ok().filter(|_| sane)?;
                let mut key = Zeroizing::new([0; 32]);
                let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon.hash_password_into(password.expose(), salt, key.as_mut_slice()).ok()?;
                Some(key)
            }
            Self::HkdfSha256 => Some(hkdf_sha256(password.generated()?.as_slice(), salt, info)),
        }
    }
}

/// A public identity of a password: slow to compute where the password could be guessed.
pub(super) fn fingerprint(password: &Password) -> [u8; 6] {
    let label = "holdfast 1 key fingerprint";
    let kdf = Kdf::for_password(password);
    let long =
        kdf.derive(password, label.as_bytes(), label).expect("the parameters of format 1 are in bounds");
    // Hashed once more, so that the printed part is no part of any key.
    let hashed = hkdf_sha256(long.as_slice(), b"", label);
    let mut print = [0; 6];
    print.copy_from_slice(&hashed[..6]);
    print
}

fn hkdf_sha256(key: &[u8], salt: &[u8], info: &str) -> Zeroizing<[u8; 32]> {
    struct Bytes32;
    impl hkdf::KeyType for Bytes32 {
        fn len(&self) -> usize {
            32
        }
    }
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let mut out = Zeroizing::new([0; 32]);
    extracted
        .expand(&[info.as_bytes()], Bytes32)
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .expect("32 bytes are within HKDF's bound");
    out
}

/// The key all others come from. Random, made once, never stored unwrapped.
#[derive(Clone)]
pub(crate) struct MasterKey(pub(super) Zeroizing<[u8; 32]>);

impl MasterKey {
    pub(crate) fn generate() -> Self {
        Self(Zeroizing::new(crate::seal::random()))
    }

    fn derive(&self, repository: &[u8; 16], purpose: &str) -> Zeroizing<[u8; 32]> {
        hkdf_sha256(self.0.as_slice(), repository, &format!("holdfast 1 {purpose}"))
    }

    /// Stored in the configuration: tells the slots of this repository from those of a lost race to create it.
    pub(crate) fn check(&self, repository: &[u8; 16]) -> String {
        hex::encode(&self.derive(repository, "check")[..16])
    }
}

/// All keys of an open repository.
pub(crate) struct Keys {
    /// Seals blocks, so the bulk of the data.
    pub(crate) blocks: Sealer,
    /// Seals points, indexes and marks.
    pub(crate) objects: Sealer,
    /// Names data blocks.
    pub(crate) data_ids: Zeroizing<[u8; 32]>,
    /// Names map and tree blocks.
    pub(crate) meta_ids: Zeroizing<[u8; 32]>,
    /// Names patches.
    pub(crate) patch_ids: Zeroizing<[u8; 32]>,
    /// Names points and marks after what the caller calls them.
    pub(crate) names: Zeroizing<[u8; 32]>,
    /// For the caller's digests.
    pub(crate) digests: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub(crate) fn derive(master: &MasterKey, repository: [u8; 16]) -> Self {
        let key = |purpose| master.derive(&repository, purpose);
        Self {
            blocks: Sealer::new(&key("blocks"), repository),
            objects: Sealer::new(&key("objects"), repository),
            data_ids: key("data ids"),
            meta_ids: key("meta ids"),
            patch_ids: key("patch ids"),
            names: key("names"),
            digests: key("digests"),
        }
    }
}
