//! One request after the other: signed, sent, and sent again where the store does not answer.

use std::time::{Duration, Instant};

use fletching::checkpoint::{StorageError, StorageErrorKind, StorageResult};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action};

use super::place::PlaceSpec;
use super::refusal::{is_passing, refused};

/// How long a signature holds: longer than any one try.
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a request may stand still.
const STALL_MAX: Duration = Duration::from_secs(30);
/// The pause before the second try; twice as long before each further one, up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long it is tried again.
    pub(super) retry: Duration,
    /// How long a try may take.
    pub(super) once: Option<Duration>,
}

/// What must hold of the object that is there, for a write to be made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    /// Anything may.
    Any,
    /// There is none.
    Absent,
    /// It is the one with this tag.
    Tag(&'a str),
}

impl Condition<'_> {
    fn header(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Any => None,
            Self::Absent => Some(("if-none-match", "*")),
            Self::Tag(tag) => Some(("if-match", tag)),
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The entity tag.
    pub(super) tag: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What a request does, with what it sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb<'a> {
    Get,
    Delete,
    Put(&'a [u8], Condition<'a>),
    Post(&'a [u8]),
}

/// Speaks to one bucket.
pub(super) struct Client {
    pub(super) bucket: Bucket,
    pub(super) credentials: Credentials,
    agent: ureq::Agent,
    pub(super) patience: Patience,
}

impl std::fmt::Debug for Client {
    /// Leaves out the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("bucket", &self.bucket.base_url().as_str())
            .finish_non_exhaustive()
    }
}

/// What begins with a prefix, up to the next slash.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Keys and sizes.
    pub(super) objects: Vec<(String, u64)>,
    pub(super) prefixes: Vec<String>,
}

impl Client {
    pub(super) fn new(spec: PlaceSpec) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_resolve(Some(CONNECT_MAX))
            .timeout_recv_response(Some(STALL_MAX))
            .timeout_per_read(Some(STALL_MAX))
            .timeout_per_write(Some(STALL_MAX))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false);
        Self {
            bucket: spec.bucket,
            credentials: spec.credentials,
            agent: config.build().into(),
            patience: Patience {
                retry: spec.retry_timeout,
                once: None,
            },
        }
    }

    /// Names an object, for messages.
    pub(super) fn name(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket.name())
    }

    /// Reads an object; nothing where there is none.
    pub(super) fn get(
        &self,
        key: &str,
        patience: Patience,
    ) -> StorageResult<Option<(Option<String>, Vec<u8>)>> {
        let action = self.bucket.get_object(Some(&self.credentials), key);
        let what = format!("reading {}", self.name(key));
        let (answer, _) = self.send(&what, &action, Verb::Get, patience)?;
        let error = match answer.is_success() {
            true => return Ok(Some((answer.tag, answer.body))),
            false => refused(&what, &answer),
        };
        // A bucket that is not there is another matter.
        match error.kind == StorageErrorKind::NotFound && error.hint.is_none() {
            true => Ok(None),
            false => Err(error),
        }
    }

    /// Writes an object, and returns its tag; nothing where the condition does not hold.
    pub(super) fn put(
        &self,
        key: &str,
        bytes: &[u8],
        condition: Condition<'_>,
        patience: Patience,
    ) -> StorageResult<Option<String>> {
        let action = self.bucket.put_object(Some(&self.credentials), key);
        let what = format!("writing {}", self.name(key));
        let (answer, tries) = self.send(&what, &action, Verb::Put(bytes, condition), patience)?;
        if answer.is_success() {
            return Ok(Some(answer.tag.unwrap_or_default()));
        }
        let error = refused(&what, &answer);
        let is_unmet = match condition {
            Condition::Any => false,
            Condition::Absent => answer.status == 412,
            // The object may have gone altogether.
            Condition::Tag(_) => {
                answer.status == 412 || error.kind == StorageErrorKind::NotFound && error.hint.is_none()
            }
        };
        if !is_unmet {
            return Err(error);
        }
        if tries > 1
            && let Some((tag, found)) = self.get(key, patience)?
            && found == bytes
        {
            // It was the answer to an earlier try that was lost.
            return Ok(Some(tag.unwrap_or_default()));
        }
        Ok(None)
    }

    /// Removes an object; one that is not there is gone already.
    pub(super) fn delete(&self, key: &str) -> StorageResult<()> {
        let action = self.bucket.delete_object(Some(&self.credentials), key);
        let what = format!("removing {}", self.name(key));
        let (answer, _) = self.send(&what, &action, Verb::Delete, self.patience)?;
        match answer.is_success() || answer.status == 404 {
            true => Ok(()),
            false => Err(refused(&what, &answer)),
        }
    }

    /// Lists what begins with a prefix: objects with their sizes, and prefixes up to the next slash.
    pub(super) fn list(&self, prefix: &str) -> StorageResult<Listing> {
        let what = format!("listing {}", self.name(prefix));
        let mut listing = Listing::default();
        let mut next = None;
        loop {
            let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
            action.with_prefix(prefix);
            action.with_delimiter("/");
            if let Some(token) = next {
                action.with_continuation_token(token);
            }
            let (answer, _) = self.send(&what, &action, Verb::Get, self.patience)?;
            if !answer.is_success() {
                return Err(refused(&what, &answer));
            }
            let text = String::from_utf8_lossy(&answer.body);
            let found = ListObjectsV2::parse_response(&text).map_err(|error| {
                let message = format!("{what}: the answer is not that of a store: {error}");
                StorageError::new(StorageErrorKind::Other, message).hint("check s3.endpoint")
            })?;
            let objects = found.contents.into_iter();
            let sized = objects.map(|one| (one.key, one.size.unwrap_or(0)));
            listing.objects.extend(sized);
            let prefixes = found.common_prefixes.into_iter();
            listing.prefixes.extend(prefixes.map(|one| one.prefix));
            next = found.next_continuation_token;
            if next.is_none() {
                return Ok(listing);
            }
        }
    }

    /// Sends a request until it is answered or patience ends; says how often it was tried.
    pub(super) fn send<'a>(
        &'a self,
        what: &str,
        action: &impl S3Action<'a>,
        verb: Verb<'_>,
        patience: Patience,
    ) -> StorageResult<(Answer, u32)> {
        let began = Instant::now();
        let (mut pause, mut tries) = (PAUSE_MIN, 1);
        loop {
            // Signed anew each time: a signature has its hour.
            let url = action.sign(SIGNED_FOR);
            let why = match self.try_to_send(url.as_str(), verb, patience.once) {
                Ok(answer) if !is_passing(&answer) => return Ok((answer, tries)),
                Ok(answer) => refused(what, &answer).message,
                Err(error) if is_final(&error) => {
                    let message = format!("{what}: {}", told(&error));
                    return Err(StorageError::new(StorageErrorKind::Other, message).hint("check s3.endpoint"));
                }
                Err(error) => format!("{what}: {}", told(&error)),
            };
            if began.elapsed() + pause > patience.retry {
                let seconds = began.elapsed().as_secs_f64();
                let message = format!("{why} (tried {tries} times in {seconds:.1} s)");
                return Err(StorageError::new(StorageErrorKind::Unavailable, message)
                    .hint("check that the store runs and s3.endpoint is right, and start it again"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            tries += 1;
        }
    }

    fn try_to_send(&self, url: &str, verb: Verb<'_>, once: Option<Duration>) -> Result<Answer, ureq::Error> {
        const BYTES: &str = "application/octet-stream";
        let mut response = match verb {
            Verb::Get => {
                let request = self.agent.get(url).config().timeout_global(once);
                request.build().call()?
            }
            Verb::Delete => {
                let request = self.agent.delete(url).config().timeout_global(once);
                request.build().call()?
            }
            Verb::Put(bytes, condition) => {
                let request = self.agent.put(url).config().timeout_global(once);
                let mut request = request.build().header("content-type", BYTES);
                if let Some((name, value)) = condition.header() {
                    request = request.header(name, value);
                }
                request.send(bytes)?
            }
            Verb::Post(bytes) => {
                let request = self.agent.post(url).config().timeout_global(once);
                request.build().header("content-type", BYTES).send(bytes)?
            }
        };
        let tag = response.headers().get("etag");
        let tag = tag.and_then(|tag| Some(tag.to_str().ok()?.to_owned()));
        Ok(Answer {
            status: response.status().as_u16(),
            tag,
            body: response.body_mut().with_config().limit(u64::MAX).read_to_vec()?,
        })
    }
}

/// Says whether trying again is of no use.
fn is_final(error: &ureq::Error) -> bool {
    use ureq::Error::{BadUri, Http, InvalidProxyUrl, Pem, RequireHttpsOnly, Rustls, Tls, TlsRequired};
    matches!(
        error,
        BadUri(_)
            | Http(_)
            | InvalidProxyUrl
            | Pem(_)
            | RequireHttpsOnly(_)
            | Rustls(_)
            | Tls(_)
            | TlsRequired
    )
}

/// Tells an error without the address, which has a signature in it.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "the address is none".into(),
        ureq::Error::HostNotFound => "there is no such host".into(),
        ureq::Error::Io(error) => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
        other => other.to_string(),
    }
}
