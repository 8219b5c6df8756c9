//! The objects that a point holds, read back: the opposite of `objects`.

use std::io::Read;
use std::path::Path;

use engine::ExportedContent;
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::objects::OBJECTS;

/// What others refer to comes first. What is not named here comes last.
const ORDER: [&str; 8] = [
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "NetworkPolicy",
    "Service",
    "StatefulSet",
    "Deployment",
    "CronJob",
];

/// All of them, the policy included, in the order in which they can be applied. What doesn't fit into memory lies in `scratch` meanwhile.
pub async fn read(
    repository: &engine::Repository,
    point: &engine::Point,
    scratch: &Path,
) -> Result<Vec<Value>> {
    let part = point.part(Path::new(OBJECTS));
    let mut objects = Vec::new();
    engine::export(repository, &part, scratch, engine::silent(), &mut |entry| {
        if let ExportedContent::File { mut bytes, .. } = entry.content {
            let mut text = String::new();
            bytes.read_to_string(&mut text)?;
            objects.push(serde_json::from_str(&text)?);
        }
        Ok(())
    })
    .await
    .map_err(|e| Failure::from(e).while_reading_a_point())?;
    objects.sort_by_key(place);
    Ok(objects)
}

fn place(object: &Value) -> (usize, String) {
    let kind = object["kind"].as_str().unwrap_or_default();
    let place = ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len());
    (place, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_need_is_applied_first_and_what_is_not_known_last() {
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
        let mut objects = [
            object("BackupPolicy", "p"),
            object("Deployment", "b"),
            object("Deployment", "a"),
            object("Secret", "s"),
        ];
        objects.sort_by_key(place);
        let names: Vec<_> = objects.iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["s", "a", "b", "p"]);
    }
}
