//! The order-free sum: 256-bit numbers, one a record, added up modulo 2^256. A change of one record changes the sum by the
//! difference of its two numbers, so nothing has to be sorted. Without the key nobody can make two contents with one sum.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The key of a repository's fingerprints, 32 bytes.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Takes the bytes as they are.
    pub fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    pub(super) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// A finished sum, written as 64 hexadecimal digits, least significant byte first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| de::Error::custom("a digest is 64 hexadecimal digits"))?;
        Ok(Digest(bytes))
    }
}

/// A sum being made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MultisetSum([u64; 4]);

impl MultisetSum {
    /// Adds one record's number.
    pub fn add(&mut self, number: [u8; 32]) {
        let mut carry = 0u64;
        for (limb, bytes) in self.0.iter_mut().zip(number.chunks_exact(8)) {
            let term = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
            let (sum, over) = limb.overflowing_add(term);
            let (sum, over_again) = sum.overflowing_add(carry);
            *limb = sum;
            carry = u64::from(over) + u64::from(over_again);
        }
    }

    /// The sum as it stands.
    pub fn digest(&self) -> Digest {
        let mut bytes = [0; 32];
        for (bytes, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        Digest(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_carry_runs_through_and_the_top_is_lost() {
        let mut sum = MultisetSum::default();
        sum.add([0xff; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        sum.add(one);
        assert_eq!(sum.digest(), Digest([0; 32]));
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(numbers in proptest::collection::vec(any::<[u8; 32]>(), 0..20)) {
            let total = |numbers: &mut dyn Iterator<Item = &[u8; 32]>| {
                let mut sum = MultisetSum::default();
                numbers.for_each(|number| sum.add(*number));
                sum.digest()
            };
            prop_assert_eq!(total(&mut numbers.iter()), total(&mut numbers.iter().rev()));
        }
    }

    #[test]
    fn a_digest_is_read_back_from_its_text() {
        let digest = Digest([0xab; 32]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"abc\"").is_err());
    }
}
