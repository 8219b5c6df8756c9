//! Frames: blocks that hold units of one column of one segment end to end, or their differences.

/// How large frames grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) units: usize,
    /// One unit at least, however large.
    pub(crate) bytes: usize,
}

/// Of a first version, where large frames compress better.
pub(crate) const FIRST: Limits = Limits { units: 256, bytes: 1 << 20 };
/// Of what changed since, so that few bytes have to be read to compare with them once more.
pub(crate) const LATER: Limits = Limits { units: 64, bytes: 256 << 10 };

/// Sorts the bytes of values into planes, the first byte of each first: bytes of equal weight resemble one another.
/// A length that is no multiple of the number of planes is left as it is.
pub(crate) fn sort(bytes: Vec<u8>, planes: u8) -> Vec<u8> {
    let planes = usize::from(planes);
    if planes <= 1 || bytes.is_empty() || !bytes.len().is_multiple_of(planes) {
        return bytes;
    }
    let mut sorted = Vec::with_capacity(bytes.len());
    for plane in 0..planes {
        sorted.extend(bytes[plane..].iter().step_by(planes));
    }
    sorted
}

/// The reverse of [`sort`].
pub(crate) fn unsort(bytes: Vec<u8>, planes: u8) -> Vec<u8> {
    let planes = usize::from(planes);
    if planes <= 1 || bytes.is_empty() || !bytes.len().is_multiple_of(planes) {
        return bytes;
    }
    let mut values = vec![0; bytes.len()];
    for (plane, of) in bytes.chunks_exact(bytes.len() / planes).enumerate() {
        for (value, byte) in values[plane..].iter_mut().step_by(planes).zip(of) {
            *value = *byte;
        }
    }
    values
}

/// Combines bytes with those that begin at an offset of another place; what lies behind its end counts as zeros.
pub(crate) fn combine(into: &mut [u8], with: &[u8]) {
    for (byte, other) in into.iter_mut().zip(with) {
        *byte ^= other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    #[test]
    fn planes_come_back_as_they_were() {
        for length in [0, 3, 4, 8, 1536, 1537] {
            for planes in [1, 2, 4, 8] {
                let bytes = noise(1, length);
                assert_eq!(unsort(sort(bytes.clone(), planes), planes), bytes, "{length} {planes}");
            }
        }
        assert_eq!(sort(vec![1, 2, 3, 4, 5, 6, 7, 8], 4), [1, 5, 2, 6, 3, 7, 4, 8]);
    }
}
