//! Passwords and what is derived from them. A repository has one random master key for its whole life; each password
//! opens a slot that holds the master key wrapped, so that a password rotates without rewriting data. It refuses
//! passwords that protect nothing, and never prints any.

mod derive;
mod rotate;
mod slot;

use std::fmt;

use zeroize::Zeroizing;

use crate::error::Error;
pub(crate) use derive::{Keys, MasterKey};
pub use rotate::Rotated;
#[cfg(any(test, fuzzing))]
pub(crate) use slot::Slot;
pub use slot::SlotInfo;
pub(crate) use slot::{Opened, new_slot, open_any, read_facts};

/// The shortest password that is accepted for a new slot, in bytes.
pub const SHORTEST: usize = 12;

/// How a generated 256-bit key is written.
const GENERATED: &str = "hfkey1-";

/// What opens a repository: a password of the user's, or a generated key of 256 bits.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Password {
    /// Reads a password as it stands in a Secret, a file or the environment: exactly one trailing newline is left off,
    /// because an editor or `echo` put it there. Opening an existing repository accepts whatever it was made with;
    /// creating a slot is stricter, see [`Self::check_strength`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new(bytes.into());
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err(Error::WeakPassword {
                why: "it is empty; put the repository's key into the Secret or file",
            });
        }
        Ok(Self(bytes))
    }

    /// A random key of 256 bits, in the form that `new` accepts back.
    pub fn generate() -> Self {
        let key = Zeroizing::new(crate::seal::random::<32>());
        let mut text = Zeroizing::new(GENERATED.as_bytes().to_vec());
        text.extend_from_slice(Zeroizing::new(hex::encode(key.as_slice())).as_bytes());
        Self(text)
    }

    /// The bytes, for whoever has to store a generated key. Don't print them anywhere else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether it may protect a new slot. Refused are short ones, the placeholders of examples, and a repeated letter.
    pub fn check_strength(&self) -> Result<(), Error> {
        let weak = |why| Err(Error::WeakPassword { why });
        if self.0.len() < SHORTEST {
            return weak("it is shorter than 12 bytes; generate a long random one");
        }
        let lower = Zeroizing::new(self.0.to_ascii_lowercase());
        let placeholders: [&[u8]; 5] = [b"changeme", b"change-me", b"change_me", b"password", b"example"];
        if placeholders.iter().any(|p| lower.windows(p.len()).any(|w| w == *p)) {
            return weak("it looks like a placeholder out of an example; generate a long random one");
        }
        let mut letters = lower.to_vec();
        letters.sort_unstable();
        letters.dedup();
        if letters.len() < 5 {
            return weak("it repeats the same few characters; generate a long random one");
        }
        Ok(())
    }

    /// The fingerprint, such as `7c1f-09aa-52d3`. A function of the password alone, the same before a repository exists
    /// and on any machine, so that a person who has stored the key elsewhere can compute it there and thereby prove
    /// which key it is. It costs what a key slot costs: guessing passwords by it is no cheaper than by the bucket.
    /// Takes some 20 to 50 ms and 19 MiB for a password.
    pub fn fingerprint(&self) -> String {
        let print = derive::fingerprint(self);
        let [a, b, c, d, e, f] = print.map(|byte| hex::encode([byte]));
        format!("{a}{b}-{c}{d}-{e}{f}")
    }

    /// The 32 bytes of a generated key, if it is one.
    pub(crate) fn generated(&self) -> Option<Zeroizing<[u8; 32]>> {
        let digits = self.0.strip_prefix(GENERATED.as_bytes())?;
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, key.as_mut_slice()).ok()?;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_trailing_newline_is_left_off() {
        assert_eq!(Password::new("a secret\n").unwrap().expose(), b"a secret");
        assert_eq!(Password::new("a secret\n\n").unwrap().expose(), b"a secret\n");
        assert_eq!(Password::new("a secret\r\n").unwrap().expose(), b"a secret\r");
        assert_eq!(Password::new("a secret ").unwrap().expose(), b"a secret ");
    }

    #[test]
    fn passwords_that_protect_nothing_are_refused_with_a_sentence() {
        assert!(Password::new("").is_err() && Password::new("\n").is_err());
        for (password, why) in [
            ("2short4me", "12 bytes"),
            ("ChangeMe12345", "placeholder"),
            ("my-password-1", "placeholder"),
            ("aaaaaaaaaaaaaaaa", "repeats"),
        ] {
            let refusal = Password::new(password).unwrap().check_strength().unwrap_err().to_string();
            assert!(refusal.contains(why), "{refusal}");
            assert!(!refusal.contains(password), "the refusal repeats the password");
        }
        Password::new("correct horse battery").unwrap().check_strength().unwrap();
        Password::generate().check_strength().unwrap();
    }

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(format!("{:?}", Password::new("correct horse battery").unwrap()), "Password(..)");
    }

    #[test]
    fn a_fingerprint_depends_on_the_password_alone_and_never_changes() {
        let password = Password::new("correct horse battery staple\n").unwrap();
        assert_eq!(password.fingerprint(), "b247-068b-f172");
        let zero = format!("{GENERATED}{}", "00".repeat(32));
        assert_eq!(Password::new(zero).unwrap().fingerprint(), "8481-99ad-ab87");
    }
}
