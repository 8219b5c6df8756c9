//! The files of one vector segment against one another.

use std::{collections::HashSet, fs, io, path::Path};

use super::finding::{Finding, Problem};
use crate::{
    files,
    hnsw::{Elements, Header, LabelIndex, walk_link_lists},
    pickle::IdMap,
};

/// Records named one by one before they are only counted.
const NAMED: u64 = 5;

/// Checks one segment's directory and returns its ids, when the pickle can be read. A directory that was never flushed has
/// no pickle, and what its other files hold means nothing: no ids and no findings.
pub(super) fn check(dir: &Path, dimension: Option<u32>, findings: &mut Vec<Finding>) -> Option<IdMap> {
    let segment = Segment { dir, findings };
    segment.check(dimension)
}

struct Segment<'a> {
    dir: &'a Path,
    findings: &'a mut Vec<Finding>,
}

impl Segment<'_> {
    fn check(mut self, dimension: Option<u32>) -> Option<IdMap> {
        let header = match Header::read(&self.dir.join(files::HEADER)) {
            Ok(header) => Some(header),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.add(Problem::Header, files::HEADER, format!("the header cannot be read: {error}"));
                None
            }
        };
        let pickle = self.dir.join(files::PICKLE);
        if !pickle.exists() {
            if header.is_some_and(|header| header.elements > 0) {
                self.add(
                    Problem::SegmentFileMissing,
                    files::PICKLE,
                    "the index has elements but its pickle is missing",
                );
            }
            return None;
        }
        let ids = match IdMap::read(&pickle) {
            Ok(ids) => Some(ids),
            Err(error) => {
                self.add(Problem::Pickle, files::PICKLE, error.to_string());
                None
            }
        };
        match header {
            Some(header) if header.is_plausible() => self.check_files(&header, dimension, ids.as_ref()),
            Some(_) => {
                self.add(Problem::Header, files::HEADER, "the header's numbers contradict one another")
            }
            None if !self.has_finding(files::HEADER) => {
                self.add(Problem::SegmentFileMissing, files::HEADER, "the header is missing");
            }
            None => {}
        }
        ids
    }

    fn check_files(&mut self, header: &Header, dimension: Option<u32>, ids: Option<&IdMap>) {
        if let Some(dimension) = dimension
            && u64::from(dimension) != header.dimension()
        {
            let what = format!("{} floats a vector, but the collection has {dimension}", header.dimension());
            self.add(Problem::Header, files::HEADER, what);
        }
        if header.elements > 0 && u64::from(header.entry_point) >= header.elements {
            let what =
                format!("the entry point {} is none of {} elements", header.entry_point, header.elements);
            self.add(Problem::Header, files::HEADER, what);
        }
        self.check_length(files::LENGTHS, 4, header);
        if self.check_length(files::LEVEL0, header.stride, header)
            && let Err(error) = self.check_elements(header, ids)
        {
            self.add(Problem::FileLength, files::LEVEL0, format!("it cannot be read to its end: {error}"));
        }
        if let Err(fault) = walk_link_lists(&self.dir.join(files::LINK_LISTS), header) {
            self.add(Problem::LinkLists, files::LINK_LISTS, fault.to_string());
        }
    }

    /// Files are as long as the elements that are in the index, or since 1.0.0 and until 1.0.20 that could be.
    fn check_length(&mut self, name: &str, each: u64, header: &Header) -> bool {
        let length = match fs::metadata(self.dir.join(name)) {
            Ok(metadata) => metadata.len(),
            Err(error) => {
                self.add(Problem::SegmentFileMissing, name, format!("it cannot be read: {error}"));
                return false;
            }
        };
        if length == header.elements * each || length == header.max_elements * each {
            return true;
        }
        let what = format!(
            "{length} bytes, but {} elements of {each} bytes are {}",
            header.elements,
            header.elements * each
        );
        self.add(Problem::FileLength, name, what);
        false
    }

    fn check_elements(&mut self, header: &Header, ids: Option<&IdMap>) -> io::Result<()> {
        let elements = Elements::open(&self.dir.join(files::LEVEL0), *header)?;
        let (mut bad, mut first) = (0u64, Vec::new());
        elements.each(|number, element| {
            let count = element.link_count();
            let fits =
                count <= header.max_links0 && element.links().all(|link| u64::from(link) < header.elements);
            if !fits {
                bad += 1;
                if bad <= NAMED {
                    first.push((number, count));
                }
            }
        })?;
        for (number, count) in first {
            let what =
                format!("its {count} links are more than {} or lead out of the index", header.max_links0);
            let finding = Finding::new(Problem::Link, self.name(files::LEVEL0), what);
            self.findings.push(finding.record(number.into()));
        }
        if bad > NAMED {
            self.add(Problem::Link, files::LEVEL0, format!("{bad} elements in all have links out of range"));
        }
        if let Some(ids) = ids {
            self.check_labels(header, &LabelIndex::read(&elements)?, ids);
        }
        Ok(())
    }

    fn check_labels(&mut self, header: &Header, labels: &LabelIndex, ids: &IdMap) {
        if let Some(label) = labels.duplicate() {
            self.add(Problem::Labels, files::LEVEL0, format!("two living elements have the label {label}"));
        }
        if !ids.maps_agree() {
            self.add(Problem::Pickle, files::PICKLE, "its two maps contradict one another");
        }
        let missing = ids.labels().filter(|label| labels.element(u64::from(*label)).is_none()).count();
        let distinct: HashSet<u32> = ids.labels().collect();
        if missing > 0 || distinct.len() != labels.len() {
            let what = format!(
                "{} ids in the pickle, {} living elements, {missing} ids without an element",
                ids.len(),
                labels.len()
            );
            self.add(Problem::Labels, files::PICKLE, what);
        }
        match ids.numbers().total_elements_added {
            Some(total) if total != header.elements => {
                let what = format!("{} elements, but the pickle has counted {total}", header.elements);
                self.add(Problem::Header, files::HEADER, what);
            }
            _ => {}
        }
    }

    fn add(&mut self, problem: Problem, file: &str, what: impl Into<String>) {
        let file = self.name(file);
        self.findings.push(Finding::new(problem, file, what));
    }

    fn has_finding(&self, file: &str) -> bool {
        let file = self.name(file);
        self.findings.iter().any(|finding| finding.file == file)
    }

    fn name(&self, file: &str) -> String {
        let segment = self.dir.file_name().unwrap_or_default().to_string_lossy();
        format!("{segment}/{file}")
    }
}
