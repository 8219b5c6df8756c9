//! `data_level0.bin`: one record an element with its links, its vector and its label.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use super::header::Header;

/// Bytes read at a time when walking through all elements.
const CHUNK: usize = 1 << 20;

/// Random and sequential access to the elements of one index.
pub struct Elements {
    file: File,
    header: Header,
}

/// One element as stored.
pub struct Element<'a> {
    record: &'a [u8],
    header: &'a Header,
}

impl Element<'_> {
    /// How many links it says it has on the lowest layer.
    pub fn link_count(&self) -> u64 {
        u64::from(u16::from_le_bytes([self.record[0], self.record[1]]))
    }

    /// Whether it was deleted. Its place is never given back.
    pub fn is_deleted(&self) -> bool {
        self.record[2] & 1 == 1
    }

    /// The elements it links to, as many as it says and the record can hold.
    pub fn links(&self) -> impl Iterator<Item = u32> {
        let count = self.link_count().min(self.header.max_links0) as usize;
        self.record[4..4 + 4 * count]
            .chunks_exact(4)
            .map(|link| u32::from_le_bytes([link[0], link[1], link[2], link[3]]))
    }

    /// The number by which the pickle knows it.
    pub fn label(&self) -> u64 {
        let label = &self.record[self.header.label_offset as usize..];
        u64::from_le_bytes(label[..8].try_into().expect("a label is the record's last 8 bytes"))
    }
}

impl Elements {
    /// Opens the file for a header that was found plausible.
    pub fn open(path: &Path, header: Header) -> io::Result<Elements> {
        debug_assert!(header.is_plausible());
        Ok(Elements { file: File::open(path)?, header })
    }

    /// Length of the file in bytes.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Calls `each` with the number of every element and the element, in order. A file that ends early is an error.
    pub fn each(&self, mut each: impl FnMut(u32, Element<'_>)) -> io::Result<()> {
        let stride = self.header.stride as usize;
        let per_chunk = (CHUNK / stride).max(1);
        let mut buffer = vec![0u8; per_chunk * stride];
        let mut number = 0u64;
        while number < self.header.elements {
            let count = (self.header.elements - number).min(per_chunk as u64) as usize;
            let chunk = &mut buffer[..count * stride];
            self.file.read_exact_at(chunk, number * self.header.stride)?;
            for record in chunk.chunks_exact(stride) {
                each(number as u32, Element { record, header: &self.header });
                number += 1;
            }
        }
        Ok(())
    }

    /// The bytes of one element's vector: little-endian floats.
    pub fn vector(&self, number: u32, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize((self.header.label_offset - self.header.data_offset) as usize, 0);
        self.file.read_exact_at(into, u64::from(number) * self.header.stride + self.header.data_offset)
    }
}

/// Which element has which label, for those that are not deleted. 16 bytes an element.
#[derive(Default)]
pub struct LabelIndex {
    sorted: Vec<(u64, u32)>,
}

impl LabelIndex {
    /// Reads all labels.
    pub fn read(elements: &Elements) -> io::Result<LabelIndex> {
        let mut sorted = Vec::new();
        elements.each(|number, element| {
            if !element.is_deleted() {
                sorted.push((element.label(), number));
            }
        })?;
        sorted.sort_unstable();
        Ok(LabelIndex { sorted })
    }

    /// The element with this label.
    pub fn element(&self, label: u64) -> Option<u32> {
        let at = self.sorted.binary_search_by_key(&label, |(label, _)| *label).ok()?;
        Some(self.sorted[at].1)
    }

    /// Elements that are not deleted.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// A label that two living elements share.
    pub fn duplicate(&self) -> Option<u64> {
        self.sorted.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0)
    }
}
