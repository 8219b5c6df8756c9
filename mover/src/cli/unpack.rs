//! Unpacks a tar archive into a new directory, attributes included. It writes nothing outside of it, through no symbolic link of
//! the archive, and counts what can't be kept.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink,
};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Timespec, Timestamps, XattrFlags, utimensat};
use rustix::io::Errno;

use super::member::{Kind, Member, Members};

/// What of an archive is not in the directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Devices and FIFOs.
    pub special: u64,
    /// Entries that belong to somebody else and became ours, because only root may give them away.
    pub owners: u64,
    /// Extended attributes that the scratch space doesn't take.
    pub xattrs: u64,
    /// Entries with an access control list as text.
    pub acls: u64,
}

impl Left {
    /// Warns of it.
    pub fn tell(&self) {
        let Self { special, owners, xattrs, acls } = self;
        for (count, what) in [
            (special, "devices and FIFOs of the archive are left out: a point holds none"),
            (
                owners,
                "entries of the archive belong to others and became yours: import as root to keep their owners",
            ),
            (
                xattrs,
                "extended attributes could not be set in the scratch space and are left out: import as root, or name \
                      a --scratch directory whose file system takes them",
            ),
            (
                acls,
                "entries have an access control list as text, which is left out: write the archive with \
                    tar --xattrs --xattrs-include='*'",
            ),
        ] {
            if *count > 0 {
                eprintln!("warning: {count} {what}");
            }
        }
    }
}

/// Unpacks an archive. An entry that comes twice is the last one.
pub fn unpack(archive: impl Read, target: &Path) -> io::Result<Left> {
    fs::create_dir(target)?;
    let mut work = Unpacking { target, owns: fs::metadata(target)?.uid(), left: Left::default() };
    let mut directories: BTreeMap<PathBuf, Member> = BTreeMap::new();
    let mut members = Members::new(archive);
    let mut entries = 0_u64;
    while let Some(member) = members.next()? {
        entries += 1;
        let within = inside(&member.path).ok_or_else(|| leads_out(&member.path))?;
        let place = target.join(&within);
        work.left.acls += u64::from(member.acl_as_text);
        work.make_way(&within, member.kind == Kind::Directory)?;
        match &member.kind {
            Kind::Directory => {
                directories.insert(place, member);
            }
            Kind::Special => work.left.special += 1,
            Kind::Symlink(to) => {
                symlink(to, &place)?;
                work.dress(&place, &member)?;
            }
            Kind::Link(to) => {
                let first = inside(to).ok_or_else(|| leads_out(&member.path))?;
                if !work.is_file(&first) {
                    let (shown, first) = (member.path.display(), first.display());
                    let why =
                        format!("its entry {shown} is a further name of {first}, which is no file before it");
                    return Err(invalid(why));
                }
                fs::hard_link(target.join(first), &place)?;
            }
            Kind::File(size, stretches) => {
                let mut file = File::options().write(true).create_new(true).mode(0o600).open(&place)?;
                members.copy(*size, stretches, &mut file)?;
                work.dress(&place, &member)?;
            }
        }
    }
    if entries == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
    }
    // What is in a directory first: writing into it moved its times, and it may be closed to us afterwards.
    for (place, member) in directories.iter().rev() {
        work.dress(place, member)?;
    }
    Ok(work.left)
}

struct Unpacking<'a> {
    target: &'a Path,
    /// Who unpacks.
    owns: u32,
    left: Left,
}

impl Unpacking<'_> {
    /// Makes the directories above a path, and the path free, or a directory.
    fn make_way(&self, within: &Path, directory: bool) -> io::Result<()> {
        let mut above: Vec<&Path> = within.ancestors().collect();
        above.reverse();
        for (number, path) in above.iter().enumerate() {
            let place = self.target.join(path);
            let is_last = number + 1 == above.len();
            match fs::symlink_metadata(&place) {
                Ok(meta) if meta.is_dir() && (!is_last || directory) => {}
                Ok(meta) if is_last && !meta.is_dir() => {
                    fs::remove_file(&place)?;
                    if directory {
                        DirBuilder::new().mode(0o700).create(&place)?;
                    }
                }
                Ok(_) => {
                    let (shown, path) = (within.display(), path.display());
                    return Err(invalid(format!(
                        "its entry {shown} can't be where {path} is another kind of file"
                    )));
                }
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Err(_) if !is_last || directory => DirBuilder::new().mode(0o700).create(&place)?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a path is a file that is reached over real directories.
    fn is_file(&self, within: &Path) -> bool {
        let kind = |path: &Path| fs::symlink_metadata(self.target.join(path)).map(|meta| meta.file_type());
        kind(within).is_ok_and(|kind| kind.is_file())
            && within.ancestors().skip(1).all(|above| kind(above).is_ok_and(|kind| kind.is_dir()))
    }

    /// Owner, extended attributes, mode and times, in this order, as each may change those before.
    fn dress(&mut self, place: &Path, member: &Member) -> io::Result<()> {
        let link = matches!(member.kind, Kind::Symlink(_));
        // A mode that closes the file to us comes last.
        let open = if link { None } else { Some(File::open(place)?) };
        if self.owns == 0 {
            match &open {
                Some(open) => fchown(open, Some(member.uid), Some(member.gid))?,
                None => lchown(place, Some(member.uid), Some(member.gid))?,
            }
        } else {
            self.left.owners += u64::from(member.uid != self.owns);
        }
        for xattr in member.xattrs.iter().filter(|xattr| engine::is_kept(&xattr.name)) {
            match rustix::fs::lsetxattr(place, &xattr.name, &xattr.value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(
                    Errno::PERM
                    | Errno::ACCESS
                    | Errno::OPNOTSUPP
                    | Errno::NOSPC
                    | Errno::INVAL
                    | Errno::RANGE,
                ) => {
                    self.left.xattrs += 1;
                }
                Err(e) => return Err(e.into()),
            }
        }
        if let Some(open) = &open {
            open.set_permissions(Permissions::from_mode(member.mode))?;
        }
        let (seconds, nanos) = member.mtime;
        let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(rustix::fs::CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

/// A path of an archive within the directory; `None` if it leads out. It may begin with `/` or `./`, as tar takes it.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut within = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => within.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(within)
}

fn leads_out(path: &Path) -> io::Error {
    invalid(format!("its entry {} leads out of the archive", path.display()))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{EntryType, Header};

    /// An archive of these entries: kind, path, link.
    fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, to) in entries {
            let mut header = Header::new_ustar();
            // Letter by letter: the library refuses to write what a forger would.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_link_name_literal(to.as_bytes()).unwrap();
            header.set_entry_type(*kind);
            header.set_size(u64::from(*kind == EntryType::Regular));
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_cksum();
            let bytes: &[u8] = if *kind == EntryType::Regular { b"x" } else { b"" };
            builder.append(&header, bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_archive_that_leads_out_is_refused_and_writes_nothing_there() {
        use EntryType::{Link, Regular, Symlink};
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let above = dir.path().to_str().unwrap();
        fs::write(dir.path().join("secret"), b"secret").unwrap();
        let cases: [&[(EntryType, &str, &str)]; 5] = [
            &[(Regular, "../outside", "")],
            &[(Symlink, "to", above), (Regular, "to/outside", "")],
            &[(Symlink, "to", above), (Link, "stolen", "to/secret")],
            &[(Link, "stolen", "../secret")],
            &[(Symlink, "to", "../secret"), (Link, "stolen", "to")],
        ];
        for (number, entries) in cases.into_iter().enumerate() {
            let target = dir.path().join(format!("in{number}"));
            let refused = unpack(archive(entries).as_slice(), &target).unwrap_err();
            assert!(refused.to_string().starts_with("its entry "), "{refused}");
            assert!(!outside.exists() && !target.join("stolen").exists(), "{entries:?}");
        }
    }

    #[test]
    fn an_archive_that_is_empty_cut_short_or_none_at_all_is_no_point() {
        let dir = tempfile::tempdir().unwrap();
        let whole = archive(&[(EntryType::Regular, "a", ""), (EntryType::Fifo, "pipe", "")]);
        let refused =
            |bytes: &[u8], name: &str| unpack(bytes, &dir.path().join(name)).unwrap_err().to_string();
        assert_eq!(refused(&[0; 1024], "empty"), "it is empty");
        for (length, name) in
            [(600, "in the bytes"), (1024, "before the end"), (300, "in a header"), (0, "nothing")]
        {
            assert!(refused(&whole[..length], name).contains("cut short"), "{name}");
        }
        assert!(refused(&[b'x'; 2048], "text").contains("no tar archive"));
        let mut volume = archive(&[(EntryType::new(b'M'), "part", "")]);
        assert!(refused(&volume, "volume").contains("kind `M`"));
        volume[0] ^= 1;
        assert!(refused(&volume, "flipped").contains("checksum"));
        let left = unpack(whole.as_slice(), &dir.path().join("whole")).unwrap();
        assert_eq!(left, Left { special: 1, ..Left::default() });
        assert_eq!(fs::read(dir.path().join("whole/a")).unwrap(), b"x");
        assert!(!dir.path().join("whole/pipe").exists());
    }

    #[test]
    fn an_entry_that_comes_twice_is_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let twice = archive(&[
            (EntryType::Regular, "a", ""),
            (EntryType::Symlink, "a", "nowhere"),
            (EntryType::Regular, "b", ""),
            (EntryType::Directory, "b", ""),
            (EntryType::Regular, "b/c", ""),
        ]);
        let target = dir.path().join("in");
        unpack(twice.as_slice(), &target).unwrap();
        assert_eq!(fs::read_link(target.join("a")).unwrap(), Path::new("nowhere"));
        assert_eq!(fs::read(target.join("b/c")).unwrap(), b"x");
    }
}
