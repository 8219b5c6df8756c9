//! The pickle's meaning: ids, labels and a few numbers, in 20 bytes an id.

use std::{fs::File, io::BufReader, path::Path};

use super::machine::{PickleError, Scalar, read};

/// What the pickle says beside its maps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PickleNumbers {
    /// Elements ever added. The next label is one more.
    pub total_elements_added: Option<u64>,
    /// The last log row that is in the index. Written by 0.4 only, and left stale by later versions.
    pub max_seq_id: Option<u64>,
    /// Floats a vector, where it is told.
    pub dimensionality: Option<u64>,
}

/// The ids of a segment with their labels. Ids are kept as hashes: 20 bytes each, however long they are.
#[derive(Default)]
pub struct IdMap {
    sorted: Vec<Slot>,
    numbers: PickleNumbers,
    maps_agree: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    id: [u8; 16],
    label: [u8; 4],
}

/// The hash by which an id is known here.
fn hash(id: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..16]);
    short
}

impl IdMap {
    /// Reads the pickle of a segment.
    pub fn read(path: &Path) -> Result<IdMap, PickleError> {
        let mut sorted = Vec::new();
        let mut numbers = PickleNumbers::default();
        // The second map has to be the first one turned round: compared without keeping it, by sums of hashes of the pairs.
        let (mut forth, mut back) = (0u128, 0u128);
        let file = File::open(path).map_err(PickleError::Read)?;
        read(BufReader::with_capacity(1 << 16, file), |entry| match (entry.dict, entry.key, entry.value) {
            (Some("id_to_label"), Scalar::Text(id), Scalar::Int(label)) => {
                let id = hash(id);
                forth = forth.wrapping_add(pair(id, *label));
                sorted.push(Slot { id, label: (*label as u32).to_be_bytes() });
            }
            (Some("label_to_id"), Scalar::Int(label), Scalar::Text(id)) => {
                back = back.wrapping_add(pair(hash(id), *label));
            }
            (None, Scalar::Text(name), Scalar::Int(number)) => {
                let number = u64::try_from(*number).ok();
                match name.as_ref() {
                    "total_elements_added" => numbers.total_elements_added = number,
                    "max_seq_id" => numbers.max_seq_id = number,
                    "dimensionality" => numbers.dimensionality = number,
                    _ => {}
                }
            }
            _ => {}
        })?;
        sorted.sort_unstable();
        Ok(IdMap { sorted, numbers, maps_agree: forth == back })
    }

    /// The label of an id.
    pub fn label(&self, id: &str) -> Option<u32> {
        let id = hash(id);
        let at = self.sorted.binary_search_by_key(&id, |slot| slot.id).ok()?;
        Some(u32::from_be_bytes(self.sorted[at].label))
    }

    /// All labels, in no particular order.
    pub fn labels(&self) -> impl Iterator<Item = u32> {
        self.sorted.iter().map(|slot| u32::from_be_bytes(slot.label))
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// What the pickle says beside its maps.
    pub fn numbers(&self) -> PickleNumbers {
        self.numbers
    }

    /// Whether the map from labels to ids is the other one turned round.
    pub fn maps_agree(&self) -> bool {
        self.maps_agree
    }
}

fn pair(id: [u8; 16], label: i64) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&id);
    hasher.update(&label.to_le_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(short)
}

/// The ids of a pickle that `wanted` picks, `most` of them at most. Reads the file again.
pub(crate) fn pick_ids(
    path: &Path,
    most: usize,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Vec<String>, PickleError> {
    let mut picked = Vec::new();
    let file = File::open(path).map_err(PickleError::Read)?;
    read(BufReader::with_capacity(1 << 16, file), |entry| {
        if let (Some("id_to_label"), Scalar::Text(id)) = (entry.dict, entry.key)
            && picked.len() < most
            && wanted(id)
        {
            picked.push(id.to_string());
        }
    })?;
    Ok(picked)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written by Python from an object with the attributes of Chroma 0.x's PersistentData: protocols 2 and 4, then one with a
    // single id; and a plain dict as 1.x has it.
    const OBJECT_2: &str = "8002636368726f6d6164622e7365676d656e742e696d706c2e766563746f722e6c6f63616c5f70657273697374656e745f68\
         6e73770a50657273697374656e74446174610a7100298171017d710228580e00000064696d656e73696f6e616c6974797103\
         4b035814000000746f74616c5f656c656d656e74735f616464656471044b03580a0000006d61785f7365715f696471054a70\
         110100580b00000069645f746f5f6c6162656c71067d71072858010000006171084b0158010000006271094b025806000000\
         c3bcc3bcc3bc710a4b0375580b0000006c6162656c5f746f5f6964710b7d710c284b0168084b0268094b03680a75580c0000\
         0069645f746f5f7365715f6964710d7d710e2868084d2c0168094d5802680a4d84037575622e";
    const OBJECT_4: &str = "800495f8000000000000008c326368726f6d6164622e7365676d656e742e696d706c2e766563746f722e6c6f63616c5f7065\
         7273697374656e745f686e7377948c0e50657273697374656e74446174619493942981947d94288c0e64696d656e73696f6e\
         616c697479944b038c14746f74616c5f656c656d656e74735f6164646564944b038c0a6d61785f7365715f6964944a701101\
         008c0b69645f746f5f6c6162656c947d94288c0161944b018c0162944b028c06c3bcc3bcc3bc944b03758c0b6c6162656c5f\
         746f5f6964947d94284b01680a4b02680b4b03680c758c0c69645f746f5f7365715f6964947d9428680a4d2c01680b4d5802\
         680c4d84037575622e";
    const ONE_ID: &str = "800495cc000000000000008c326368726f6d6164622e7365676d656e742e696d706c2e766563746f722e6c6f63616c5f7065\
         7273697374656e745f686e7377948c0e50657273697374656e74446174619493942981947d94288c0e64696d656e73696f6e\
         616c697479944b038c14746f74616c5f656c656d656e74735f6164646564944b038c0a6d61785f7365715f6964944a701101\
         008c0b69645f746f5f6c6162656c947d948c0178944b01738c0b6c6162656c5f746f5f6964947d944b01680a738c0c69645f\
         746f5f7365715f6964947d9475622e";
    const PLAIN: &str = "80037d710028580e00000064696d656e73696f6e616c69747971014e5814000000746f74616c5f656c656d656e74735f6164\
         64656471024b02580a0000006d61785f7365715f696471034e580b00000069645f746f5f6c6162656c71047d710528580100\
         00007071064b0158010000007171074b0275580b0000006c6162656c5f746f5f696471087d7109284b0168064b0268077558\
         0c00000069645f746f5f7365715f6964710a7d710b752e";

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index_metadata.pickle");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn read_hex(text: &str) -> IdMap {
        let (_dir, path) = file(&hex::decode(text).unwrap());
        IdMap::read(&path).unwrap()
    }

    #[test]
    fn the_object_of_0_x_is_read_in_each_protocol() {
        for text in [OBJECT_2, OBJECT_4] {
            let ids = read_hex(text);
            let labels = ["a", "b", "üüü", "c"].map(|id| ids.label(id));
            assert_eq!(labels, [Some(1), Some(2), Some(3), None]);
            assert!(ids.maps_agree());
            let numbers = ids.numbers();
            assert_eq!(numbers.max_seq_id, Some(70_000));
            assert_eq!((numbers.total_elements_added, numbers.dimensionality), (Some(3), Some(3)));
        }
        assert_eq!(read_hex(ONE_ID).label("x"), Some(1));
    }

    #[test]
    fn the_plain_dict_of_1_x_is_read() {
        let ids = read_hex(PLAIN);
        assert_eq!((ids.label("p"), ids.label("q"), ids.len()), (Some(1), Some(2), 2));
        assert_eq!(
            ids.numbers(),
            PickleNumbers { total_elements_added: Some(2), ..PickleNumbers::default() }
        );
    }

    #[test]
    fn a_pickle_cut_anywhere_is_an_error_and_never_a_smaller_map() {
        for text in [OBJECT_2, OBJECT_4, PLAIN] {
            let bytes = hex::decode(text).unwrap();
            for end in 0..bytes.len() {
                let (_dir, path) = file(&bytes[..end]);
                assert!(IdMap::read(&path).is_err(), "cut at {end}");
            }
            let (_dir, path) = file(&[&bytes[..], b"."].concat());
            assert!(matches!(IdMap::read(&path), Err(PickleError::Surplus { .. })));
        }
    }

    #[test]
    fn maps_that_contradict_one_another_are_noticed() {
        let mut bytes = hex::decode(PLAIN).unwrap();
        let at = bytes.windows(5).position(|five| five == b"q\x06K\x01X").unwrap();
        bytes[at + 3] = 2;
        let (_dir, path) = file(&bytes);
        assert!(!IdMap::read(&path).unwrap().maps_agree());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let (_dir, path) = file(&bytes);
            let _ = IdMap::read(&path);
        }

        #[test]
        fn no_changed_byte_makes_it_panic(at in 0usize..280, byte in proptest::num::u8::ANY) {
            let mut bytes = hex::decode(OBJECT_4).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            let (_dir, path) = file(&bytes);
            let _ = IdMap::read(&path);
        }
    }
}
