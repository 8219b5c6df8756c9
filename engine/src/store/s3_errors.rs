//! What an S3 answer means. The codes of compatible stores differ in detail, so status and code are both looked at;
//! the words shown are the store's code and message, never headers or the request, which could hold credentials.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::error::Category;

/// The category of a failed request and what to tell about it.
pub(super) fn classify<E>(failure: &SdkError<E, HttpResponse>) -> (Category, String)
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(_) | SdkError::ResponseError(_) = failure {
        let status = failure.raw_response().map_or(0, |r| r.status().as_u16());
        return of_answer(status, failure.code(), failure.message());
    }
    let told = DisplayErrorContext(failure).to_string();
    let lower = told.to_lowercase();
    if lower.contains("credential") || lower.contains("identity") {
        let detail =
            "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a Secret";
        return (Category::AccessDenied, detail.to_owned());
    }
    match failure {
        SdkError::TimeoutError(_) => (Category::Unreachable, "no answer in time".to_owned()),
        // An untrusted certificate doesn't get better by asking again.
        SdkError::DispatchFailure(_) if lower.contains("certificate") => {
            let detail = format!("{}: give the CA that signed it as the CA bundle", root_cause(failure));
            (Category::Input, detail)
        }
        SdkError::DispatchFailure(_) => (Category::Unreachable, root_cause(failure)),
        _ => (Category::Input, root_cause(failure)),
    }
}

fn of_answer(status: u16, code: Option<&str>, message: Option<&str>) -> (Category, String) {
    let detail = match (code, message) {
        (Some(code), Some(message)) => format!("{status} {code}: {message}"),
        (Some(code), None) => format!("{status} {code}"),
        _ => format!("the store answered {status}"),
    };
    let category = match (code.unwrap_or(""), status) {
        ("NoSuchBucket", _) => Category::BucketMissing,
        (
            "SlowDown" | "Throttling" | "ThrottlingException" | "TooManyRequests" | "RequestLimitExceeded",
            _,
        ) => Category::Throttled,
        // The request was damaged or cut on its way.
        (
            "RequestTimeout"
            | "IncompleteBody"
            | "BadDigest"
            | "InvalidDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch",
            _,
        )
        | (_, 408) => Category::Unreachable,
        ("PreconditionFailed", _) => Category::AlreadyExists,
        ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, 507) => Category::Full,
        (_, 401 | 403) => Category::AccessDenied,
        (_, 404) => Category::NotFound,
        (_, 412) => Category::AlreadyExists,
        // Two conditional writes of one name at the same moment: one of them is to come again.
        (_, 409 | 429) => Category::Throttled,
        (_, 416) => Category::Corrupt,
        (_, 405) => Category::AccessDenied,
        // Another region, a request that makes no sense here, and what the store doesn't know.
        (_, 300..=400 | 501) => Category::Input,
        _ => Category::Unreachable,
    };
    (category, detail)
}

/// The innermost cause: "connection refused" tells more than "dispatch failure".
fn root_cause(failure: &dyn std::error::Error) -> String {
    let mut told = failure.to_string();
    let mut cause = failure.source();
    while let Some(inner) = cause {
        told = inner.to_string();
        cause = inner.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_store_become_categories_with_its_words() {
        for (status, code, category) in [
            (404, Some("NoSuchBucket"), Category::BucketMissing),
            (404, Some("NoSuchKey"), Category::NotFound),
            (403, Some("AccessDenied"), Category::AccessDenied),
            (403, None, Category::AccessDenied),
            (412, None, Category::AlreadyExists),
            (503, Some("SlowDown"), Category::Throttled),
            (500, Some("InternalError"), Category::Unreachable),
            (503, None, Category::Unreachable),
            (409, Some("ConditionalRequestConflict"), Category::Throttled),
            (400, Some("BadDigest"), Category::Unreachable),
            (400, Some("RequestTimeout"), Category::Unreachable),
            (400, Some("InvalidArgument"), Category::Input),
            (301, Some("PermanentRedirect"), Category::Input),
            (501, Some("NotImplemented"), Category::Input),
            (507, None, Category::Full),
        ] {
            let (found, detail) = of_answer(status, code, Some("why"));
            assert_eq!(found, category, "{status} {code:?}");
            assert!(detail.contains(&status.to_string()), "{detail}");
        }
    }
}
