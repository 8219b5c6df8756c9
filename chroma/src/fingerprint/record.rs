//! One record in its canonical encoding, the input of the keyed hash.
//!
//! All numbers little-endian; a length or count is a u32:
//! ```text
//! 1                                   version of this encoding, one byte
//! length, id                          UTF-8
//! 0 | 1 count, f32 bits ...           vector
//! 0 | 1 length, document
//! 0 | 1 length, uri
//! count, { length, key, value } ...   metadata, ascending by the key's bytes
//! value: 1 length, text | 2 i64 | 3 f64 bits | 4 bool | 5 count, value ...
//! ```
//! Floats that are not finite are encoded as the quiet NaN 0x7fc00000 (0x7ff8000000000000), and in metadata both zeros as +0.

use super::{
    sum::Key,
    value::{Metadata, Value},
};

const VERSION: u8 = 1;

/// One record as a server would answer it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its vector.
    pub vector: Option<Vec<f32>>,
    /// Its document.
    pub document: Option<String>,
    /// Its URI.
    pub uri: Option<String>,
    /// Its metadata; none and empty are the same.
    pub metadata: Metadata,
}

impl Record {
    /// The record's term in the collection's sum.
    pub fn number(&self, key: &Key) -> [u8; 32] {
        let texts = [Some(&self.id), self.document.as_ref(), self.uri.as_ref()]
            .map(|text| text.map_or(0, String::len));
        let numbers = self.vector.as_ref().map_or(0, Vec::len);
        let mut bytes = Vec::with_capacity(512 + texts.iter().sum::<usize>() + 4 * numbers);
        bytes.push(VERSION);
        put_text(&mut bytes, &self.id);
        match &self.vector {
            None => bytes.push(0),
            Some(vector) => {
                bytes.push(1);
                put_count(&mut bytes, vector.len());
                let at = bytes.len();
                bytes.resize(at + 4 * vector.len(), 0);
                for (place, value) in bytes[at..].chunks_exact_mut(4).zip(vector) {
                    let value = if value.is_finite() { value.to_bits() } else { 0x7fc0_0000 };
                    place.copy_from_slice(&value.to_le_bytes());
                }
            }
        }
        for text in [&self.document, &self.uri] {
            match text {
                None => bytes.push(0),
                Some(text) => {
                    bytes.push(1);
                    put_text(&mut bytes, text);
                }
            }
        }
        put_count(&mut bytes, self.metadata.len());
        for (name, value) in &self.metadata {
            put_text(&mut bytes, name);
            put_value(&mut bytes, value);
        }
        *key.hasher().update(&bytes).finalize().as_bytes()
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend((count as u32).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_count(bytes, text.len());
    bytes.extend(text.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => {
            bytes.push(1);
            put_text(bytes, text);
        }
        Value::Int(number) => {
            bytes.push(2);
            bytes.extend(number.to_le_bytes());
        }
        Value::Float(number) => {
            bytes.push(3);
            let bits = match number {
                zero if *zero == 0.0 => 0,
                finite if finite.is_finite() => finite.to_bits(),
                _ => 0x7ff8_0000_0000_0000,
            };
            bytes.extend(bits.to_le_bytes());
        }
        Value::Bool(truth) => bytes.extend([4, u8::from(*truth)]),
        Value::List(values) => {
            bytes.push(5);
            put_count(bytes, values.len());
            values.iter().for_each(|value| put_value(bytes, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record {
            id: "a".into(),
            vector: Some(vec![0.1, -0.0]),
            document: Some("döc".into()),
            uri: None,
            metadata: [
                ("k".to_owned(), Value::Float(0.1)),
                ("z".to_owned(), Value::List(vec![Value::Int(1)])),
            ]
            .into(),
        }
    }

    #[test]
    fn the_encoding_is_pinned_because_points_carry_its_digests() {
        let number = sample().number(&Key::new([7; 32]));
        assert_eq!(hex::encode(number), PINNED);
    }

    const PINNED: &str = "2acc29bd64d31d014a78bdac2b85f19964c4316a2a49fd3ae01d1cfab3758963";

    #[test]
    fn every_part_of_a_record_changes_its_number() {
        let key = Key::new([7; 32]);
        let base = sample();
        let others = [
            Record { id: "b".into(), ..sample() },
            Record { vector: Some(vec![0.1, 0.0]), ..sample() },
            Record { vector: None, ..sample() },
            Record { document: None, ..sample() },
            Record { document: Some(String::new()), ..sample() },
            Record { document: None, uri: Some("döc".into()), ..sample() },
            Record { metadata: [("k".to_owned(), Value::Text("0.1".into()))].into(), ..sample() },
            Record { metadata: Metadata::new(), ..sample() },
        ];
        for other in others {
            assert_ne!(other.number(&key), base.number(&key), "{other:?}");
        }
        assert_ne!(base.number(&Key::new([8; 32])), base.number(&key));
    }
}
