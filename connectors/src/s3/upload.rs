//! Large objects, sent in parts: a part that is lost is sent again, not the whole.
//!
//! ```text
//!  POST ?uploads ─▶ id ─▶ PUT ?partNumber=n … ─▶ POST ?uploadId: the object is there, whole
//!                              └─ a failure ─▶ DELETE ?uploadId: nothing is left of it
//! ```

use fletching::checkpoint::{StorageError, StorageErrorKind, StorageResult};
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};

use super::client::{Answer, Client, Condition, Verb};
use super::refusal::refused;

/// Objects beyond this are sent in parts; the rows of tables come in pieces of about half of it.
pub(super) const WHOLE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a part; a store takes 10,000 parts of at least 5 MiB.
const PART_BYTES: usize = 32 << 20;

impl Client {
    /// Writes a large object in parts.
    pub(super) fn put_in_parts(&self, key: &str, bytes: &[u8]) -> StorageResult<()> {
        let what = format!("writing {}", self.name(key));
        let action = self.bucket.create_multipart_upload(Some(&self.credentials), key);
        let (answer, _) = self.send(&what, &action, Verb::Post(b""), self.patience)?;
        let answer = success(&what, answer)?;
        let created = CreateMultipartUpload::parse_response(&String::from_utf8_lossy(&answer.body));
        let created = created.map_err(|error| unclear(&what, &error.to_string()))?;
        let id = created.upload_id();
        let written = self.put_parts(&what, key, id, bytes);
        if written.is_err() {
            let abort = self
                .bucket
                .abort_multipart_upload(Some(&self.credentials), key, id);
            // What is left of it is for the bucket's rules to clear away.
            let _ = self.send(&what, &abort, Verb::Delete, self.patience);
        }
        written
    }

    fn put_parts(&self, what: &str, key: &str, id: &str, bytes: &[u8]) -> StorageResult<()> {
        let mut tags = Vec::new();
        for (part, number) in bytes.chunks(PART_BYTES).zip(1..) {
            let action = self.bucket.upload_part(Some(&self.credentials), key, number, id);
            let (answer, _) = self.send(what, &action, Verb::Put(part, Condition::Any), self.patience)?;
            let tag = success(what, answer)?.tag;
            tags.push(tag.ok_or_else(|| unclear(what, "a part has no tag"))?);
        }
        let tags = tags.iter().map(String::as_str);
        let action = self
            .bucket
            .complete_multipart_upload(Some(&self.credentials), key, id, tags);
        let body = action.clone().body();
        let (answer, _) = self.send(what, &action, Verb::Post(body.as_bytes()), self.patience)?;
        let answer = success(what, answer)?;
        // A store may find out that it cannot after it has said that it could.
        match CompleteMultipartUploadResponse::parse(&String::from_utf8_lossy(&answer.body)) {
            Ok(_) => Ok(()),
            Err(_) => Err(refused(what, &answer)),
        }
    }
}

fn success(what: &str, answer: Answer) -> StorageResult<Answer> {
    match answer.is_success() {
        true => Ok(answer),
        false => Err(refused(what, &answer)),
    }
}

fn unclear(what: &str, why: &str) -> StorageError {
    let message = format!("{what}: the answer is not that of a store: {why}");
    StorageError::new(StorageErrorKind::Other, message).hint("check s3.endpoint")
}
