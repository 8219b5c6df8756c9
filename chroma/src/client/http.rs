//! Requests and their answers.

use reqwest::{RequestBuilder, Url, header::HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Auth, Client, ClientError, api::Api};

/// Items a page of a listing.
const PAGE: usize = 100;
/// Pages of a listing before it is taken for endless.
const PAGES: usize = 10_000;

impl Client {
    /// Every page of a listing.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &[&str],
        query: &[(&'static str, String)],
    ) -> Result<Vec<T>, ClientError> {
        let mut found = Vec::new();
        for _ in 0..PAGES {
            // Always both: 0.4 answers a limit without an offset with an error.
            let mut window = query.to_vec();
            window.extend([("limit", PAGE.to_string()), ("offset", found.len().to_string())]);
            let page: Vec<T> = self.get_json(what, path, &window).await?;
            let last = page.len() < PAGE;
            found.extend(page);
            if last {
                return Ok(found);
            }
        }
        Err(ClientError::Nonsense { what: what.to_owned(), why: "the listing does not end".to_owned() })
    }

    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let mut url = self.url_of(what, self.api().await?, path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let answer = self.send(what, &url, self.http.get(url.clone())).await?;
        serde_json::from_str(&answer)
            .map_err(|source| ClientError::Nonsense { what: what.to_owned(), why: source.to_string() })
    }

    pub(super) async fn post_text(
        &self,
        what: &str,
        path: &[&str],
        body: &Value,
    ) -> Result<String, ClientError> {
        let url = self.url_of(what, self.api().await?, path)?;
        self.send(what, &url, self.http.post(url.clone()).json(body)).await
    }

    /// Names go into the path as one segment each, whatever is in them.
    pub(super) fn url_of(&self, what: &str, api: Api, path: &[&str]) -> Result<Url, ClientError> {
        let nonsense = || ClientError::Nonsense {
            what: what.to_owned(),
            why: format!("{} is no address of a server", self.base),
        };
        let mut url = Url::parse(&self.base).map_err(|_| nonsense())?;
        url.path_segments_mut()
            .map_err(|()| nonsense())?
            .pop_if_empty()
            .extend(["api", api.version()])
            .extend(path);
        Ok(url)
    }

    pub(super) async fn send(
        &self,
        what: &str,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<String, ClientError> {
        let unreachable = |source: reqwest::Error| ClientError::Unreachable {
            what: what.to_owned(),
            url: self.base.clone(),
            source: source.without_url(),
        };
        let request = match &self.auth {
            Auth::None => request,
            Auth::Bearer(token) => request.bearer_auth(token),
            Auth::Basic { user, password } => request.basic_auth(user, Some(password)),
            Auth::Header { name, value } => request.header(name, hidden(value)),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.text().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        let (what, url, status) = (what.to_owned(), url.to_string(), status.as_u16());
        if matches!(status, 401 | 403) {
            return Err(ClientError::Denied { what, url, status });
        }
        Err(ClientError::Status { what, url, status, body: body.chars().take(200).collect() })
    }
}

/// Not printed by whoever prints headers. What no header can carry is nothing, which the server refuses.
fn hidden(value: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
