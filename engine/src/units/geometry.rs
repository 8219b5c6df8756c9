//! The numbers behind a file of records: how it falls into segments, a segment into columns, a column into units. Every
//! position follows from these numbers and the file's size; maps only number units.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::layout::{LARGEST, Layout};

/// Values of a column are joined to units of about this many bytes, but for wider ones.
const UNIT: u32 = 4096;
/// Bytes of a segment, about. Bounds what a capture or a restore holds in memory at once.
const SEGMENT: u32 = 4 << 20;
/// The most a stored geometry may ask a reader to hold.
const LARGEST_SEGMENT: u64 = 16 << 20;
const MOST_COLUMNS: usize = 16;
const MOST_UNITS: u64 = 16_384;

/// How a file of records is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Geometry {
    /// Records of a segment.
    pub(crate) records: u32,
    /// The columns of a record.
    pub(crate) columns: Vec<Column>,
}

/// A column of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Column {
    /// Bytes of one value.
    pub(crate) width: u32,
    /// Values of a unit.
    pub(crate) values: u32,
    /// Into how many planes the bytes of its frames are sorted; 1 leaves them as they are.
    pub(crate) planes: u8,
}

impl Column {
    /// Bytes of a whole unit.
    pub(crate) fn slot(&self) -> usize {
        self.width as usize * self.values as usize
    }
}

/// One segment of a file of a certain size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    geometry: Geometry,
    /// Whole records in it.
    records: usize,
    /// Bytes behind its last whole record.
    tail: usize,
    /// Where it begins in the file.
    pub(crate) at: u64,
}

/// A unit of a section, and where its bytes are once the columns stand apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) number: u16,
    /// Index of its column; one beyond the last for the tail.
    pub(crate) column: usize,
    pub(crate) at: usize,
    pub(crate) length: usize,
    /// Bytes from one unit to the next within a frame.
    pub(crate) slot: usize,
}

impl Geometry {
    /// The geometry for a layout; none if the layout is a stream, or makes no sense.
    pub(crate) fn of(layout: &Layout) -> Option<Self> {
        let (stride, widths) = match layout {
            Layout::Stream => return None,
            Layout::Pages { size } => (*size, vec![*size]),
            Layout::Records { stride, columns } => (*stride, columns.clone()),
        };
        let column = |width: u32| Column { width, values: (UNIT / width.max(1)).max(1), planes: 1 };
        let columns: Vec<Column> = widths.into_iter().map(column).collect();
        let fits = columns.iter().map(|c| u64::from(c.width)).sum::<u64>() == u64::from(stride);
        let geometry = Self { records: (SEGMENT / stride.max(1)).max(1), columns };
        (fits && geometry.is_sound()).then_some(geometry)
    }

    /// Whether its numbers fit one another and the bounds of the format.
    pub(crate) fn is_sound(&self) -> bool {
        let sound = |c: &Column| {
            c.width > 0
                && c.values > 0
                && u64::from(c.width) * u64::from(c.values) <= LARGEST as u64
                && matches!(c.planes, 1 | 2 | 4 | 8)
                && c.width.is_multiple_of(u32::from(c.planes))
        };
        (1..=MOST_COLUMNS).contains(&self.columns.len())
            && self.columns.iter().all(sound)
            && self.records > 0
            && self.stride() <= LARGEST as u64
            && self.segment_bytes() <= LARGEST_SEGMENT
            && self.columns.iter().map(|c| u64::from(self.records.div_ceil(c.values))).sum::<u64>()
                < MOST_UNITS
    }

    /// Bytes from one unit to the next within a patch, see [`Section::can_be_patched`].
    pub(crate) fn patched_slot(&self) -> usize {
        self.columns.first().map_or(0, Column::slot)
    }

    /// Whether records have the same columns, however their frames are sorted.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        let shape = |g: &Self| (g.records, g.columns.iter().map(|c| (c.width, c.values)).collect::<Vec<_>>());
        shape(self) == shape(other)
    }

    fn stride(&self) -> u64 {
        self.columns.iter().map(|c| u64::from(c.width)).sum()
    }

    /// Bytes of a whole segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        u64::from(self.records) * self.stride()
    }

    /// How many segments a file of this size has.
    pub(crate) fn segments(&self, size: u64) -> u64 {
        size.div_ceil(self.segment_bytes())
    }

    /// One segment of a file of this size.
    pub(crate) fn section(&self, size: u64, number: u64) -> Section {
        let at = number * self.segment_bytes();
        let bytes = size.saturating_sub(at).min(self.segment_bytes());
        let (records, tail) = ((bytes / self.stride()) as usize, (bytes % self.stride()) as usize);
        Section { geometry: self.clone(), records, tail, at }
    }

    /// One more than the largest number a unit can have.
    pub(crate) fn numbers(&self) -> usize {
        1 + self.columns.iter().map(|c| self.records.div_ceil(c.values) as usize).sum::<usize>()
    }
}

impl Section {
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.records * self.geometry.stride() as usize + self.tail
    }

    /// Its units in the order of their numbers. The numbers of a column don't depend on how many records there are, so
    /// that a file which grows keeps them.
    pub(crate) fn units(&self) -> Vec<Unit> {
        let (mut units, mut first, mut at) = (Vec::new(), 0, 0);
        for (index, column) in self.geometry.columns.iter().enumerate() {
            let (slot, length) = (column.slot(), self.records * column.width as usize);
            for (n, from) in (0..length).step_by(slot).enumerate() {
                let number = (first + n) as u16;
                units.push(Unit {
                    number,
                    column: index,
                    at: at + from,
                    length: slot.min(length - from),
                    slot,
                });
            }
            first += self.geometry.records.div_ceil(column.values) as usize;
            at += length;
        }
        if self.tail > 0 {
            let (column, length) = (self.geometry.columns.len(), self.tail);
            units.push(Unit { number: first as u16, column, at, length, slot: length });
        }
        units
    }

    /// The stretch of the file in which a whole unit lies, beside the other columns of its records. None for one that isn't whole:
    /// what it holds depends on the file's size.
    pub(crate) fn stretch(&self, unit: &Unit) -> Option<Range<u64>> {
        let column = self.geometry.columns.get(unit.column)?;
        if unit.length < column.slot() {
            return None;
        }
        let before: usize = self.geometry.columns[..unit.column].iter().map(|c| c.width as usize).sum();
        let first = (unit.at - self.records * before) as u64 / u64::from(column.width);
        let record = |number: u64| self.at + number * self.geometry.stride();
        Some(record(first)..record(first + u64::from(column.values)))
    }

    /// Whether its units may lie in patches: where a record is one value, as it is.
    pub(crate) fn can_be_patched(&self) -> bool {
        matches!(self.geometry.columns.as_slice(), [Column { planes: 1, .. }])
    }

    /// Into how many planes frames of this column are sorted.
    pub(crate) fn planes(&self, column: usize) -> u8 {
        self.geometry.columns.get(column).map_or(1, |c| c.planes)
    }

    /// Sets the columns apart.
    pub(crate) fn split(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.geometry.columns.len() == 1 {
            return bytes;
        }
        let mut apart = Vec::with_capacity(bytes.len());
        let (stride, mut from) = (self.geometry.stride() as usize, 0);
        let whole = self.records * stride;
        for column in &self.geometry.columns {
            let width = column.width as usize;
            for record in bytes[..whole].chunks_exact(stride) {
                apart.extend_from_slice(&record[from..from + width]);
            }
            from += width;
        }
        apart.extend_from_slice(&bytes[whole..]);
        apart
    }

    /// The reverse of [`Self::split`].
    pub(crate) fn join<'a>(&self, apart: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        if self.geometry.columns.len() == 1 {
            return apart;
        }
        let mut bytes = vec![0; apart.len()];
        let (stride, mut from, mut rest) = (self.geometry.stride() as usize, 0, &*apart);
        let whole = self.records * stride;
        for column in &self.geometry.columns {
            let width = column.width as usize;
            let (values, behind) = rest.split_at(self.records * width);
            for (record, value) in bytes[..whole].chunks_exact_mut(stride).zip(values.chunks_exact(width)) {
                record[from..from + width].copy_from_slice(value);
            }
            (from, rest) = (from + width, behind);
        }
        bytes[whole..].copy_from_slice(rest);
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;
    use proptest::prelude::*;

    fn records(columns: &[u32]) -> Geometry {
        Geometry::of(&Layout::Records { stride: columns.iter().sum(), columns: columns.to_vec() }).unwrap()
    }

    #[test]
    fn layouts_that_make_no_sense_have_no_geometry() {
        for layout in [
            Layout::Stream,
            Layout::Pages { size: 0 },
            Layout::Pages { size: u32::MAX },
            Layout::Records { stride: 5, columns: vec![2, 2] },
            Layout::Records { stride: 4, columns: vec![2, 0, 2] },
            Layout::Records { stride: 0, columns: vec![] },
            Layout::Records { stride: 17, columns: vec![1; 17] },
        ] {
            assert_eq!(Geometry::of(&layout), None, "{layout:?}");
        }
    }

    #[test]
    fn a_column_keeps_its_numbers_while_the_file_grows() {
        let geometry = records(&[132, 1536, 8]);
        let vectors = |size: u64| {
            let units = geometry.section(size, 0).units();
            units.into_iter().filter(|unit| unit.column == 1).map(|unit| unit.number).collect::<Vec<_>>()
        };
        assert_eq!(vectors(1676 * 10), vectors(1676 * 900)[..5]);
    }

    #[test]
    fn stored_numbers_beyond_the_bounds_are_not_sound() {
        let sound = records(&[132, 1536, 8]);
        assert!(sound.is_sound());
        let with = |change: fn(&mut Geometry)| {
            let mut geometry = sound.clone();
            change(&mut geometry);
            geometry.is_sound()
        };
        assert!(!with(|g| g.records = 0));
        assert!(!with(|g| g.records = u32::MAX));
        assert!(!with(|g| g.columns[0].values = u32::MAX));
        assert!(!with(|g| g.columns[2].planes = 0));
        assert!(!with(|g| g.columns[0].planes = 8));
        assert!(!with(|g| g.columns.clear()));
        assert!(!with(|g| g.columns[0].width = 0));
    }

    #[test]
    fn a_whole_unit_depends_on_its_stretch_alone() {
        let (geometry, length) = (records(&[132, 1536, 8]), 1676 * 3000 + 50);
        let file = noise(1, length);
        for number in 0..geometry.segments(length as u64) {
            let section = geometry.section(length as u64, number);
            let (from, to) = (section.at as usize, section.at as usize + section.bytes());
            let apart = section.split(Vec::from(&file[from..to]));
            for unit in section.units().iter().step_by(101) {
                let Some(stretch) = section.stretch(unit) else { continue };
                let mut alone = vec![0; length];
                let stretch = stretch.start as usize..stretch.end as usize;
                alone[stretch.clone()].copy_from_slice(&file[stretch]);
                let alone = section.split(Vec::from(&alone[from..to]));
                let of = |bytes: &[u8]| bytes[unit.at..unit.at + unit.length].to_vec();
                assert_eq!(of(&alone), of(&apart), "{unit:?}");
            }
        }
        let last = geometry.section(length as u64, 1);
        let partial: Vec<Unit> = last.units().into_iter().filter(|u| last.stretch(u).is_none()).collect();
        // Links, labels and the tail.
        assert_eq!(partial.iter().map(|unit| unit.column).collect::<Vec<_>>(), [0, 2, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_bytes_through_any_columns_come_back_identical(
            columns in prop::collection::vec(1u32..3000, 1..6), length in 0usize..9_000_000, seed in 0u64..3,
        ) {
            let geometry = records(&columns);
            let bytes = noise(seed, length);
            let mut back = Vec::new();
            for number in 0..geometry.segments(length as u64) {
                let section = geometry.section(length as u64, number);
                prop_assert_eq!(section.at, back.len() as u64);
                let piece = bytes[back.len()..][..section.bytes()].to_vec();
                let units = section.units();
                let mut end = 0;
                for unit in &units {
                    prop_assert_eq!(unit.at, end);
                    prop_assert!(unit.length > 0 && unit.length <= unit.slot && unit.slot <= LARGEST);
                    prop_assert!((unit.number as usize) < geometry.numbers());
                    end += unit.length;
                }
                prop_assert_eq!(end, section.bytes());
                prop_assert!(units.windows(2).all(|pair| pair[0].number < pair[1].number));
                back.extend_from_slice(&section.join(section.split(piece).into()));
            }
            prop_assert!(back == bytes);
        }
    }
}
