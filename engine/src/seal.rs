//! Sealing: compression, then XChaCha20-Poly1305 with a random nonce, bound to the repository and to what the bytes are
//! (kind and name), so that no sealed thing can be put in the place of another. It refuses to say more than "does not
//! open".

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::block::Effort;
use crate::compress::{pack, unpack};

/// The nonce that a sealed thing begins with; whoever packs bytes to be sealed leaves room for it.
pub(crate) const NONCE: usize = 24;
const TAG: usize = 16;

/// What sealing adds at most: nonce, tag and codec.
pub(crate) const OVERHEAD: usize = NONCE + TAG + 1;

/// The most a sealed thing may expand to; no writer of format 1 comes near it.
pub(crate) const MAX_PLAIN: usize = 256 << 20;

/// Random bytes of the operating system's quality.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The kernel's own: a generator beside it would have to be seeded first, which takes longer than most calls here.
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("the kernel's random source failed, which it can't once seeded: {e}"),
        }
    }
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
    Patch,
    Footer,
    Index,
    Point,
    Mark,
    Lease,
    Condemned,
    Document,
    SlotFacts,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Data => b"data",
            Self::Meta => b"meta",
            Self::Patch => b"patch",
            Self::Footer => b"footer",
            Self::Index => b"index",
            Self::Point => b"point",
            Self::Mark => b"mark",
            Self::Lease => b"lease",
            Self::Condemned => b"condemned",
            Self::Document => b"document",
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
        self.seal_packed(purpose, name, pack(plain, effort, NONCE))
    }

    /// Seals, in place, what is packed already behind room for the nonce.
    pub(crate) fn seal_packed(&self, purpose: Purpose, name: &[u8], mut packed: Vec<u8>) -> Vec<u8> {
        let nonce = random::<NONCE>();
        let aad = self.associated(purpose, name);
        let (room, body) = packed.split_at_mut(NONCE);
        room.copy_from_slice(&nonce);
        let tag = self
            .cipher
            .encrypt_inout_detached(&XNonce::from(nonce), &aad, body.into())
            .expect("encryption into memory fails only beyond 256 GiB");
        packed.extend_from_slice(&tag);
        packed
    }

    /// The reverse of [`Self::seal`]; `limit` bounds what it may expand to.
    pub(crate) fn open(
        &self,
        purpose: Purpose,
        name: &[u8],
        sealed: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, DoesNotOpen> {
        self.open_against(purpose, name, sealed, limit, &[])
    }

    /// As [`Self::open`], for what was compressed against a dictionary.
    pub(crate) fn open_against(
        &self,
        purpose: Purpose,
        name: &[u8],
        sealed: &[u8],
        limit: usize,
        dictionary: &[u8],
    ) -> Result<Vec<u8>, DoesNotOpen> {
        let packed = self.authenticate(purpose, name, sealed)?;
        unpack(&packed, limit, dictionary).ok_or(DoesNotOpen)
    }

    /// Decrypts and authenticates, and leaves it packed.
    pub(crate) fn authenticate(
        &self,
        purpose: Purpose,
        name: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, DoesNotOpen> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(DoesNotOpen)?;
        let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(DoesNotOpen)?;
        let aad = self.associated(purpose, name);
        let mut packed = body.to_vec();
        let opened = self.cipher.decrypt_inout_detached(
            &XNonce::from(*nonce),
            &aad,
            packed.as_mut_slice().into(),
            &Tag::from(*tag),
        );
        opened.map(|()| packed).map_err(|_| DoesNotOpen)
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
