//! What somebody asks for now, by an annotation such as `holdfast.dev/requested-at`. It acts once per later time: a tool that writes
//! an old value back asks for nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The time in this annotation of the object with this `meta`, when it is later than the one that was `acted` upon. It may
/// lie ahead: then somebody's clock does, and the request waits for its time.
///
/// # Errors
/// The sentence for the user when the value is no time.
pub fn newest(
    meta: &ObjectMeta,
    annotation: &str,
    acted: Option<Timestamp>,
) -> Result<Option<Timestamp>, String> {
    let Some(text) = meta.annotations.as_ref().and_then(|all| all.get(annotation)) else {
        return Ok(None);
    };
    let time: Timestamp = text.trim().parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        format!("annotation {annotation}: \"{shown}\" is no time; write RFC3339 in UTC: 2026-11-23T09:40:00Z")
    })?;
    Ok(acted.is_none_or(|acted| time > acted).then_some(time))
}
