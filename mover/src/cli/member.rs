//! Reads a tar archive from front to back: ustar, pax and GNU's, sparse files included. It refuses what it doesn't understand
//! and what ends before its end, rather than to make something else of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use engine::Xattr;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax;

const BLOCK: usize = 512;
/// What stands before a member is held in memory: no more than this of it.
const LARGEST_HEAD: u64 = 16 << 20;

/// An entry of an archive.
#[derive(Debug)]
pub struct Member {
    pub path: PathBuf,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    pub xattrs: Vec<Xattr>,
    /// It has an access control list as text, which is not understood.
    pub acl_as_text: bool,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    Symlink(PathBuf),
    /// A further name of a file before.
    Link(PathBuf),
    /// The length, and where it has bytes: offset and length of each stretch.
    File(u64, Vec<(u64, u64)>),
    /// A device or a FIFO.
    Special,
}

/// What was said about a member before its own header.
#[derive(Default)]
struct Said {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Said {
    /// The last record of a key counts.
    fn record(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().rev().find(|(k, _)| k == key.as_bytes());
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str) -> io::Result<Option<u64>> {
        let Some(value) = self.record(key) else { return Ok(None) };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| damaged(&format!("the number `{key}` before an entry makes no sense")))
    }
}

/// The members of an archive, in order.
pub struct Members<R> {
    from: R,
    /// Bytes of the current member that are still to come, and its padding.
    left: u64,
    padding: u64,
    global: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Members<R> {
    pub fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0, global: Vec::new() }
    }

    /// The next member; what of the last one was not read is passed over.
    pub fn next(&mut self) -> io::Result<Option<Member>> {
        let mut said = Said { records: self.global.clone(), ..Said::default() };
        loop {
            self.pass(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let block: [u8; BLOCK] = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            if header.cksum().ok() != Some(sum(&block)) {
                return Err(damaged("it is damaged, or no tar archive: the checksum of a header is wrong"));
            }
            let kind = header.entry_type();
            // Old programs give a link the size of what it leads to, and nothing stands behind it.
            self.will_read(if kind == EntryType::Link { 0 } else { header.entry_size()? });
            match kind {
                EntryType::XHeader => {
                    let records = self.head()?;
                    said.records.extend(read_records(&records)?);
                }
                EntryType::XGlobalHeader => {
                    let records = self.head()?;
                    self.global = read_records(&records)?;
                    said.records.splice(0..0, self.global.iter().cloned());
                }
                EntryType::GNULongName => said.path = Some(self.text()?),
                EntryType::GNULongLink => said.link = Some(self.text()?),
                // The label of a volume.
                label if label.as_byte() == b'V' => {
                    said = Said { records: self.global.clone(), ..Said::default() }
                }
                kind => return self.member(header, kind, &said).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header, kind: EntryType, said: &Said) -> io::Result<Member> {
        let sparse_name = said.record("GNU.sparse.name").map(<[u8]>::to_vec);
        let path =
            sparse_name.or_else(|| said.record("path").map(<[u8]>::to_vec)).or_else(|| said.path.clone());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = said.record("linkpath").map(<[u8]>::to_vec).or_else(|| said.link.clone());
        let link = || link.or_else(|| header.link_name_bytes().map(|name| name.into_owned())).map(path_of);
        let to = || link().ok_or_else(|| damaged("a link of it leads nowhere"));
        let size = said.number("size")?.unwrap_or(header.entry_size()?);
        let is_old_directory = path.ends_with(b"/") && header.as_ustar().is_none();
        let path = path_of(path);
        let kind = match kind {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular if is_old_directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(to()?),
            EntryType::Link => Kind::Link(to()?),
            EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Special,
            EntryType::Regular | EntryType::Continuous => {
                self.will_read(size);
                self.regular(size, said)?
            }
            EntryType::GNUSparse => self.old_sparse(header)?,
            other => {
                let (kind, shown) = (char::from(other.as_byte()), path.display());
                return Err(damaged(&format!(
                    "its entry {shown} is of the kind `{kind}`, which is not understood"
                )));
            }
        };
        let owner = |key, field: io::Result<u64>| {
            let id = said.number(key)?.map_or(field, Ok)?;
            u32::try_from(id).map_err(|_| damaged(&format!("the owner of {} makes no sense", path.display())))
        };
        let (uid, gid) = (owner("uid", header.uid())?, owner("gid", header.gid())?);
        // Before 1970 the field holds a negative number in two's complement.
        let field = || Ok::<_, io::Error>((header.mtime()? as i64, 0));
        let mtime = said.record("mtime").and_then(pax::read_time).map_or_else(field, Ok)?;
        let xattr = |(key, value): &(Vec<u8>, Vec<u8>)| {
            pax::xattr_name(key).map(|name| Xattr { name, value: value.clone() })
        };
        let mut xattrs: Vec<Xattr> = Vec::new();
        for xattr in said.records.iter().filter_map(xattr) {
            xattrs.retain(|before| before.name != xattr.name);
            xattrs.push(xattr);
        }
        let acl_as_text = said.records.iter().any(|(key, _)| key.starts_with(b"SCHILY.acl."));
        Ok(Member { path, kind, mode: header.mode()? & 0o7777, uid, gid, mtime, xattrs, acl_as_text })
    }

    /// A regular file, or a sparse one in the form that GNU tar gives it in a pax archive: the map stands before the bytes.
    fn regular(&mut self, size: u64, said: &Said) -> io::Result<Kind> {
        if said.record("GNU.sparse.major") == Some(b"1")
            && said.record("GNU.sparse.minor").is_none_or(|m| m == b"0")
        {
            let real = said.number("GNU.sparse.realsize")?;
            let real = real.ok_or_else(|| damaged("a sparse file of it has no length"))?;
            let mut text = Vec::new();
            let mut numbers: Vec<u64> = Vec::new();
            while numbers.first().is_none_or(|count| (numbers.len() as u64) < 1 + count.saturating_mul(2)) {
                if text.len() as u64 > LARGEST_HEAD || self.left < BLOCK as u64 {
                    return Err(damaged("the map of a sparse file of it makes no sense"));
                }
                text.extend_from_slice(&self.block::<BLOCK>()?);
                self.left -= BLOCK as u64;
                let lines = text.split(|byte| *byte == b'\n');
                let whole = lines.clone().count() - 1;
                let parsed = lines.take(whole).map(|line| std::str::from_utf8(line).ok()?.parse().ok());
                numbers = parsed.map_while(|number: Option<u64>| number).collect();
                let count = numbers.first().copied().unwrap_or(0);
                if count > LARGEST_HEAD {
                    return Err(damaged("the map of a sparse file of it makes no sense"));
                }
            }
            let count = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
            let pairs = numbers[1..].chunks_exact(2).take(count);
            return sparse(real, pairs.map(|pair| (pair[0], pair[1])).collect(), self.left);
        }
        if said.records.iter().any(|(key, _)| key.starts_with(b"GNU.sparse.")) {
            return Err(damaged(
                "it holds sparse files in an old form: write it with tar --sparse-version=1.0",
            ));
        }
        Ok(Kind::File(size, vec![(0, size)]))
    }

    /// A sparse file in the form of GNU's own format: the map is in the header and in blocks behind it.
    fn old_sparse(&mut self, header: &Header) -> io::Result<Kind> {
        let gnu = header.as_gnu().ok_or_else(|| damaged("a sparse file of it has no map"))?;
        let (mut stretches, mut goes_on) = (Vec::new(), gnu.is_extended());
        let add = |stretches: &mut Vec<(u64, u64)>, of: &[GnuSparseHeader]| -> io::Result<()> {
            for part in of.iter().filter(|part| !part.is_empty()) {
                stretches.push((part.offset()?, part.length()?));
            }
            Ok(())
        };
        add(&mut stretches, &gnu.sparse)?;
        while goes_on {
            let mut more = GnuExtSparseHeader::new();
            more.as_mut_bytes().copy_from_slice(&self.block::<BLOCK>()?);
            add(&mut stretches, more.sparse())?;
            goes_on = more.is_extended();
            if stretches.len() as u64 > LARGEST_HEAD {
                return Err(damaged("the map of a sparse file of it makes no sense"));
            }
        }
        sparse(gnu.real_size()?, stretches, self.left)
    }

    /// Writes the bytes of the current member, a file. What has none stays a hole.
    pub fn copy(&mut self, size: u64, stretches: &[(u64, u64)], to: &mut File) -> io::Result<()> {
        for (offset, length) in stretches {
            to.seek(SeekFrom::Start(*offset))?;
            let copied = io::copy(&mut self.from.by_ref().take(*length), to)?;
            self.left -= copied;
            if copied != *length {
                return Err(cut_short());
            }
        }
        to.set_len(size)
    }

    fn will_read(&mut self, size: u64) {
        (self.left, self.padding) = (size, size.next_multiple_of(BLOCK as u64) - size);
    }

    fn block<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut block = [0; N];
        self.from.read_exact(&mut block).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => cut_short(),
            _ => e,
        })?;
        Ok(block)
    }

    /// What stands before a member, whole.
    fn head(&mut self) -> io::Result<Vec<u8>> {
        if self.left > LARGEST_HEAD {
            return Err(damaged("what it says before an entry is too long"));
        }
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(self.left).read_to_end(&mut bytes)? as u64;
        if read != self.left {
            return Err(cut_short());
        }
        self.left = 0;
        Ok(bytes)
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let mut text = self.head()?;
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Ok(text)
    }

    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.from.by_ref().take(bytes), &mut io::sink())?;
        if passed == bytes { Ok(()) } else { Err(cut_short()) }
    }
}

/// A sparse file. The stretches must lie within it in order and be as long together as what is stored.
fn sparse(size: u64, mut stretches: Vec<(u64, u64)>, stored: u64) -> io::Result<Kind> {
    stretches.retain(|(_, length)| *length > 0);
    let mut end = 0;
    let mut in_order = true;
    for (offset, length) in &stretches {
        in_order &= *offset >= end;
        end = offset.saturating_add(*length);
    }
    let bytes: u64 = stretches.iter().map(|(_, length)| *length).fold(0, u64::saturating_add);
    if !in_order || end > size || bytes != stored {
        return Err(damaged("the map of a sparse file of it makes no sense"));
    }
    Ok(Kind::File(size, stretches))
}

fn read_records(bytes: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    pax::read(bytes).ok_or_else(|| damaged("what it says before an entry makes no sense"))
}

/// The checksum of a header, its own field counting as blanks.
fn sum(block: &[u8; BLOCK]) -> u32 {
    let own = 148..156;
    (0..).zip(block).map(|(at, byte)| if own.contains(&at) { 32 } else { u32::from(*byte) }).sum()
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short: its end is missing")
}
