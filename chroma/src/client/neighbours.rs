//! The neighbours of a vector: those that a server's index finds, and how far apart two vectors are, which needs no index.

use serde::Deserialize;
use serde_json::Value;

use super::api::Api;
use super::{Client, ClientError, Collection, Nearest};

/// How a collection measures distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The square of the Euclidean distance.
    L2,
    /// One minus the cosine of the angle.
    Cosine,
    /// One minus the inner product.
    InnerProduct,
}

impl Space {
    fn of(word: &str) -> Option<Space> {
        match word {
            "l2" => Some(Space::L2),
            "cosine" => Some(Space::Cosine),
            "ip" => Some(Space::InnerProduct),
            _ => None,
        }
    }

    /// How far apart two vectors are, as a server tells it.
    #[must_use]
    pub fn distance(self, one: &[f32], other: &[f32]) -> f64 {
        let pairs = || one.iter().zip(other).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let product = || pairs().map(|(a, b)| a * b).sum::<f64>();
        match self {
            Space::L2 => pairs().map(|(a, b)| (a - b) * (a - b)).sum(),
            Space::InnerProduct => 1.0 - product(),
            Space::Cosine => {
                let square = |vector: &[f32]| vector.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>();
                let lengths = (square(one) * square(other)).sqrt();
                if lengths > 0.0 { 1.0 - product() / lengths } else { 1.0 }
            }
        }
    }
}

#[derive(Deserialize)]
struct Described {
    metadata: Option<Value>,
    configuration_json: Option<Value>,
}

impl Described {
    /// Where releases have written it: in the metadata, then in a configuration. None of both: the default.
    fn space(&self) -> Option<Space> {
        let told = self.metadata.as_ref().and_then(|told| told.get("hnsw:space"));
        let configured = self.configuration_json.as_ref().and_then(|configuration| {
            let index = ["hnsw", "spann", "hnsw_configuration"];
            index.iter().find_map(|index| configuration.get(index)?.get("space"))
        });
        // An index that is not configured holds null where another one is.
        match configured.filter(|space| !space.is_null()).or(told) {
            Some(space) => Space::of(space.as_str()?),
            None => Some(Space::L2),
        }
    }
}

impl Client {
    /// How a collection measures distance; nothing where it says so in a word of a later release.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn space(&self, collection: &Collection) -> Result<Option<Space>, ClientError> {
        let what = format!("the configuration of {}", collection.full_name());
        let Collection { name, tenant, database, .. } = collection;
        let described: Described = match self.api().await? {
            Api::V1 => {
                let query = [("tenant", tenant.clone()), ("database", database.clone())];
                self.get_json(&what, &["collections", name], &query).await?
            }
            Api::V2 => {
                let path = ["tenants", tenant, "databases", database, "collections", name];
                self.get_json(&what, &path, &[]).await?
            }
        };
        Ok(described.space())
    }

    /// The `most` records nearest to a vector, as the index finds them.
    ///
    /// # Errors
    /// When the server does not answer, or can't.
    pub async fn neighbours(
        &self,
        collection: &Collection,
        vector: &[f32],
        most: usize,
    ) -> Result<Vec<Nearest>, ClientError> {
        #[derive(Deserialize)]
        struct Answer {
            ids: Vec<Vec<String>>,
            distances: Option<Vec<Vec<Option<f64>>>>,
        }
        let what = format!("a query of {}", collection.full_name());
        let body =
            serde_json::json!({ "query_embeddings": [vector], "n_results": most, "include": ["distances"] });
        let answer = self.post_text(&what, &self.api().await?.path(collection, "query"), &body).await?;
        let answer: Answer = serde_json::from_str(&answer)
            .map_err(|source| ClientError::Nonsense { what, why: source.to_string() })?;
        let mut distances = answer.distances.into_iter().flatten().flatten();
        let ids = answer.ids.into_iter().flatten();
        Ok(ids.map(|id| Nearest { id, distance: distances.next().flatten() }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn distances_are_those_of_the_server() {
        let (a, b) = ([1.0, 2.0], [3.0, 2.0]);
        assert_eq!(Space::L2.distance(&a, &b), 4.0);
        assert_eq!(Space::InnerProduct.distance(&a, &b), -6.0);
        assert!((Space::Cosine.distance(&a, &b) - (1.0 - 7.0 / 65.0_f64.sqrt())).abs() < 1e-12);
        assert_eq!(Space::Cosine.distance(&[0.0], &[0.0]), 1.0);
    }

    #[test]
    fn the_space_is_found_wherever_a_release_has_written_it() {
        let of = |metadata: Value, configuration: Value| {
            let described = json!({"metadata": metadata, "configuration_json": configuration});
            serde_json::from_value::<Described>(described).unwrap().space()
        };
        assert_eq!(of(Value::Null, Value::Null), Some(Space::L2));
        assert_eq!(of(json!({"hnsw:space": "ip"}), Value::Null), Some(Space::InnerProduct));
        assert_eq!(of(Value::Null, json!({"hnsw": {"space": "cosine"}, "spann": null})), Some(Space::Cosine));
        assert_eq!(of(Value::Null, json!({"hnsw": null, "spann": {"space": "l2"}})), Some(Space::L2));
        assert_eq!(of(json!({"hnsw:space": "hamming"}), Value::Null), None);
    }
}
