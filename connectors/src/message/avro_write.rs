//! Writes rows as Avro records: with the schema given, or with one made of the columns, which is
//! put into the registry where there is one.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow_avro::schema::{AvroSchema, FingerprintStrategy, SCHEMA_METADATA_KEY};
use arrow_avro::writer::format::{AvroBinaryFormat, AvroSoeFormat};
use arrow_avro::writer::{Encoder, WriterBuilder};
use fletching::{Error, Result};

use super::avro::{columns_of, unusable};
use super::fit::{fit, places};
use super::schema_text::SchemaOrigin;
use super::{MessageEncoder, Payloads, unwritable};

/// Encodes rows with one schema.
pub(super) struct AvroEncoder {
    encoder: Encoder,
    /// The schema's columns, as they are encoded.
    schema: SchemaRef,
    /// The place of each of them among the batch's columns.
    places: Vec<usize>,
}

impl AvroEncoder {
    pub(super) fn new(origin: &Arc<SchemaOrigin>, schema: &SchemaRef) -> Result<Self> {
        let text = match &origin.text {
            Some(text) => text.clone(),
            None => {
                let plain: Fields = schema.fields().iter().map(plain_field).collect();
                let made = AvroSchema::try_from(&Schema::new(plain));
                made.map_err(|error| unusable(&error.to_string()))?.json_string
            }
        };
        let columns: Vec<Arc<Field>> = columns_of(&text)?.iter().cloned().collect();
        let lacking = "the query has no column for the field";
        let places = places(("avro", lacking), schema.fields(), &columns)?;
        if let Some(extra) = (0..schema.fields().len()).find(|at| !places.contains(at)) {
            return Err(Error::Option {
                subject: "format avro".into(),
                message: format!(
                    "its schema has no field for the column '{}'",
                    schema.field(extra).name()
                ),
                hint: Some("leave the column out of the query, or add the field".into()),
                location: None,
            });
        }
        let metadata = [(SCHEMA_METADATA_KEY.to_owned(), text.clone())].into();
        let builder = WriterBuilder::new(Schema::new_with_metadata(columns.clone(), metadata));
        let encoder = match &origin.registry {
            None => builder.build_encoder::<AvroBinaryFormat>(),
            Some(registry) => {
                let id = registry.register(&origin.subject, "AVRO", &text)?;
                builder
                    .with_fingerprint_strategy(FingerprintStrategy::Id(id))
                    .build_encoder::<AvroSoeFormat>()
            }
        };
        Ok(Self {
            encoder: encoder.map_err(|error| unusable(&error.to_string()))?,
            schema: Arc::new(Schema::new(columns)),
            places,
        })
    }
}

impl MessageEncoder for AvroEncoder {
    fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<()> {
        let mut columns = Vec::with_capacity(self.places.len());
        for (field, place) in self.schema.fields().iter().zip(&self.places) {
            let mut lost = Vec::new();
            columns.push(fit(batch.column(*place), field, &mut lost)?);
            if let Some(lost) = lost.first() {
                let message = format!("column '{}': {}", field.name(), lost.reason);
                return Err(unwritable("avro", &message));
            }
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let batch = batch.map_err(|error| unwritable("avro", &error))?;
        self.encoder
            .encode(&batch)
            .map_err(|error| unwritable("avro", &error))?;
        for message in self.encoder.flush().iter() {
            out.push(&message);
        }
        Ok(())
    }
}

/// Returns a field of a type that Avro has: without views and dictionaries, whole numbers signed
/// and of 32 or 64 bits, times in micro- or milliseconds.
fn plain_field(field: &Arc<Field>) -> Arc<Field> {
    let data_type = plain_type(field.data_type());
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

fn plain_type(data_type: &DataType) -> DataType {
    use DataType as D;
    match data_type {
        D::Utf8View | D::LargeUtf8 => D::Utf8,
        D::BinaryView | D::LargeBinary => D::Binary,
        D::Int8 | D::Int16 | D::UInt8 | D::UInt16 => D::Int32,
        D::UInt32 => D::Int64,
        D::UInt64 => D::Decimal128(20, 0),
        D::Float16 => D::Float32,
        D::Date64 => D::Date32,
        D::Timestamp(TimeUnit::Second, zone) => D::Timestamp(TimeUnit::Millisecond, zone.clone()),
        D::Decimal32(precision, scale) | D::Decimal64(precision, scale) => D::Decimal128(*precision, *scale),
        D::Dictionary(_, value) => plain_type(value),
        D::List(item) | D::LargeList(item) => D::List(plain_field(item)),
        D::Struct(fields) => D::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    }
}
