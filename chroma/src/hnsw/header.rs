//! `header.bin`: the numbers of an index.

use std::{fs, io, path::Path};

/// Bytes of the file in every version seen.
pub(crate) const BYTES: usize = 100;

/// The numbers that hnswlib needs to read the other files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Header {
    /// Version of the layout, 1 in all that Chroma ever wrote.
    pub version: i32,
    /// Offset of an element's links inside its record, 0.
    pub level0_offset: u64,
    /// Elements that fit before the index has to grow.
    pub max_elements: u64,
    /// Elements in it, deleted ones included.
    pub elements: u64,
    /// Bytes a record of `data_level0.bin`.
    pub stride: u64,
    /// Offset of the label inside a record.
    pub label_offset: u64,
    /// Offset of the vector inside a record.
    pub data_offset: u64,
    /// The highest layer, -1 when empty.
    pub max_level: i32,
    /// Where searches begin.
    pub entry_point: u32,
    /// Links an element may have on the upper layers.
    pub max_links: u64,
    /// Links an element may have on the lowest layer.
    pub max_links0: u64,
    /// The parameter M.
    pub m: u64,
    /// The parameter that draws the layers.
    pub multiplier: f64,
    /// The parameter efConstruction.
    pub ef_construction: u64,
}

impl Header {
    /// Reads a header file. A length other than 100 bytes is an error of kind `InvalidData`.
    pub fn read(path: &Path) -> io::Result<Header> {
        let bytes = fs::read(path)?;
        let bytes: &[u8; BYTES] = bytes.as_slice().try_into().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes instead of {BYTES}", bytes.len()))
        })?;
        Ok(Header::from_bytes(bytes))
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Header {
        let mut reader = Fields { bytes, at: 0 };
        Header {
            version: i32::from_le_bytes(reader.take()),
            level0_offset: u64::from_le_bytes(reader.take()),
            max_elements: u64::from_le_bytes(reader.take()),
            elements: u64::from_le_bytes(reader.take()),
            stride: u64::from_le_bytes(reader.take()),
            label_offset: u64::from_le_bytes(reader.take()),
            data_offset: u64::from_le_bytes(reader.take()),
            max_level: i32::from_le_bytes(reader.take()),
            entry_point: u32::from_le_bytes(reader.take()),
            max_links: u64::from_le_bytes(reader.take()),
            max_links0: u64::from_le_bytes(reader.take()),
            m: u64::from_le_bytes(reader.take()),
            multiplier: f64::from_le_bytes(reader.take()),
            ef_construction: u64::from_le_bytes(reader.take()),
        }
    }

    /// Whether the offsets fit one another, so that records can be read by them at all.
    pub fn is_plausible(&self) -> bool {
        const LARGEST: u64 = 1 << 20;
        self.version == 1
            && self.level0_offset == 0
            && self.max_links0 <= LARGEST
            && self.max_links <= LARGEST
            && self.data_offset == 4 + 4 * self.max_links0
            && self.label_offset > self.data_offset
            && (self.label_offset - self.data_offset).is_multiple_of(4)
            && self.label_offset <= 64 * LARGEST
            && self.stride == self.label_offset + 8
            && self.elements <= self.max_elements
            && self.max_elements <= u64::from(u32::MAX)
    }

    /// Floats a vector.
    pub fn dimension(&self) -> u64 {
        self.label_offset.saturating_sub(self.data_offset) / 4
    }

    #[cfg(test)]
    pub(crate) fn sample(elements: u64, dimension: u64, m: u64) -> Header {
        let data_offset = 4 + 8 * m;
        Header {
            version: 1,
            level0_offset: 0,
            max_elements: elements.max(100),
            elements,
            stride: data_offset + 4 * dimension + 8,
            label_offset: data_offset + 4 * dimension,
            data_offset,
            max_level: 0,
            entry_point: 0,
            max_links: m,
            max_links0: 2 * m,
            m,
            multiplier: 0.36,
            ef_construction: 100,
        }
    }

    #[cfg(test)]
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.version.to_le_bytes());
        let numbers = [
            self.level0_offset,
            self.max_elements,
            self.elements,
            self.stride,
            self.label_offset,
            self.data_offset,
        ];
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(self.max_level.to_le_bytes());
        bytes.extend(self.entry_point.to_le_bytes());
        bytes
            .extend([self.max_links, self.max_links0, self.m].iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(self.multiplier.to_le_bytes());
        bytes.extend(self.ef_construction.to_le_bytes());
        bytes
    }
}

struct Fields<'a> {
    bytes: &'a [u8; BYTES],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let field =
            self.bytes[self.at..self.at + N].try_into().expect("the fields add up to the file's length");
        self.at += N;
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let header = Header::sample(7, 384, 16);
        let bytes: [u8; BYTES] = header.to_bytes().try_into().unwrap();
        assert_eq!(Header::from_bytes(&bytes), header);
        assert!(header.is_plausible());
        assert_eq!((header.stride, header.dimension()), (1676, 384));
    }

    #[test]
    fn offsets_that_contradict_one_another_are_not_plausible() {
        assert!(!Header { stride: 1677, ..Header::sample(7, 384, 16) }.is_plausible());
        assert!(!Header { elements: u64::MAX, ..Header::sample(7, 384, 16) }.is_plausible());
        assert!(!Header { max_links0: u64::MAX, ..Header::sample(7, 384, 16) }.is_plausible());
    }
}
