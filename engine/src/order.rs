//! What has to hold of a tree before anybody acts on it, and what only somebody who holds the keys could forge: each entry
//! lies in a directory that was named before, so that nothing is written through a link; none comes twice; a further name of
//! a file leads to a file that was named before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::tree::{Entry, Node};

/// Goes along with the entries. Memory: the directories above the last entry, and the first names of files of several names.
#[derive(Default)]
pub(crate) struct Order {
    last: Option<PathBuf>,
    /// The directories that lead to the last entry, the root left out.
    open: Vec<PathBuf>,
    linked: BTreeMap<OsString, OsString>,
}

impl Order {
    /// Takes the next entry, or says what is wrong with it.
    pub(crate) fn next(&mut self, entry: &Entry) -> Result<(), String> {
        let shown = entry.path.to_string_lossy();
        if entry.below(Path::new("/")).is_none() {
            return Err(format!("the path `{shown}` leads out of it"));
        }
        let path = Path::new(&entry.path);
        let is_root = entry.path == ".";
        let Some(last) = &self.last else {
            if !is_root || entry.node != Node::Directory {
                return Err("its tree does not begin with the root".to_owned());
            }
            self.last = Some(path.to_owned());
            return Ok(());
        };
        if is_root || (last.as_os_str() != "." && path <= last.as_path()) {
            return Err(format!("the path `{shown}` is not in its place"));
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        while self.open.last().is_some_and(|open| !parent.starts_with(open)) {
            self.open.pop();
        }
        if self.open.last().map_or(Path::new(""), PathBuf::as_path) != parent {
            return Err(format!("the path `{shown}` is in no directory of it"));
        }
        match &entry.node {
            Node::Directory => self.open.push(path.to_owned()),
            Node::Link { to } if Path::new(to) >= path => return Err(no_file(&entry.path, to)),
            Node::Link { to } => {
                self.linked.entry(to.clone()).or_insert_with(|| entry.path.clone());
            }
            Node::File { .. } | Node::Symlink { .. } => {}
        }
        self.last = Some(path.to_owned());
        Ok(())
    }

    /// The paths that links name, each with the first link. All must be files.
    pub(crate) fn into_linked(self) -> BTreeMap<OsString, OsString> {
        self.linked
    }
}

/// What is wrong with a link that names no file.
pub(crate) fn no_file(link: &OsString, to: &OsString) -> String {
    let (link, to) = (link.to_string_lossy(), to.to_string_lossy());
    format!("the path `{link}` is a further name of `{to}`, which is no file before it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    fn follow(entries: &[(&str, Node)]) -> Result<Vec<(OsString, OsString)>, String> {
        let mut order = Order::default();
        for (path, node) in entries {
            order.next(&Entry::bare(path, node.clone()))?;
        }
        Ok(order.into_linked().into_iter().collect())
    }

    fn file() -> Node {
        Node::File { size: 0, hash: String::new(), content: Content::Blocks(Vec::new()) }
    }

    fn link(to: &str) -> Node {
        Node::Link { to: to.into() }
    }

    #[test]
    fn the_order_of_a_walk_passes_and_says_what_links_name() {
        let symlink = Node::Symlink { to: "/".into() };
        let entries = [
            (".", Node::Directory),
            (" before the dot", file()),
            ("a", Node::Directory),
            ("a/b", Node::Directory),
            ("a/b/c", file()),
            ("a/d", link("a/b/c")),
            ("a-", symlink),
            ("z", link("a/b/c")),
        ];
        assert_eq!(follow(&entries), Ok(vec![("a/b/c".into(), "a/d".into())]));
    }

    #[test]
    fn what_no_walk_would_tell_is_refused() {
        let symlink = || Node::Symlink { to: "/etc".into() };
        let wrong: [(&[(&str, Node)], &str); 9] = [
            (&[("a", file())], "begin with the root"),
            (&[(".", file())], "begin with the root"),
            (&[(".", Node::Directory), (".", Node::Directory)], "not in its place"),
            (&[(".", Node::Directory), ("a", file()), ("a", file())], "not in its place"),
            (&[(".", Node::Directory), ("b", file()), ("a", file())], "not in its place"),
            (&[(".", Node::Directory), ("a", symlink()), ("a/passwd", file())], "in no directory"),
            (&[(".", Node::Directory), ("a/b", file())], "in no directory"),
            (&[(".", Node::Directory), ("../a", file())], "leads out"),
            (&[(".", Node::Directory), ("a", link("b")), ("b", file())], "no file before it"),
        ];
        for (entries, told) in wrong {
            let refused = follow(entries).unwrap_err();
            assert!(refused.contains(told), "{told}: {refused}");
        }
    }
}
