//! What a store says when it refuses, told so that a person can mend it.

use fletching::checkpoint::{StorageError, StorageErrorKind};

use super::client::Answer;

/// What a store gives as the reason: `<Code>` and `<Message>` of its answer, where it has them.
pub(super) struct Reason {
    pub(super) code: String,
    message: String,
}

impl Reason {
    pub(super) fn of(answer: &Answer) -> Self {
        let text = String::from_utf8_lossy(&answer.body);
        let part = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (value, _) = rest.split_once(&format!("</{name}>"))?;
            Some(value.trim().to_owned())
        };
        Self {
            code: part("Code").unwrap_or_default(),
            message: part("Message").unwrap_or_default(),
        }
    }
}

/// Says whether the same request may well succeed a moment later.
pub(super) fn is_passing(answer: &Answer) -> bool {
    match answer.status {
        408 | 429 | 500 | 502..=504 => true,
        // Two conditional requests at one time, and a body that came too slowly.
        400 | 409 => {
            let code = Reason::of(answer).code;
            ["ConditionalRequestConflict", "OperationAborted", "RequestTimeout"].contains(&code.as_str())
        }
        _ => false,
    }
}

/// Makes the error of an answer that is no success; `what` is the request, as in `writing s3://b/k`.
pub(super) fn refused(what: &str, answer: &Answer) -> StorageError {
    let Reason { code, message } = Reason::of(answer);
    let (kind, hint) = kind_and_hint(answer.status, &code);
    let said = match (code.is_empty(), message.is_empty()) {
        (true, _) => format!("status {}", answer.status),
        (false, true) => code,
        (false, false) => format!("{code}, {}", message.trim_end_matches('.')),
    };
    let error = StorageError::new(kind, format!("{what} is refused: {said}"));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn kind_and_hint(status: u16, code: &str) -> (StorageErrorKind, Option<&'static str>) {
    use StorageErrorKind::{AlreadyExists, Denied, Full, NotFound, Other};
    let keys = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they are those of this store";
    let rights = "its credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and \
                  s3:DeleteObject on what is in it";
    let region = "the bucket is in another region, or at another endpoint: set s3.region, or s3.endpoint";
    match (status, code) {
        (_, "NoSuchBucket") => (
            NotFound,
            Some("make the bucket first, or correct checkpoint.path"),
        ),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => (Denied, Some(keys)),
        (_, "ExpiredToken" | "InvalidToken") => (
            Denied,
            Some("renew the credentials and AWS_SESSION_TOKEN, and start it again"),
        ),
        (_, "RequestTimeTooSkewed") => (Denied, Some("set this machine's clock")),
        (
            _,
            "AuthorizationHeaderMalformed"
            | "AuthorizationQueryParametersError"
            | "IllegalLocationConstraintException",
        )
        | (301 | 302 | 307 | 308, _) => (Other, Some(region)),
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage") => (
            Full,
            Some("free space in the store, or raise its quota, and start it again"),
        ),
        (401 | 403, _) => (Denied, Some(rights)),
        (404, _) => (NotFound, None),
        (412, _) => (AlreadyExists, None),
        (501, _) => (
            Other,
            Some("use a store that honours If-None-Match and If-Match on writes"),
        ),
        _ => (Other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            tag: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_refusal_says_what_and_how_to_mend_it() {
        let body =
            "<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>There is none.</Message></Error>";
        let error = refused("listing s3://b/p", &answer(404, body));
        assert_eq!(error.kind, StorageErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "listing s3://b/p is refused: NoSuchBucket, There is none"
        );
        assert!(error.hint.unwrap().contains("make the bucket"));
        let error = refused("writing s3://b/k", &answer(403, ""));
        assert_eq!(error.to_string(), "writing s3://b/k is refused: status 403");
        assert!(error.hint.unwrap().contains("s3:PutObject"));
        assert_eq!(refused("x", &answer(507, "")).kind, StorageErrorKind::Full);
    }

    #[test]
    fn what_passes_is_tried_again() {
        assert!(is_passing(&answer(503, "")));
        assert!(is_passing(&answer(
            409,
            "<Code>ConditionalRequestConflict</Code>"
        )));
        for (status, body) in [
            (412, ""),
            (409, "<Code>BucketNotEmpty</Code>"),
            (507, ""),
            (403, ""),
        ] {
            assert!(!is_passing(&answer(status, body)), "{status} {body}");
        }
    }
}
