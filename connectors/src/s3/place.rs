//! Which bucket, which prefix, where, and by whose credentials.

use std::collections::BTreeMap;
use std::time::Duration;

use fletching::checkpoint::{StorageError, StorageErrorKind, StorageResult};
use fletching::connector::Options;
use rusty_s3::{Bucket, Credentials, UrlStyle};

pub(super) const ENDPOINT: &str = "s3.endpoint";
pub(super) const REGION: &str = "s3.region";
pub(super) const PATH_STYLE: &str = "s3.path_style";
pub(super) const RETRY_TIMEOUT: &str = "s3.retry.timeout";

const RETRY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);

/// A place, read and checked.
pub(super) struct PlaceSpec {
    pub(super) bucket: Bucket,
    pub(super) credentials: Credentials,
    /// Nothing, or a path that ends with a slash.
    pub(super) prefix: String,
    pub(super) retry_timeout: Duration,
}

impl PlaceSpec {
    /// Reads what stands behind `s3://`; `variable` gives those of the environment.
    pub(super) fn read(
        path: &str,
        settings: &BTreeMap<String, String>,
        given: Option<Credentials>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> StorageResult<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() {
            return Err(wrong("it names no bucket").hint("as in s3://bucket/prefix"));
        }
        let prefix = prefix_of(prefix)?;
        let region = settings.get(REGION).cloned();
        let region = region
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .unwrap_or_else(|| "us-east-1".into());
        let endpoint = settings.get(ENDPOINT).cloned();
        let endpoint = endpoint
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"));
        let is_path = match settings.get(PATH_STYLE).map(String::as_str) {
            // Certificates for *.s3.REGION.amazonaws.com do not cover a bucket's name with dots in it.
            None => endpoint.is_some() || name.contains('.'),
            Some(value) => on_or_off(value)?,
        };
        let address = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let no_address = || {
            wrong(format!("{ENDPOINT}: expected an address, found '{address}'"))
                .hint("as in 'http://localhost:9000' or 'https://storage.example.com'")
        };
        let style = if is_path {
            UrlStyle::Path
        } else {
            UrlStyle::VirtualHost
        };
        let Ok(endpoint) = address.parse() else {
            return Err(no_address());
        };
        let bucket = Bucket::new(endpoint, style, name.to_owned(), region).map_err(|_| no_address())?;
        let retry_timeout = match settings.get(RETRY_TIMEOUT) {
            None => RETRY_TIMEOUT_DEFAULT,
            Some(text) => {
                let options = Options::new("settings").with(RETRY_TIMEOUT, text);
                let span = options.time_span(RETRY_TIMEOUT).ok().flatten();
                span.ok_or_else(|| {
                    wrong(format!("{RETRY_TIMEOUT}: expected a time span, found '{text}'"))
                        .hint("as in '30s'")
                })?
            }
        };
        Ok(Self {
            bucket,
            credentials: match given {
                Some(credentials) => credentials,
                None => credentials(variable)?,
            },
            prefix,
            retry_timeout,
        })
    }
}

fn prefix_of(text: &str) -> StorageResult<String> {
    let text = text.trim_matches('/');
    if text.is_empty() {
        return Ok(String::new());
    }
    // Such parts are no names in addresses.
    if text.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err(wrong(format!("'{text}' has a part that is empty, '.' or '..'")));
    }
    Ok(format!("{text}/"))
}

fn on_or_off(value: &str) -> StorageResult<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(wrong(format!(
            "{PATH_STYLE}: expected on or off, found '{value}'"
        ))),
    }
}

fn credentials(variable: impl Fn(&str) -> Option<String>) -> StorageResult<Credentials> {
    let (key, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    let (Some(key), Some(secret)) = (key, secret) else {
        return Err(
            StorageError::new(StorageErrorKind::Denied, "there are no credentials").hint(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where they have one",
            ),
        );
    };
    Ok(match variable("AWS_SESSION_TOKEN") {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

fn wrong(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Other, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, settings: &[(&str, &str)], variables: &[(&str, &str)]) -> StorageResult<PlaceSpec> {
        let settings = settings
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let mut all = vec![("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "hidden")];
        all.extend(variables);
        PlaceSpec::read(path, &settings.collect(), None, |name| {
            let found = all.iter().rev().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    fn address(path: &str, settings: &[(&str, &str)], variables: &[(&str, &str)]) -> String {
        let spec = read(path, settings, variables).ok().unwrap();
        spec.bucket.object_url(&format!("{}o", spec.prefix)).to_string()
    }

    #[test]
    fn addresses_follow_settings_before_the_environment() {
        assert_eq!(
            address("b/p", &[], &[]),
            "https://b.s3.us-east-1.amazonaws.com/p/o"
        );
        let region = [("AWS_DEFAULT_REGION", "eu-west-1")];
        assert_eq!(
            address("a.b", &[], &region),
            "https://s3.eu-west-1.amazonaws.com/a.b/o"
        );
        let variables = [("AWS_ENDPOINT_URL", "http://localhost:9000"), ("AWS_REGION", "x")];
        assert_eq!(
            address("b//p/q/", &[], &variables),
            "http://localhost:9000/b/p/q/o"
        );
        let settings = [(ENDPOINT, "https://store.test"), (PATH_STYLE, "off")];
        assert_eq!(address("b", &settings, &variables), "https://b.store.test/o");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (path, settings, variables, message) in [
            ("", vec![], vec![], "names no bucket"),
            ("b/../c", vec![], vec![], "has a part"),
            ("b", vec![(ENDPOINT, "nowhere")], vec![], "expected an address"),
            ("b", vec![(PATH_STYLE, "maybe")], vec![], "expected on or off"),
            ("b", vec![(RETRY_TIMEOUT, "soon")], vec![], "expected a time span"),
            (
                "b",
                vec![],
                vec![("AWS_SECRET_ACCESS_KEY", " ")],
                "no credentials",
            ),
        ] {
            let error = read(path, &settings, &variables).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
