//! Metadata values, read from JSON without losing what is a float and what is not.

use std::collections::BTreeMap;

use serde::de::Error;
use serde_json::value::RawValue;

use super::number::{float_as_server, float_exact};

/// The metadata of one record, by key.
pub type Metadata = BTreeMap<String, Value>;

/// What a metadata key can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A float. The two zeros are one: SQLite keeps no sign of zero.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Values of one kind, in order, since 1.5.
    List(Vec<Value>),
}

/// How the text of a float becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floats {
    /// The nearest number, as for what a server has stored and prints.
    Exact,
    /// As a server reads its own log.
    AsServer,
}

/// A value of JSON: None where it is `null`, an error for what Chroma does not store.
pub(crate) fn from_json(raw: &RawValue, floats: Floats) -> Result<Option<Value>, serde_json::Error> {
    let text = raw.get().trim();
    Ok(Some(match text.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => Value::Text(serde_json::from_str(text)?),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            // Lists of lists Chroma doesn't store; and lists in lists in lists would take this stack, one call each.
            if items.iter().any(|item| item.get().trim_start().starts_with('[')) {
                return Err(serde_json::Error::custom("a list in a list"));
            }
            let items = items.into_iter().map(|item| from_json(item, floats));
            Value::List(items.filter_map(Result::transpose).collect::<Result<_, _>>()?)
        }
        Some(b'{') => Value::Text(text.to_owned()),
        _ if text.contains(['.', 'e', 'E']) => Value::Float(match floats {
            Floats::Exact => float_exact(text),
            Floats::AsServer => float_as_server(text),
        }),
        _ => Value::Int(serde_json::from_str(text)?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_lists_however_deep_are_an_error_and_no_end_of_the_stack() {
        for depth in [2, 1_000_000] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let raw = RawValue::from_string(text).unwrap();
            assert!(from_json(&raw, Floats::Exact).is_err());
        }
        let flat = RawValue::from_string(r#"[1, null, "a"]"#.to_owned()).unwrap();
        let items = vec![Value::Int(1), Value::Text("a".to_owned())];
        assert_eq!(from_json(&flat, Floats::Exact).unwrap(), Some(Value::List(items)));
    }
}
