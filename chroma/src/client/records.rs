//! A page of records, read so that the bits of every number survive.

use std::collections::BTreeMap;

use serde::{Deserialize, de::Error};
use serde_json::value::RawValue;

use crate::fingerprint::{Floats, Record, from_json};

#[derive(Deserialize)]
struct Page<'a> {
    ids: Vec<String>,
    #[serde(borrow)]
    embeddings: Option<Vec<Option<&'a RawValue>>>,
    documents: Option<Vec<Option<String>>>,
    uris: Option<Vec<Option<String>>>,
    #[serde(borrow)]
    metadatas: Option<Vec<Option<BTreeMap<String, &'a RawValue>>>>,
}

pub(super) fn parse(answer: &str) -> Result<Vec<Record>, serde_json::Error> {
    let page: Page<'_> = serde_json::from_str(answer)?;
    let count = page.ids.len();
    let mut embeddings = column(page.embeddings, count)?;
    let mut documents = column(page.documents, count)?;
    let mut uris = column(page.uris, count)?;
    let mut metadatas = column(page.metadatas, count)?;
    page.ids
        .into_iter()
        .map(|id| {
            let mut record = Record {
                id,
                vector: embeddings.next().flatten().map(|raw| floats(raw.get())).transpose()?,
                document: documents.next().flatten(),
                uri: uris.next().flatten(),
                ..Record::default()
            };
            for (key, raw) in metadatas.next().flatten().into_iter().flatten() {
                if let Some(value) = from_json(raw, Floats::Exact)? {
                    record.metadata.insert(key, value);
                }
            }
            Ok(record)
        })
        .collect()
}

fn column<T>(
    values: Option<Vec<Option<T>>>,
    count: usize,
) -> Result<impl Iterator<Item = Option<T>>, serde_json::Error> {
    match values {
        Some(values) if values.len() != count => {
            Err(serde_json::Error::custom(format!("{count} ids but {} values", values.len())))
        }
        values => Ok(values.into_iter().flatten()),
    }
}

/// Read straight into 32 bits: by way of 64 some would round twice. `null` is what became of a number that is not finite.
fn floats(text: &str) -> Result<Vec<f32>, serde_json::Error> {
    let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let Some(inner) = inner else {
        return Err(serde_json::Error::custom("a vector that is no list"));
    };
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    inner
        .split(',')
        .map(|number| match number.trim() {
            "null" => Ok(f32::NAN),
            number => {
                number.parse().map_err(|_| serde_json::Error::custom("a vector with something else in it"))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_bits_of_every_float_survive_their_shortest_text(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            let read = floats(&format!("[{value:?},1.0]")).unwrap();
            prop_assert_eq!(read[0].to_bits(), bits);
        }
    }

    #[test]
    fn a_page_is_read_with_its_kinds_of_numbers_kept_apart() {
        let text = r#"{"ids":["a","b"],"embeddings":[[0.1,-0.0],[1e-40,3.4e38]],"documents":["d",null],
            "uris":[null,null],"metadatas":[{"i":1,"f":1.0,"n":null,"l":["x","y"]},null],"include":["embeddings"]}"#;
        let records = parse(text).unwrap();
        assert_eq!(records[0].vector.as_deref().unwrap()[1].to_bits(), (-0.0f32).to_bits());
        assert_eq!(records[0].metadata["i"], Value::Int(1));
        assert_eq!(records[0].metadata["f"], Value::Float(1.0));
        assert_eq!(records[0].metadata.len(), 3);
        assert_eq!(records[1].document, None);
    }

    #[test]
    fn columns_of_different_lengths_are_refused() {
        assert!(
            parse(r#"{"ids":["a"],"embeddings":[],"documents":null,"uris":null,"metadatas":null}"#).is_err()
        );
    }
}
