//! What a running ChromaDB, or a proxy before it, wants to see of whoever asks it. Only names of Secrets: the mover that asks gets what is
//! in them, the controller never does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::NameRef;

/// The credential with which the running server is asked. Captures read files and need none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.tokenSecretRef) != has(self.basicSecretRef)",
     "message": "set exactly one of tokenSecretRef, basicSecretRef"},
    {"rule": "!has(self.tokenHeader) || has(self.tokenSecretRef)", "fieldPath": ".tokenHeader",
     "message": "says where a token goes, and there is none; set tokenSecretRef or leave it out"}]))]
pub struct ServerAuth {
    /// A Secret with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<TokenRef>,
    /// The header that carries nothing but the token, as in X-Chroma-Token; omitted: Authorization, where Bearer stands before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[A-Za-z0-9-]+$') && self.lowerAscii() != 'authorization'",
         "message": "write the name of a header, as in X-Chroma-Token; leave it out for Authorization"}]))]
    pub token_header: Option<String>,
    /// A Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_secret_ref: Option<NameRef>,
}

/// A Secret with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it that holds the token.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_key() -> String {
    "token".to_owned()
}

impl ServerAuth {
    /// Name of the Secret.
    #[must_use]
    pub fn secret(&self) -> &str {
        let token = self.token_secret_ref.as_ref().map(|secret| secret.name.as_str());
        token.or(self.basic_secret_ref.as_ref().map(|secret| secret.name.as_str())).unwrap_or_default()
    }
}
