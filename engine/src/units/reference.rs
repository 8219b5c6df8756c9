//! References: places of whole units which, end to end, are the dictionary that patches were compressed against. So a page
//! that was rewritten out of others, as a full-text index rewrites its own, costs what is new in it. A reference names
//! frames only, never patches: the depth is one here too.

use crate::block::BlockId;
use crate::codec::{Cursor, put_u16};

/// The longest dictionary, in bytes.
pub(crate) const LONGEST: u32 = 12 << 20;
/// All dictionaries that one version of a file needs, in bytes, and how many there may be.
pub(crate) const LONGEST_ALL: u64 = 24 << 20;
pub(crate) const MOST: usize = 4;

/// Consecutive positions of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Index into the reference's list of frames.
    pub(crate) frame: u16,
    pub(crate) position: u16,
    pub(crate) count: u16,
}

/// A stored reference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reference {
    pub(crate) frames: Vec<BlockId>,
    pub(crate) stretches: Vec<Stretch>,
}

impl Reference {
    /// Adds a place at the end. Fails when there are too many to be numbered.
    pub(crate) fn push(&mut self, frame: BlockId, position: u16) -> Option<()> {
        // Units come in the order of the file, hence of their frames for the most part.
        let known = self.frames.iter().rposition(|known| *known == frame);
        let number = known.unwrap_or(self.frames.len());
        let number = u16::try_from(number).ok()?;
        let full = self.stretches.len() >= usize::from(u16::MAX);
        match self.stretches.last_mut() {
            Some(last) if last.frame == number && last.position.checked_add(last.count) == Some(position) => {
                last.count = last.count.checked_add(1)?;
            }
            _ if full => return None,
            _ => self.stretches.push(Stretch { frame: number, position, count: 1 }),
        }
        if known.is_none() {
            self.frames.push(frame);
        }
        Some(())
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u16(&mut out, self.frames.len() as u16);
        out.extend(self.frames.iter().flat_map(|id| id.0));
        put_u16(&mut out, self.stretches.len() as u16);
        for field in [|s: &Stretch| s.frame, |s: &Stretch| s.position, |s: &Stretch| s.count] {
            self.stretches.iter().for_each(|stretch| put_u16(&mut out, field(stretch)));
        }
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.u16()?;
        let frames: Option<Vec<BlockId>> = (0..count).map(|_| cursor.take().map(BlockId)).collect();
        let frames = frames?;
        let count = usize::from(cursor.u16()?);
        let mut field = || (0..count).map(|_| cursor.u16()).collect::<Option<Vec<u16>>>();
        let (of, positions, counts) = (field()?, field()?, field()?);
        let stretches: Vec<Stretch> = of
            .into_iter()
            .zip(positions.into_iter().zip(counts))
            .map(|(frame, (position, count))| Stretch { frame, position, count })
            .collect();
        let sound = |s: &Stretch| {
            s.count > 0 && usize::from(s.frame) < frames.len() && s.position.checked_add(s.count).is_some()
        };
        (cursor.is_done() && stretches.iter().all(sound)).then_some(Self { frames, stretches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Reference {
        let mut reference = Reference::default();
        for (frame, position) in [(1, 0), (1, 1), (1, 2), (2, 7), (1, 9), (2, 8), (2, 9)] {
            reference.push(BlockId([frame; 32]), position).unwrap();
        }
        reference
    }

    #[test]
    fn neighbours_are_joined_and_everything_comes_back_as_written() {
        let stretch = |frame, position, count| Stretch { frame, position, count };
        assert_eq!(sample().frames.len(), 2);
        assert_eq!(
            sample().stretches,
            [stretch(0, 0, 3), stretch(1, 7, 1), stretch(0, 9, 1), stretch(1, 8, 2)]
        );
        for reference in [sample(), Reference::default()] {
            assert_eq!(Reference::read(&reference.write()), Some(reference));
        }
    }

    #[test]
    fn references_that_contradict_themselves_are_refused() {
        type Change = fn(&mut Reference);
        let broken: [(&str, Change); 3] = [
            ("a frame that is not listed", |r| r.stretches[0].frame = 2),
            ("an empty stretch", |r| r.stretches[0].count = 0),
            ("positions beyond any number", |r| r.stretches[1].position = u16::MAX),
        ];
        for (what, change) in broken {
            let mut reference = sample();
            change(&mut reference);
            assert_eq!(Reference::read(&reference.write()), None, "{what}");
        }
        let bytes = sample().write();
        for length in 0..bytes.len() {
            assert_eq!(Reference::read(&bytes[..length]), None, "cut at {length}");
        }
        assert_eq!(Reference::read(&[bytes.as_slice(), &[0]].concat()), None);
    }
}
