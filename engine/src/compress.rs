//! Compression: one zstd frame for what shrinks by it, the bytes as they are for what doesn't. Contexts are kept between
//! calls, because making one costs as much as a small block. It refuses to expand anything beyond the limit it is given.

use std::sync::{Mutex, PoisonError};

use zstd::zstd_safe::zstd_sys::ZSTD_strategy;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_frame_content_size};

use crate::block::Effort;

const CODEC_PLAIN: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const ZSTD_USUAL: i32 = 3;
const ZSTD_HIGH: i32 = 9;

/// Contexts that are kept of each kind: as many as work at once on a small machine.
const KEPT: usize = 4;

static COMPRESSORS: Mutex<Vec<CCtx<'static>>> = Mutex::new(Vec::new());
static DECOMPRESSORS: Mutex<Vec<DCtx<'static>>> = Mutex::new(Vec::new());

/// Works with a context that is kept, or a new one.
fn with_kept<C, R>(kept: &Mutex<Vec<C>>, create: fn() -> C, work: impl FnOnce(&mut C) -> R) -> R {
    let one = kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut context = one.unwrap_or_else(create);
    let done = work(&mut context);
    let mut contexts = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if contexts.len() < KEPT {
        contexts.push(context);
    }
    done
}

/// `room` zero bytes for the caller, then a codec, then the bytes in its terms.
pub(crate) fn pack(plain: &[u8], effort: Effort, room: usize) -> Vec<u8> {
    let level = match effort {
        Effort::Usual => ZSTD_USUAL,
        Effort::High => ZSTD_HIGH,
    };
    with_kept(&COMPRESSORS, CCtx::create, |context| {
        // A context that can't be set up compresses nothing; the bytes are kept as they are.
        let _ = context.set_parameter(CParameter::CompressionLevel(level));
        packed_by(context, plain, room)
    })
}

fn packed_by(context: &mut CCtx<'_>, plain: &[u8], room: usize) -> Vec<u8> {
    let mut out = vec![0; room + 1 + compress_bound(plain.len())];
    match context.compress2(&mut out[room + 1..], plain) {
        Ok(length) if length < plain.len() => {
            out[room] = CODEC_ZSTD;
            out.truncate(room + 1 + length);
        }
        _ => {
            out.truncate(room + 1);
            out[room] = CODEC_PLAIN;
            out.extend_from_slice(plain);
        }
    }
    out
}

/// The reverse of [`pack`] without its room. `dictionary` is what the bytes were compressed against, or empty. `None` for
/// what is no such thing, or would expand beyond `limit`.
pub(crate) fn unpack(packed: &[u8], limit: usize, dictionary: &[u8]) -> Option<Vec<u8>> {
    match packed.split_first() {
        Some((&CODEC_PLAIN, body)) if body.len() <= limit => Some(body.to_vec()),
        Some((&CODEC_ZSTD, body)) => {
            let stated = get_frame_content_size(body).ok().flatten()?;
            let size = usize::try_from(stated).ok().filter(|n| *n <= limit)?;
            let mut plain = Vec::with_capacity(size);
            let length = if dictionary.is_empty() {
                with_kept(&DECOMPRESSORS, DCtx::create, |context| context.decompress(&mut plain, body).ok())?
            } else {
                // It refers to the dictionary, which does not live as long as those that are kept.
                let mut context = DCtx::create();
                context.ref_prefix(dictionary).ok()?;
                context.decompress(&mut plain, body).ok()?
            };
            (length == size).then_some(plain)
        }
        _ => None,
    }
}

/// How a formatted zstd dictionary begins. Bytes that do are taken for one by the compressor and not by the reader.
const FORMATTED: [u8; 4] = 0xEC30_A437_u32.to_le_bytes();

/// Compresses many pieces against one dictionary. Memory: twice the dictionary and 16 MiB.
pub(crate) struct Patcher(CCtx<'static>);

impl Patcher {
    /// `None` if nothing can be compressed against these bytes.
    pub(crate) fn new(dictionary: &[u8]) -> Option<Self> {
        if dictionary.starts_with(&FORMATTED) {
            return None;
        }
        let mut context = CCtx::create();
        // Measured on rewritten pages of SQLite's full-text index: a table of 2^21 places finds nearly all that is found
        // with any, half of it a third less; slower strategies find no more.
        for parameter in [
            CParameter::WindowLog(25),
            CParameter::HashLog(21),
            CParameter::ChainLog(21),
            CParameter::SearchLog(1),
            CParameter::MinMatch(6),
            CParameter::Strategy(ZSTD_strategy::ZSTD_fast),
        ] {
            context.set_parameter(parameter).ok()?;
        }
        context.load_dictionary(dictionary).ok()?;
        Some(Self(context))
    }

    /// As [`pack`].
    pub(crate) fn pack(&mut self, plain: &[u8], room: usize) -> Vec<u8> {
        packed_by(&mut self.0, plain, room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    #[test]
    fn what_is_packed_comes_back_whatever_it_is() {
        for plain in [Vec::new(), vec![7], vec![0; 3 << 20], noise(1, 100_000)] {
            for effort in [Effort::Usual, Effort::High] {
                let packed = pack(&plain, effort, 5);
                assert_eq!(packed[..5], [0; 5]);
                assert!(packed.len() <= plain.len() + 6);
                assert_eq!(unpack(&packed[5..], plain.len(), &[]), Some(plain.clone()));
                if !plain.is_empty() {
                    assert_eq!(unpack(&packed[5..], plain.len() - 1, &[]), None);
                }
            }
        }
    }

    #[test]
    fn a_patch_finds_what_stands_anywhere_in_its_dictionary_and_needs_it_to_come_back() {
        let dictionary = noise(1, 12 << 20);
        let mut patcher = Patcher::new(&dictionary).unwrap();
        // Far apart, in another order than there.
        let plain = [&dictionary[9 << 20..10 << 20], &noise(2, 4096), &dictionary[..1 << 19]].concat();
        for _ in 0..3 {
            let packed = patcher.pack(&plain, 0);
            assert!(packed.len() < 20_000, "{} bytes", packed.len());
            assert_eq!(unpack(&packed, plain.len(), &dictionary), Some(plain.clone()));
            assert_ne!(unpack(&packed, plain.len(), &noise(3, 12 << 20)), Some(plain.clone()));
        }
    }

    #[test]
    fn bytes_that_look_like_a_formatted_dictionary_make_none() {
        assert!(Patcher::new(&[FORMATTED.as_slice(), &noise(1, 10_000)].concat()).is_none());
        // One within is no beginning.
        assert!(Patcher::new(&[&noise(1, 10_000), FORMATTED.as_slice()].concat()).is_some());
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in
            [vec![], vec![2, 1, 1], vec![CODEC_ZSTD], vec![CODEC_ZSTD, 0x28, 0xB5, 0x2F, 0xFD], noise(4, 50)]
        {
            assert_eq!(unpack(&garbage, 1 << 20, &[]), None, "{garbage:?}");
        }
    }
}
