//! How a file is best cut into blocks, told by looking into it. Says what the file is made of; how blocks are stored is no
//! concern of this crate.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{files, hnsw::Header};

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Pages of one size that change in place: an SQLite database.
    Pages {
        /// Bytes a page.
        size: u32,
    },
    /// Records of one size that change in place, each made of the same columns: HNSW's elements.
    Records {
        /// Bytes a record.
        stride: u32,
        /// Widths of the columns in bytes; they add up to the stride. Links change far oftener than vectors.
        columns: Vec<u32>,
    },
    /// Anything else.
    Stream,
}

/// Chooses by content: a file that is not what its name says is a `Stream`, which suits every file.
pub fn choose(path: &Path) -> io::Result<Layout> {
    let mut start = Vec::with_capacity(100);
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    file.take(100).read_to_end(&mut start)?;
    if let Some(size) = sqlite_page_size(&start) {
        return Ok(Layout::Pages { size });
    }
    let is_level0 = path.file_name().is_some_and(|name| name == files::LEVEL0);
    let header = path.parent().map(|segment| segment.join(files::HEADER));
    if let (true, Some(header)) = (is_level0, header)
        && let Ok(header) = Header::read(&header)
        && let Ok(stride) = u32::try_from(header.stride)
        && header.is_plausible()
        && length % header.stride == 0
    {
        let columns = vec![header.data_offset as u32, (header.label_offset - header.data_offset) as u32, 8];
        return Ok(Layout::Records { stride, columns });
    }
    Ok(Layout::Stream)
}

fn sqlite_page_size(start: &[u8]) -> Option<u32> {
    if start.len() < 100 || &start[..16] != b"SQLite format 3\0" {
        return None;
    }
    match u16::from_be_bytes([start[16], start[17]]) {
        1 => Some(65_536),
        size if size >= 512 && size.is_power_of_two() => Some(u32::from(size)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_by_what_it_is_and_not_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("chroma.sqlite3");
        std::fs::write(&db, "no database").unwrap();
        assert_eq!(choose(&db).unwrap(), Layout::Stream);
        std::fs::remove_file(&db).unwrap();
        rusqlite::Connection::open(&db).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        assert_eq!(choose(&db).unwrap(), Layout::Pages { size: 4096 });
    }

    #[test]
    fn elements_are_cut_into_links_vector_and_label() {
        let dir = tempfile::tempdir().unwrap();
        let level0 = dir.path().join(files::LEVEL0);
        std::fs::write(dir.path().join(files::HEADER), Header::sample(3, 64, 16).to_bytes()).unwrap();
        std::fs::write(&level0, vec![0; 3 * 396]).unwrap();
        assert_eq!(choose(&level0).unwrap(), Layout::Records { stride: 396, columns: vec![132, 256, 8] });
        std::fs::write(&level0, vec![0; 3 * 396 + 1]).unwrap();
        assert_eq!(choose(&level0).unwrap(), Layout::Stream);
    }
}
