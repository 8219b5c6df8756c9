//! `link_lists.bin`: for each element in order, the size of its upper layers' links and then these links.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::header::Header;

/// What is wrong with the upper layers.
#[derive(Debug, thiserror::Error)]
pub enum LinkListsFault {
    /// The file ends inside an element.
    #[error("the file ends at element {element} of {elements}")]
    EndsEarly {
        /// The element.
        element: u64,
        /// How many the header promises.
        elements: u64,
    },
    /// Bytes follow the last element.
    #[error("bytes follow the last of {elements} elements")]
    Surplus {
        /// How many the header promises.
        elements: u64,
    },
    /// A size that is no whole number of layers, or of more layers than there are: a torn record can make a file of terabytes.
    #[error("element {element} claims {bytes} bytes of links")]
    Size {
        /// The element.
        element: u64,
        /// The size it claims.
        bytes: u64,
    },
    /// A link that leads nowhere, or more links than fit.
    #[error("element {element} has a link count or a link out of range")]
    Link {
        /// The element.
        element: u64,
    },
    /// The highest layer is not the one in the header.
    #[error("the highest layer is {found}, but the header says {expected}")]
    Highest {
        /// The layer found.
        found: i64,
        /// The header's.
        expected: i64,
    },
    /// The file cannot be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
}

/// Walks the file for as many elements as the header promises, which must consume it exactly. The header was found plausible.
/// Needs memory for one layer of one element, whatever sizes the file claims.
pub fn walk_link_lists(path: &Path, header: &Header) -> Result<(), LinkListsFault> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let layer_bytes = 4 * header.max_links + 4;
    let elements = header.elements;
    let mut highest = 0;
    let mut layer = vec![0; layer_bytes as usize];
    for element in 0..elements {
        let early = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LinkListsFault::EndsEarly { element, elements },
            _ => LinkListsFault::Read(error),
        };
        let mut size = [0u8; 4];
        reader.read_exact(&mut size).map_err(early)?;
        let bytes = u64::from(u32::from_le_bytes(size));
        let layers = bytes / layer_bytes;
        if bytes % layer_bytes != 0 || layers > header.max_level.max(0) as u64 {
            return Err(LinkListsFault::Size { element, bytes });
        }
        highest = highest.max(layers);
        for _ in 0..layers {
            reader.read_exact(&mut layer).map_err(early)?;
            if !links_are_in_range(&layer, header) {
                return Err(LinkListsFault::Link { element });
            }
        }
    }
    if reader.read(&mut [0u8; 1])? != 0 {
        return Err(LinkListsFault::Surplus { elements });
    }
    if elements > 0 && highest as i64 != i64::from(header.max_level) {
        return Err(LinkListsFault::Highest { found: highest as i64, expected: i64::from(header.max_level) });
    }
    Ok(())
}

fn links_are_in_range(layer: &[u8], header: &Header) -> bool {
    let count = u64::from(u16::from_le_bytes([layer[0], layer[1]]));
    count <= header.max_links
        && layer[4..4 + 4 * count as usize]
            .chunks_exact(4)
            .all(|link| u64::from(u32::from_le_bytes([link[0], link[1], link[2], link[3]])) < header.elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8], header: &Header) -> Result<(), LinkListsFault> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link_lists.bin");
        std::fs::write(&path, bytes).unwrap();
        walk_link_lists(&path, header)
    }

    fn layer(count: u16, links: &[u32], m: usize) -> Vec<u8> {
        let mut bytes = vec![0; 4 * m + 4];
        bytes[..2].copy_from_slice(&count.to_le_bytes());
        for (at, link) in links.iter().enumerate() {
            bytes[4 + 4 * at..8 + 4 * at].copy_from_slice(&link.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_file_has_to_be_consumed_exactly() {
        let header = Header { max_level: 1, ..Header::sample(2, 4, 16) };
        let mut bytes = 0u32.to_le_bytes().to_vec();
        bytes.extend(68u32.to_le_bytes());
        bytes.extend(layer(1, &[0], 16));
        assert!(walk(&bytes, &header).is_ok());
        assert!(matches!(walk(&bytes[..20], &header), Err(LinkListsFault::EndsEarly { element: 1, .. })));
        assert!(matches!(walk(&[&bytes[..], &[0]].concat(), &header), Err(LinkListsFault::Surplus { .. })));
        let higher = Header { max_level: 2, ..header };
        assert!(matches!(walk(&bytes, &higher), Err(LinkListsFault::Highest { found: 1, expected: 2 })));
    }

    #[test]
    fn a_size_of_gigabytes_and_a_link_to_nowhere_are_found() {
        let header = Header { max_level: 1, ..Header::sample(1, 4, 16) };
        let huge = u32::MAX.to_le_bytes();
        assert!(matches!(walk(&huge, &header), Err(LinkListsFault::Size { element: 0, .. })));
        let astray = [68u32.to_le_bytes().to_vec(), layer(1, &[1], 16)].concat();
        assert!(matches!(walk(&astray, &header), Err(LinkListsFault::Link { element: 0 })));
    }
}
