//! Every parser of stored bytes, for a fuzzer and for the tests that replay what it found. What is read must not panic, must
//! not take more memory than its length justifies, and, written again, must read as the same.

use std::path::Path;

use crate::block::BlockId;
use crate::codec::Cursor;
use crate::compress::unpack;
use crate::envelope::{self, Kind};
use crate::index;
use crate::keys::{Slot, SlotInfo};
use crate::pack::{Placed, footer_place, read_list};
use crate::plain;
use crate::point::{PointId, Record};
use crate::seal::MAX_PLAIN;
use crate::tree::{Content, Entry, Node, read_entries, read_extents, write_entries, write_extents};
use crate::units::State;
use crate::units::frame::unsort;
use crate::units::map::Map;
use crate::units::patches::bounded;
use crate::units::reference::Reference;

/// Says whether it accepts these bytes.
pub type Parser = fn(&[u8]) -> bool;

/// The parsers by name.
pub const TARGETS: [(&str, Parser); 13] = [
    ("head", head),
    ("slot", |bytes| plain::read::<Slot>(bytes).is_ok()),
    ("slot-facts", |bytes| serde_json::from_slice::<SlotInfo>(bytes).is_ok()),
    ("point", point),
    ("point-name", point_name),
    ("tree", tree),
    ("extents", extents),
    ("map", map),
    ("reference", reference),
    ("index", |bytes| index::decode(bytes).is_some()),
    ("footer", footer),
    ("footer-place", place),
    ("frame", frame),
];

/// Hands what follows the first byte to the parser that this byte chooses.
pub fn stored_bytes(bytes: &[u8]) -> bool {
    let Some((choice, bytes)) = bytes.split_first() else { return false };
    TARGETS[usize::from(*choice) % TARGETS.len()].1(bytes)
}

fn head(bytes: &[u8]) -> bool {
    [Kind::Pack, Kind::Index, Kind::Point, Kind::Mark, Kind::Lease, Kind::Condemned, Kind::Document]
        .into_iter()
        .any(|kind| envelope::body(kind, bytes).is_ok())
}

fn point(bytes: &[u8]) -> bool {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return false };
    let written = serde_json::to_vec(&record).expect("what was read can be written");
    let again = serde_json::from_slice::<Record>(&written).expect("and read again");
    assert_eq!(serde_json::to_vec(&again).expect("twice"), written);
    true
}

fn point_name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let _ = index::pack_id(text);
    text.parse::<PointId>().is_ok_and(|id| id.to_string().parse::<PointId>().is_ok_and(|again| again == id))
}

fn tree(bytes: &[u8]) -> bool {
    let Some(entries) = read_entries(bytes) else { return false };
    assert_eq!(read_entries(&write_entries(&entries)).as_ref(), Some(&entries));
    entries.iter().for_each(entry);
    true
}

/// What a restore works out of an entry before it reads any block.
fn entry(entry: &Entry) {
    let root = Path::new("/target");
    if let Some(path) = entry.below(root) {
        assert!(path.starts_with(root), "{path:?} leads out of it");
    }
    let Node::File { size, content: Content::Units(units), .. } = &entry.node else { return };
    let geometry = &units.geometry;
    if !geometry.is_sound() {
        return;
    }
    let _ = bounded(&units.references);
    let last = geometry.segments(*size).saturating_sub(1);
    for number in [0, last] {
        let section = geometry.section(*size, number);
        let numbers = geometry.numbers();
        assert!(section.units().iter().all(|unit| usize::from(unit.number) < numbers));
    }
}

fn extents(bytes: &[u8]) -> bool {
    let Some(extents) = read_extents(bytes) else { return false };
    assert_eq!(write_extents(&extents), bytes);
    true
}

fn map(bytes: &[u8]) -> bool {
    let Some(map) = Map::read(bytes) else { return false };
    assert_eq!(map.write(), bytes);
    if let Ok(state) = State::of(&[(BlockId([0; 32]), map)], 1 << 16) {
        let _ = state.needed();
    }
    true
}

fn reference(bytes: &[u8]) -> bool {
    let Some(reference) = Reference::read(bytes) else { return false };
    assert_eq!(reference.write(), bytes);
    true
}

/// The first eight bytes say where the footer lies.
fn footer(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    let Some(start) = cursor.take().map(u64::from_be_bytes) else { return false };
    let Ok(placed) = read_list(&bytes[8..], start) else { return false };
    let mut written = Vec::new();
    placed.iter().for_each(|block: &Placed| block.write(&mut written));
    assert_eq!(written, bytes[8..]);
    true
}

fn place(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    let (Some(size), Some(trailer)) = (cursor.take().map(u64::from_be_bytes), cursor.take()) else {
        return false;
    };
    let Some((start, length)) = footer_place(size, trailer) else { return false };
    assert_eq!(start + length + 4, size);
    true
}

/// The first byte says how many planes, the second how much of the rest is the dictionary.
fn frame(bytes: &[u8]) -> bool {
    let Some((&[planes, share], rest)) = bytes.split_first_chunk() else { return false };
    let (dictionary, packed) = rest.split_at(rest.len() * usize::from(share) / 256);
    let limit = MAX_PLAIN.min(1 << 20);
    let Some(plain) = unpack(packed, limit, dictionary) else { return false };
    assert!(plain.len() <= limit);
    let length = plain.len();
    assert_eq!(unsort(plain, planes).len(), length);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    /// What the fuzzer begins with and what it found, each file by the name of its target.
    fn corpus() -> Vec<(usize, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/stored_bytes");
        let mut found = Vec::new();
        for file in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            found.push((usize::from(bytes[0]) % TARGETS.len(), bytes[1..].to_vec()));
        }
        found
    }

    #[test]
    fn every_parser_accepts_something_of_the_corpus() {
        let corpus = corpus();
        for (number, (name, parse)) in TARGETS.iter().enumerate() {
            let accepted = corpus.iter().any(|(target, bytes)| *target == number && parse(bytes));
            assert!(accepted, "nothing for {name}");
        }
    }

    #[test]
    fn no_parser_breaks_on_anything_near_the_corpus() {
        for (number, (target, bytes)) in corpus().into_iter().enumerate() {
            let parse = TARGETS[target].1;
            for at in 0..bytes.len().min(600) {
                parse(&bytes[..at]);
                for change in [1_u8, 0x80, 0xff] {
                    let mut near = bytes.clone();
                    near[at] ^= change;
                    parse(&near);
                }
            }
            for seed in 0..200 {
                parse(&noise(seed + 1_000 * number as u64, seed as usize * 3));
                let random = noise(seed, 3);
                let (from, to) = (
                    usize::from(random[0]) % bytes.len().max(1),
                    usize::from(random[1]) % bytes.len().max(1),
                );
                // A stretch twice, as lengths and counts then lie.
                parse(&[&bytes[..from], &bytes[to..]].concat());
            }
        }
    }

    /// Files that the parsers accept, for the corpus. Run once for a new target.
    #[test]
    #[ignore = "writes the beginnings of the corpus; run it when there is a new target"]
    fn seeds_are_written() {
        use crate::keys::{Keys, MasterKey, Password, new_slot};
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/stored_bytes");
        std::fs::create_dir_all(&folder).unwrap();
        let master = MasterKey::generate();
        let keys = Keys::derive(&master, [1; 16]);
        let password = Password::generate();
        let (info, slot) =
            new_slot(&master, &keys, &[1; 16], &password, "first", jiff::Timestamp::UNIX_EPOCH);
        let id = |n: u8| BlockId([n; 32]);
        let extents = [crate::tree::Extent { id: id(1), raw: 7 }, crate::tree::Extent { id: id(2), raw: 9 }];
        let layout = crate::Layout::Records { stride: 1676, columns: vec![132, 1536, 8] };
        let units = crate::tree::Units {
            geometry: crate::units::Geometry::of(&layout).unwrap(),
            maps: vec![id(3)],
            roots: vec![],
            references: extents[..1].to_vec(),
        };
        let file = |content| Node::File { size: 100_000, hash: "00".repeat(32), content };
        let entries = [
            Entry::bare(".", Node::Directory),
            Entry::bare("a", file(Content::Units(units))),
            Entry::bare("b", file(Content::Blocks(extents.to_vec()))),
            Entry::bare("c", Node::Symlink { to: "a".into() }),
        ];
        let piece = |unit, frame, position| crate::units::map::Piece { unit, count: 2, frame, position };
        let map = Map {
            depth: 0,
            previous: None,
            frames: vec![id(4), id(5)],
            patches: vec![crate::units::map::PatchId { id: id(6), reference: id(7) }],
            fulls: vec![piece(0, 0, 0)],
            deltas: vec![],
            patched: vec![piece(2, 0, 1)],
            hashes: vec![[9; 16]; 4],
        };
        let mut reference = Reference::default();
        for position in [0, 1, 5] {
            reference.push(id(4), position).unwrap();
        }
        let placed = |offset| {
            let mut out = Vec::new();
            let class = crate::block::Class::Data;
            Placed { id: id(8), class, offset, stored: 100, raw: 4096 }.write(&mut out);
            out
        };
        let listed = [placed(8), placed(108)].concat();
        let record = serde_json::json!({
            "component": "chroma", "consistencyTime": "2026-11-23T02:00:00Z", "started": "2026-11-23T01:59:00Z",
            "tags": {"a": "b"}, "body": {"collections": 3}, "attempt": "x",
            "totals": {"files": 1, "directories": 1, "symlinks": 0, "bytes": 7, "blocks": 1, "bytesStored": 5, "skipped": 0},
            "skipped": [], "tree": [id(1)],
        });
        let seeds: [(&str, Vec<u8>); 13] = [
            ("head", envelope::head(Kind::Pack).to_vec()),
            ("slot", slot),
            ("slot-facts", serde_json::to_vec(&info).unwrap()),
            ("point", serde_json::to_vec(&record).unwrap()),
            ("point-name", PointId::random().to_string().into_bytes()),
            ("tree", write_entries(&entries)),
            ("extents", write_extents(&extents)),
            ("map", map.write()),
            ("reference", reference.write()),
            ("index", [&[1; 16][..], &300_u32.to_be_bytes(), &2_u32.to_be_bytes(), &listed].concat()),
            ("footer", [&208_u64.to_be_bytes()[..], &listed].concat()),
            ("footer-place", [&1_000_u64.to_be_bytes()[..], &300_u32.to_be_bytes()].concat()),
            (
                "frame",
                [&[4, 0][..], &crate::compress::pack(&[7; 4096], crate::block::Effort::Usual, 0)].concat(),
            ),
        ];
        for (number, (name, bytes)) in (0_u8..).zip(seeds) {
            assert!(TARGETS[usize::from(number)].1(&bytes), "{name} refuses its own seed");
            std::fs::write(folder.join(name), [&[number], bytes.as_slice()].concat()).unwrap();
        }
    }
}
