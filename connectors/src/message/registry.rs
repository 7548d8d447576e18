//! A schema registry as Confluent's: schemas by number, and by subject.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fletching::connector::Options;
use fletching::{Error, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often a registry that does not answer is asked, and how long is waited before the second
/// time; twice as long before each further one.
const ATTEMPTS_MAX: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(100);

/// What a message of a registry's schema begins with, before the schema's number.
pub(super) const MAGIC: u8 = 0;

/// A schema and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) id: u32,
    pub(super) text: String,
}

/// A registry.
pub(super) struct Registry {
    address: String,
    authorization: Option<String>,
    agent: ureq::Agent,
    /// What was found by number, which never changes; `None` for numbers that there are not.
    by_id: Mutex<HashMap<u32, Option<String>>>,
}

impl std::fmt::Debug for Registry {
    /// Leaves out the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Reads the options that say where the registry is; `None` where there is none.
    pub(super) fn from_options(options: &Options) -> Result<Option<Self>> {
        let Some(address) = options.text("schema.registry") else {
            return Ok(None);
        };
        let is_https = address.starts_with("https://");
        if !address.starts_with("http://") && !is_https {
            let message = format!("expected an address, found '{address}'");
            let hint = "as in 'http://localhost:8081'".to_owned();
            return Err(options.bad_value("schema.registry", &message, Some(hint)));
        }
        if is_https && !cfg!(feature = "kafka-tls") {
            let hint = "build with the cargo feature 'kafka-tls'".to_owned();
            return Err(options.bad_value("schema.registry", "this build has no TLS", Some(hint)));
        }
        let user = options.text("schema.registry.user");
        let authorization = user.map(|user| {
            let password = options.text("schema.registry.password").unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false);
        Ok(Some(Self {
            address: address.trim_end_matches('/').to_owned(),
            authorization,
            agent: config.build().into(),
            by_id: Mutex::default(),
        }))
    }

    /// Returns the schema of a number, or `None` where there is none.
    pub(super) fn schema(&self, id: u32) -> Result<Option<String>> {
        if let Some(known) = self.by_id.lock().get(&id) {
            return Ok(known.clone());
        }
        let found = match self.ask(&format!("/schemas/ids/{id}"), None)? {
            (200, answer) => Some(text(&answer, "schema").ok_or_else(|| self.unclear(&answer))?),
            (404, _) => None,
            (status, answer) => return Err(self.refused(status, &answer)),
        };
        self.by_id.lock().insert(id, found.clone());
        Ok(found)
    }

    /// Returns the newest schema of a subject, or `None` where the subject has none.
    pub(super) fn latest(&self, subject: &str) -> Result<Option<Registered>> {
        match self.ask(&format!("/subjects/{}/versions/latest", escaped(subject)), None)? {
            (200, answer) => {
                let id = answer
                    .get("id")
                    .and_then(Value::as_u64)
                    .and_then(|id| u32::try_from(id).ok());
                match (id, text(&answer, "schema")) {
                    (Some(id), Some(text)) => Ok(Some(Registered { id, text })),
                    _ => Err(self.unclear(&answer)),
                }
            }
            (404, _) => Ok(None),
            (status, answer) => Err(self.refused(status, &answer)),
        }
    }

    /// Puts a schema under a subject, and returns its number; the same where it is there already.
    pub(super) fn register(&self, subject: &str, kind: &str, schema: &str) -> Result<u32> {
        let body = json!({ "schema": schema, "schemaType": kind });
        match self.ask(&format!("/subjects/{}/versions", escaped(subject)), Some(&body))? {
            (200 | 201, answer) => {
                let id = answer
                    .get("id")
                    .and_then(Value::as_u64)
                    .and_then(|id| u32::try_from(id).ok());
                id.ok_or_else(|| self.unclear(&answer))
            }
            (status, answer) => Err(self.refused(status, &answer)),
        }
    }

    /// Asks, and again where no answer comes.
    fn ask(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let mut pause = BACKOFF;
        let mut attempt = 1;
        loop {
            match self.try_to_ask(path, body) {
                Ok((status, _)) if status >= 500 && attempt < ATTEMPTS_MAX => {}
                Ok(answer) => return Ok(answer),
                Err(_) if attempt < ATTEMPTS_MAX => {}
                Err(error) => {
                    return Err(Error::External {
                        message: format!(
                            "schema registry {}: it does not answer: {error}; check schema.registry",
                            self.address
                        ),
                        source: Some(std::sync::Arc::new(error)),
                    });
                }
            }
            attempt += 1;
            sleep(pause);
            pause *= 2;
        }
    }

    fn try_to_ask(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value), ureq::Error> {
        const JSON: &str = "application/vnd.schemaregistry.v1+json";
        let url = format!("{}{path}", self.address);
        let mut answer = match body {
            None => {
                let mut request = self.agent.get(&url).header("accept", JSON);
                if let Some(authorization) = &self.authorization {
                    request = request.header("authorization", authorization);
                }
                request.call()?
            }
            Some(body) => {
                let mut request = self.agent.post(&url).header("content-type", JSON);
                if let Some(authorization) = &self.authorization {
                    request = request.header("authorization", authorization);
                }
                request.send(body.to_string())?
            }
        };
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string()?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((status, value))
    }

    fn refused(&self, status: u16, answer: &Value) -> Error {
        let said = text(answer, "message").unwrap_or_else(|| answer.to_string());
        Error::External {
            message: format!(
                "schema registry {}: refused with status {status}: {said}",
                self.address
            ),
            source: None,
        }
    }

    fn unclear(&self, answer: &Value) -> Error {
        Error::External {
            message: format!(
                "schema registry {}: its answer is not that of a registry: {answer}; check schema.registry",
                self.address
            ),
            source: None,
        }
    }
}

fn text(answer: &Value, name: &str) -> Option<String> {
    answer.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Writes a subject as a part of a path.
fn escaped(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Splits a message into the number of its schema and the rest; `None` where it has no such head.
pub(super) fn split(message: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = message.split_first_chunk::<5>()?;
    let [MAGIC, id @ ..] = head else { return None };
    Some((u32::from_be_bytes(*id), rest))
}

/// What is wrong with a message that [`split`] refuses.
pub(super) const NO_HEAD: &str =
    "does not begin with a schema's number: it was not written by way of the schema registry";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_message_is_split_off() {
        assert_eq!(split(&[0, 0, 0, 1, 2, 9]), Some((258, [9].as_slice())));
        assert_eq!(split(&[1, 0, 0, 1, 2, 9]), None);
        assert_eq!(split(&[0, 0, 0]), None);
    }

    #[test]
    fn subjects_are_escaped() {
        assert_eq!(escaped("a/b c-value"), "a%2Fb%20c-value");
    }

    #[test]
    fn addresses_are_checked_and_passwords_hidden() {
        let options = Options::new("stream s").with("schema.registry", "localhost:8081");
        let error = Registry::from_options(&options).unwrap_err().to_string();
        assert!(error.contains("expected an address"), "{error}");
        let options = Options::new("stream s")
            .with("schema.registry", "http://localhost:8081/")
            .with("schema.registry.user", "u")
            .with("schema.registry.password", "secret");
        let registry = Registry::from_options(&options).unwrap().unwrap();
        assert_eq!(registry.address, "http://localhost:8081");
        assert!(!format!("{registry:?}").contains("secret"));
    }
}
