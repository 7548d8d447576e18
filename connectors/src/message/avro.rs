//! Avro: a message is one record, written with a schema of the registry or with the one given.
//!
//! A message of the registry begins with a zero byte and the number of the schema it was written
//! with; it is then read as the reader's schema says, by Avro's own rules: an added field has its
//! default, a dropped one is passed over, an alias follows a renaming, `int` widens to `long` and
//! so on. A schema that cannot be read so makes its messages bad ones, by number and reason.
//! Without a registry a message is the record alone. Decimals are exact from their bytes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use fletching::connector::Options;
use fletching::{Error, Result};

use super::avro_references::inlined;
use super::avro_write::AvroEncoder;
use super::fit::{NO_FIELD, fit, places};
use super::registry::{NO_HEAD, split};
use super::schema_text::SchemaOrigin;
use super::{BadMessage, MessageDecoder, MessageEncoder, MessageFormat, Payloads, spread};
use crate::file::viewed;

/// The number that the schema has where there is no registry.
const OWN: u32 = 0;

/// Messages that are one Avro record each.
#[derive(Debug)]
pub(super) struct AvroMessages {
    origin: Arc<SchemaOrigin>,
}

impl AvroMessages {
    pub(super) fn from_options(options: &Options, topic: &str) -> Result<Self> {
        Ok(Self {
            origin: Arc::new(SchemaOrigin::from_options(options, topic)?),
        })
    }
}

impl MessageFormat for AvroMessages {
    fn columns(&self) -> Result<Option<Fields>> {
        let columns = Schema::new(columns_of(&self.origin.avro_reader()?)?);
        Ok(Some(viewed(&columns).fields().clone()))
    }

    fn decoder(&self, fields: &Fields, wanted: &[usize]) -> Result<Box<dyn MessageDecoder>> {
        let reader = self.origin.avro_reader()?;
        let fields = super::picked(fields, wanted);
        let places = places(("avro", NO_FIELD), &columns_of(&reader)?, &fields)?;
        Ok(Box::new(AvroDecoder {
            origin: Arc::clone(&self.origin),
            known: BTreeMap::new(),
            reader,
            fields,
            places,
            open: None,
            headed: Payloads::default(),
        }))
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn MessageEncoder>> {
        Ok(Box::new(AvroEncoder::new(&self.origin, schema)?))
    }
}

/// Returns the columns of a schema, as they are decoded.
pub(super) fn columns_of(text: &str) -> Result<Fields> {
    let writers = BTreeMap::from([(OWN, text.to_owned())]);
    let decoder = decoder(text, &writers, OWN, 1);
    let schema = decoder.map_err(|why| unusable(&why))?.schema();
    let fields = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()));
    Ok(fields.collect())
}

/// Makes the error for a schema that cannot be used at all.
pub(super) fn unusable(why: &str) -> Error {
    Error::Option {
        subject: "format avro".into(),
        message: format!("its schema cannot be used: {why}"),
        hint: Some("a schema is a JSON object: {\"type\": \"record\", \"name\": …, \"fields\": […]}".into()),
        location: None,
    }
}

/// Makes a decoder that knows some writers' schemas and begins with one of them.
fn decoder(
    reader: &str,
    writers: &BTreeMap<u32, String>,
    first: u32,
    rows_max: usize,
) -> Result<Decoder, String> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    for (id, text) in writers {
        let schema = AvroSchema::new(text.clone());
        store
            .set(Fingerprint::Id(*id), schema)
            .map_err(|error| error.to_string())?;
    }
    let made = catch_unwind(AssertUnwindSafe(|| {
        ReaderBuilder::new()
            .with_batch_size(rows_max)
            // Views of this decoder lose NULL texts, which become empty ones.
            .with_utf8_view(false)
            .with_reader_schema(AvroSchema::new(reader.to_owned()))
            .with_writer_schema_store(store)
            .with_active_fingerprint(Fingerprint::Id(first))
            .build_decoder()
    }));
    match made {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(_) => Err("it is beyond what is understood".to_owned()),
    }
}

struct AvroDecoder {
    origin: Arc<SchemaOrigin>,
    /// Writers' schemas by number, or why messages of them cannot be read.
    known: BTreeMap<u32, Result<String, String>>,
    reader: String,
    fields: Vec<Arc<Field>>,
    /// The place of each field in the reader's schema.
    places: Vec<usize>,
    /// The decoder of the messages before: to make one costs as much as to decode thousands.
    open: Option<Open>,
    /// Room for messages that had no head.
    headed: Payloads,
}

/// A decoder between two uses.
struct Open {
    decoder: Decoder,
    rows_max: usize,
    /// How many schemas were known when it was made; it does not know later ones.
    known: usize,
}

/// How many rows a decoder takes at least before it is asked for them.
const ROWS_MIN: usize = 1 << 14;

/// A message by its place, and the number of the schema that it was written with.
type Framed = (usize, u32);

impl AvroDecoder {
    /// Returns the number of the schema that a message was written with; says why where it cannot
    /// be read.
    fn schema_of(&mut self, message: &[u8]) -> Result<Result<u32, String>> {
        if self.origin.registry.is_none() {
            if self.known.is_empty() {
                self.known.insert(OWN, Ok(self.reader.clone()));
            }
            return Ok(Ok(OWN));
        }
        let Some((id, _)) = split(message) else {
            return Ok(Err(NO_HEAD.to_owned()));
        };
        self.learn(id)?;
        Ok(match self.known.get(&id) {
            Some(Err(why)) => Err(why.clone()),
            _ => Ok(id),
        })
    }

    /// Finds a writer's schema and whether it can be read.
    fn learn(&mut self, id: u32) -> Result<()> {
        if self.known.contains_key(&id) {
            return Ok(());
        }
        let Some(registry) = &self.origin.registry else {
            return Ok(());
        };
        let learnt = match registry.schema(id)? {
            None => Err(format!(
                "was written with schema {id}, which the schema registry does not have"
            )),
            Some(schema) => {
                let text = inlined(&schema);
                let can_read = |text: &String| {
                    decoder(&self.reader, &BTreeMap::from([(id, text.clone())]), id, 1).map(|_| ())
                };
                text.and_then(|text| can_read(&text).map(|()| text))
                    .map_err(|why| format!("was written with schema {id}, which cannot be read: {why}"))
            }
        };
        self.known.insert(id, learnt);
        Ok(())
    }

    /// Takes the decoder of before, or makes one that knows all schemas and takes so many rows.
    fn open(&mut self, first: u32, rows: usize) -> Result<Open, String> {
        let known = self.known.len();
        let is_enough = |open: &Open| open.known == known && open.rows_max >= rows;
        if let Some(open) = self.open.take().filter(is_enough) {
            return Ok(open);
        }
        let readable = self
            .known
            .iter()
            .filter_map(|(id, text)| Some((*id, text.clone().ok()?)));
        let rows_max = rows.next_power_of_two().max(ROWS_MIN);
        Ok(Open {
            decoder: decoder(&self.reader, &readable.collect(), first, rows_max)?,
            rows_max,
            known,
        })
    }

    /// Decodes messages together; says why where one of them is not as it should be.
    fn decode_together(
        &mut self,
        source: &Payloads,
        messages: &[Framed],
    ) -> Result<Vec<RecordBatch>, String> {
        let Some((_, first)) = messages.first() else {
            return Ok(Vec::new());
        };
        let mut open = self.open(*first, messages.len() + 1)?;
        let decoder = &mut open.decoder;
        let (mut batches, mut current) = (Vec::new(), *first);
        for (message, id) in messages {
            if *id != current {
                batches.extend(decoder.flush().map_err(|error| error.to_string())?);
                current = *id;
            }
            let (before, bytes) = (decoder.capacity(), source.get(*message));
            // Damaged bytes must not end the program, whatever they do to the decoder.
            let decoded = catch_unwind(AssertUnwindSafe(|| decoder.decode(bytes)));
            match decoded {
                Ok(Ok(read)) if read == bytes.len() && decoder.capacity() + 1 == before => {}
                Ok(Ok(_)) => return Err("is not one whole record of its schema".to_owned()),
                Ok(Err(error)) => return Err(format!("is not a record of its schema: {error}")),
                Err(_) => return Err("is not a record of its schema".to_owned()),
            }
        }
        batches.extend(decoder.flush().map_err(|error| error.to_string())?);
        // Only a decoder that has met no fault is used again: others may hold half a record.
        self.open = Some(open);
        Ok(batches)
    }

    /// Decodes messages, halving those that do not decode until the bad ones stand alone.
    fn decode_good(
        &mut self,
        source: &Payloads,
        messages: &[Framed],
        batches: &mut Vec<RecordBatch>,
        good: &mut Vec<usize>,
        bad: &mut Vec<BadMessage>,
    ) {
        match self.decode_together(source, messages) {
            Ok(decoded) => {
                batches.extend(decoded);
                good.extend(messages.iter().map(|(message, _)| *message));
            }
            Err(why) => match messages {
                [(message, _)] => bad.push(BadMessage::new(*message, why)),
                _ => {
                    let (left, right) = messages.split_at(messages.len() / 2);
                    self.decode_good(source, left, batches, good, bad);
                    self.decode_good(source, right, batches, good, bad);
                }
            },
        }
    }

    /// Decodes all messages, which have heads; returns the batches and of which messages they are.
    fn decode_all(
        &mut self,
        source: &Payloads,
        bad: &mut Vec<BadMessage>,
    ) -> Result<(Vec<RecordBatch>, Vec<usize>)> {
        let mut framed = Vec::with_capacity(source.len());
        for (at, message) in source.iter().enumerate() {
            match self.schema_of(message)? {
                Ok(id) => framed.push((at, id)),
                Err(why) => bad.push(BadMessage::new(at, why)),
            }
        }
        let (mut batches, mut good) = (Vec::new(), Vec::with_capacity(framed.len()));
        self.decode_good(source, &framed, &mut batches, &mut good, bad);
        Ok((batches, good))
    }
}

impl MessageDecoder for AvroDecoder {
    fn decode(&mut self, messages: &Payloads, bad: &mut Vec<BadMessage>) -> Result<Vec<ArrayRef>> {
        let (batches, good) = if self.origin.registry.is_some() {
            self.decode_all(messages, bad)?
        } else {
            let mut headed = std::mem::take(&mut self.headed);
            headed.clear();
            for message in messages.iter() {
                headed.push_parts(&[&[0; 5], message]);
            }
            let decoded = self.decode_all(&headed, bad);
            self.headed = headed;
            decoded?
        };
        let Some(first) = batches.first() else {
            return Ok(super::nulls(&self.fields, messages.len()));
        };
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            _ => concat_batches(&first.schema(), &batches)
                .map_err(|error| Error::internal(format!("Avro records do not go together: {error}")))?,
        };
        let mut columns = Vec::with_capacity(self.fields.len());
        for (field, place) in self.fields.iter().zip(&self.places) {
            let mut cells = Vec::new();
            columns.push(fit(batch.column(*place), field, &mut cells)?);
            bad.extend(cells.into_iter().map(|cell| BadMessage {
                message: good[cell.message],
                ..cell
            }));
        }
        spread(columns, &good, messages.len())
    }
}
