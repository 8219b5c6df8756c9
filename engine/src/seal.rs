//! Sealing: zstd, then XChaCha20-Poly1305 with a random nonce, bound to the repository and to what the bytes are (kind
//! and name), so that no sealed thing can be put in the place of another. It refuses to say more than "does not open".

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::block::Effort;

const NONCE: usize = 24;
const CODEC_PLAIN: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const ZSTD_USUAL: i32 = 3;
const ZSTD_HIGH: i32 = 9;

/// What sealing adds at most: nonce, tag and codec.
pub(crate) const OVERHEAD: usize = NONCE + 16 + 1;

/// The most a sealed thing may expand to; no writer of format 1 comes near it.
pub(crate) const MAX_PLAIN: usize = 256 << 20;

/// Random bytes of the operating system's quality.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel's random source can't fail once seeded");
    bytes
}

/// The bytes do not open: damaged, forged, or another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoesNotOpen;

/// What a sealed thing is; part of what is authenticated. Fixed in format 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Data,
    Meta,
    Footer,
    Index,
    Point,
    Mark,
    Lease,
    Condemned,
    SlotFacts,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Data => b"data",
            Self::Meta => b"meta",
            Self::Footer => b"footer",
            Self::Index => b"index",
            Self::Point => b"point",
            Self::Mark => b"mark",
            Self::Lease => b"lease",
            Self::Condemned => b"condemned",
            Self::SlotFacts => b"slot-facts",
        }
    }
}

/// Seals and opens with one key of one repository.
#[derive(Clone)]
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    repository: [u8; 16],
}

impl Sealer {
    pub(crate) fn new(key: &[u8; 32], repository: [u8; 16]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(key.into()), repository }
    }

    fn associated(&self, purpose: Purpose, name: &[u8]) -> Vec<u8> {
        let label = purpose.label();
        [b"holdfast 1\0".as_slice(), &self.repository, label, b"\0", name].concat()
    }

    /// Compresses where it helps, encrypts, authenticates: `nonce ‖ ciphertext ‖ tag`.
    pub(crate) fn seal(&self, purpose: Purpose, name: &[u8], plain: &[u8]) -> Vec<u8> {
        self.seal_with(Effort::Usual, purpose, name, plain)
    }

    /// As [`Self::seal`], with the effort to spend on compression.
    pub(crate) fn seal_with(&self, effort: Effort, purpose: Purpose, name: &[u8], plain: &[u8]) -> Vec<u8> {
        let packed = compress(plain, effort);
        let nonce = random::<NONCE>();
        let aad = self.associated(purpose, name);
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: &packed, aad: &aad })
            .expect("encryption into memory fails only beyond 256 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// The reverse of [`Self::seal`]; `limit` bounds what it may expand to.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        name: &[u8],
        sealed: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, DoesNotOpen> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE>().ok_or(DoesNotOpen)?;
        let aad = self.associated(purpose, name);
        let packed = self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: body, aad: &aad });
        decompress(&packed.map_err(|_| DoesNotOpen)?, limit)
    }
}

fn compress(plain: &[u8], effort: Effort) -> Vec<u8> {
    let level = match effort {
        Effort::Usual => ZSTD_USUAL,
        Effort::High => ZSTD_HIGH,
    };
    let small = zstd::bulk::compress(plain, level).ok().filter(|c| c.len() < plain.len());
    let (codec, body) = match &small {
        Some(compressed) => (CODEC_ZSTD, compressed.as_slice()),
        None => (CODEC_PLAIN, plain),
    };
    [&[codec], body].concat()
}

fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, DoesNotOpen> {
    match packed.split_first() {
        Some((&CODEC_PLAIN, body)) if body.len() <= limit => Ok(body.to_vec()),
        Some((&CODEC_ZSTD, body)) => {
            let stated = zstd::zstd_safe::get_frame_content_size(body).ok().flatten().ok_or(DoesNotOpen)?;
            let size = usize::try_from(stated).ok().filter(|n| *n <= limit).ok_or(DoesNotOpen)?;
            zstd::bulk::decompress(body, size).map_err(|_| DoesNotOpen)
        }
        _ => Err(DoesNotOpen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32], [9; 16])
    }

    #[test]
    fn what_was_sealed_opens_and_compressible_bytes_shrink() {
        for plain in [Vec::new(), vec![1], vec![0; 100_000], random::<4096>().to_vec()] {
            let sealed = sealer().seal(Purpose::Data, b"n", &plain);
            assert!(sealed.len() <= plain.len() + OVERHEAD);
            assert_eq!(sealer().open(Purpose::Data, b"n", &sealed, 100_000), Ok(plain));
        }
    }

    #[test]
    fn nothing_opens_in_the_place_of_another_thing() {
        let sealed = sealer().seal(Purpose::Data, b"a", b"plain");
        assert_eq!(sealer().open(Purpose::Data, b"b", &sealed, 99), Err(DoesNotOpen));
        assert_eq!(sealer().open(Purpose::Meta, b"a", &sealed, 99), Err(DoesNotOpen));
        assert_eq!(Sealer::new(&[7; 32], [8; 16]).open(Purpose::Data, b"a", &sealed, 99), Err(DoesNotOpen));
        assert_eq!(Sealer::new(&[6; 32], [9; 16]).open(Purpose::Data, b"a", &sealed, 99), Err(DoesNotOpen));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let sealed = sealer().seal(Purpose::Point, b"a", b"a plain text of some length");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer().open(Purpose::Point, b"a", &damaged, 99), Err(DoesNotOpen), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(sealer().open(Purpose::Point, b"a", &sealed[..length], 99), Err(DoesNotOpen));
        }
    }

    #[test]
    fn nothing_expands_beyond_its_limit() {
        let sealed = sealer().seal(Purpose::Data, b"a", &vec![0; 1 << 20]);
        assert_eq!(sealer().open(Purpose::Data, b"a", &sealed, 1 << 19), Err(DoesNotOpen));
    }
}
