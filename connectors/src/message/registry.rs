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

use super::references;
use super::registry_tls::{self, is_certificate};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often a registry that does not answer is asked, and how long is waited before the second
/// time; twice as long before each further one.
const ATTEMPTS_MAX: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(100);

/// What a message of a registry's schema begins with, before the schema's number.
pub(super) const MAGIC: u8 = 0;

/// A schema, its number where it is the registry's, and those it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) id: Option<u32>,
    pub(super) text: String,
    /// Itself or through others; each one after those that it refers to.
    pub(super) references: Vec<Referred>,
}

impl Schema {
    /// Makes one that is known by its text alone.
    pub(super) fn of_text(text: &str) -> Self {
        Self {
            id: None,
            text: text.to_owned(),
            references: Vec::new(),
        }
    }
}

/// A schema that another one refers to: by which name, and where the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Referred {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) version: u64,
    pub(super) text: String,
}

/// A registry.
pub(super) struct Registry {
    address: String,
    authorization: Option<String>,
    agent: ureq::Agent,
    /// What was found by number, which never changes; `None` for numbers that there are not.
    by_id: Mutex<HashMap<u32, Option<Schema>>>,
    /// What was answered for versions of subjects, which never change.
    by_version: Mutex<HashMap<(String, u64), Value>>,
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
        // An address is shown in errors; a password is not.
        if address
            .split_once("://")
            .is_some_and(|(_, host)| host.split('/').next().unwrap_or("").contains('@'))
        {
            let hint = "write them as schema.registry.user and schema.registry.password".to_owned();
            let message = "an address has no user and password";
            return Err(options.bad_value("schema.registry", message, Some(hint)));
        }
        if !is_https && registry_tls::authorities(options)?.is_some() {
            let hint = "write the address with https://".to_owned();
            let message = "is without TLS, by which 'schema.registry.ssl.…' counts for nothing";
            return Err(options.bad_value("schema.registry", message, Some(hint)));
        }
        let user = options.text("schema.registry.user");
        let authorization = user.map(|user| {
            let password = options.text("schema.registry.password").unwrap_or_default();
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false);
        #[cfg(feature = "kafka-tls")]
        let config = match is_https {
            true => config.tls_config(registry_tls::settings(options)?),
            false => config,
        };
        Ok(Some(Self {
            address: address.trim_end_matches('/').to_owned(),
            authorization,
            agent: config.build().into(),
            by_id: Mutex::default(),
            by_version: Mutex::default(),
        }))
    }

    /// Returns where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the schema of a number, or `None` where there is none.
    pub(super) fn schema(&self, id: u32) -> Result<Option<Schema>> {
        if let Some(known) = self.by_id.lock().get(&id) {
            return Ok(known.clone());
        }
        let found = match self.ask(&format!("/schemas/ids/{id}"), None)? {
            (200, answer) => Some(self.read(Some(id), &answer)?),
            (404, _) => None,
            (status, answer) => return Err(self.refused(status, &answer)),
        };
        self.by_id.lock().insert(id, found.clone());
        Ok(found)
    }

    /// Returns the newest schema of a subject, or `None` where the subject has none.
    pub(super) fn latest(&self, subject: &str) -> Result<Option<Schema>> {
        match self.ask(&format!("/subjects/{}/versions/latest", escaped(subject)), None)? {
            (200, answer) => {
                let id = answer.get("id").and_then(Value::as_u64);
                let id = id.and_then(|id| u32::try_from(id).ok());
                let id = id.ok_or_else(|| self.unclear(&answer))?;
                self.read(Some(id), &answer).map(Some)
            }
            (404, _) => Ok(None),
            (status, answer) => Err(self.refused(status, &answer)),
        }
    }

    /// Returns what is answered for a version of a subject, or `None` where there is none.
    pub(super) fn version(&self, subject: &str, version: u64) -> Result<Option<Value>> {
        let key = (subject.to_owned(), version);
        if let Some(known) = self.by_version.lock().get(&key) {
            return Ok(Some(known.clone()));
        }
        match self.ask(
            &format!("/subjects/{}/versions/{version}", escaped(subject)),
            None,
        )? {
            (200, answer) => {
                self.by_version.lock().insert(key, answer.clone());
                Ok(Some(answer))
            }
            (404, _) => Ok(None),
            (status, answer) => Err(self.refused(status, &answer)),
        }
    }

    /// Reads an answer that is a schema, and fetches those it refers to.
    fn read(&self, id: Option<u32>, answer: &Value) -> Result<Schema> {
        Ok(Schema {
            id,
            text: text(answer, "schema").ok_or_else(|| self.unclear(answer))?,
            references: references::fetched(self, answer)?,
        })
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
                Err(error) if attempt < ATTEMPTS_MAX && !is_certificate(&error.to_string()) => {}
                Err(error) => return Err(self.unreached(error)),
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

    fn unreached(&self, error: ureq::Error) -> Error {
        let told = error.to_string();
        let (what, check) = match is_certificate(&told) {
            true => (
                "its certificate is refused",
                "set schema.registry.ssl.ca.location or schema.registry.ssl.ca.pem to that of its authority",
            ),
            false => ("it does not answer", "check schema.registry"),
        };
        Error::External {
            message: format!("schema registry {}: {what}: {told}; {check}", self.address),
            source: Some(std::sync::Arc::new(error)),
        }
    }

    fn refused(&self, status: u16, answer: &Value) -> Error {
        let said = text(answer, "message").unwrap_or_else(|| answer.to_string());
        let check = match status {
            401 | 403 => "; check schema.registry.user and schema.registry.password",
            _ => "",
        };
        Error::External {
            message: format!(
                "schema registry {}: refused with status {status}: {said}{check}",
                self.address
            ),
            source: None,
        }
    }

    pub(super) fn unclear(&self, answer: &Value) -> Error {
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
        let within = Options::new("stream s").with("schema.registry", "https://u:hush@host/path");
        let error = Registry::from_options(&within).unwrap_err().to_string();
        assert!(
            error.contains("schema.registry.user") && !error.contains("hush"),
            "{error}"
        );
        let registry = Registry::from_options(&options).unwrap().unwrap();
        assert_eq!(registry.address, "http://localhost:8081");
        assert!(!format!("{registry:?}").contains("secret"));
    }
}
