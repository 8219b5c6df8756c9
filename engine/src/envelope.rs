//! The first eight bytes of every binary object: a magic, the format version, the kind. A reader that meets a newer
//! version says so instead of calling the object damaged.

use crate::seal::Purpose;

const MAGIC: &[u8; 5] = b"HFAST";

/// The format this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// The length of a head.
pub(crate) const HEAD: usize = 8;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// Written by a newer version.
    Newer(u32),
    /// Not a head of this kind.
    Damaged,
}

/// The kinds of binary objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pack = 1,
    Index = 2,
    Point = 3,
    Mark = 4,
    Lease = 5,
    Condemned = 6,
    Document = 7,
}

impl Kind {
    /// What the sealed body of an object of this kind is sealed as.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Pack => Purpose::Footer,
            Self::Index => Purpose::Index,
            Self::Point => Purpose::Point,
            Self::Mark => Purpose::Mark,
            Self::Lease => Purpose::Lease,
            Self::Condemned => Purpose::Condemned,
            Self::Document => Purpose::Document,
        }
    }
}

pub(crate) fn head(kind: Kind) -> [u8; HEAD] {
    let [a, b, c, d, e] = *MAGIC;
    [a, b, c, d, e, FORMAT as u8, kind as u8, 0]
}

/// The bytes behind the head.
pub(crate) fn body(kind: Kind, object: &[u8]) -> Result<&[u8], BadHead> {
    let (found, body) = object.split_first_chunk::<HEAD>().ok_or(BadHead::Damaged)?;
    let expected = head(kind);
    if found[..5] != expected[..5] || found[6..] != expected[6..] || found[5] == 0 {
        return Err(BadHead::Damaged);
    }
    if u32::from(found[5]) > FORMAT { Err(BadHead::Newer(found[5].into())) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_names_kind_and_version_and_a_newer_one_is_told_apart_from_damage() {
        assert_eq!(&head(Kind::Pack), b"HFAST\x01\x01\x00");
        let mut object = [&head(Kind::Point)[..], b"rest"].concat();
        assert_eq!(body(Kind::Point, &object), Ok(b"rest".as_slice()));
        assert_eq!(body(Kind::Index, &object), Err(BadHead::Damaged));
        object[5] = 9;
        assert_eq!(body(Kind::Point, &object), Err(BadHead::Newer(9)));
        assert_eq!(body(Kind::Point, b"HF"), Err(BadHead::Damaged));
    }
}
