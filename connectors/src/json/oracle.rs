//! The decoder against Arrow's own JSON reader, over random schemas and documents: the same rows,
//! the same bad cells, the same refusals.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow_json::ReaderBuilder;

use super::{Decoded, ObjectDecoder};
use crate::file::text::json_shape::{text_type, typed};

/// Decodes each record with Arrow's reader into text, and the text as CSV's is.
struct Oracle {
    fields: Fields,
    texts: Arc<Schema>,
}

impl Oracle {
    fn new(fields: &Fields) -> Self {
        let text = |field: &Arc<Field>| Field::new(field.name(), text_type(field.data_type()), true);
        Self {
            fields: fields.clone(),
            texts: Arc::new(Schema::new(fields.iter().map(text).collect::<Vec<_>>())),
        }
    }

    fn decoder(&self, rows: usize) -> arrow_json::reader::Decoder {
        ReaderBuilder::new(Arc::clone(&self.texts))
            .with_coerce_primitive(true)
            .with_batch_size(rows + 1)
            .build_decoder()
            .unwrap()
    }

    fn is_good(&self, record: &[u8]) -> bool {
        let mut decoder = self.decoder(1);
        let read = decoder.decode(record);
        read.is_ok_and(|read| read == record.len())
            && !decoder.has_partial_record()
            && decoder.len() == 1
            && decoder.flush().is_ok()
    }

    fn decode(&self, records: &[&[u8]]) -> Decoded {
        let mut decoder = self.decoder(records.len());
        records.iter().for_each(|record| {
            decoder.decode(record).unwrap();
        });
        let texts = decoder.flush().unwrap().unwrap();
        let (mut columns, mut bad) = (Vec::new(), Vec::new());
        for (at, (field, column)) in self.fields.iter().zip(texts.columns()).enumerate() {
            let mut cells = Vec::new();
            columns.push(typed(column, field.data_type(), &mut cells).unwrap());
            bad.extend(cells.into_iter().map(|cell| (at, cell)));
        }
        Decoded {
            rows: records.len(),
            columns,
            bad,
        }
    }
}

/// Decodes records both ways; returns how many are good.
fn compare(fields: &Fields, decoder: &mut ObjectDecoder, records: &[Vec<u8>]) -> usize {
    let oracle = Oracle::new(fields);
    let mut good: Vec<&[u8]> = Vec::new();
    for record in records {
        let shown = String::from_utf8_lossy(record);
        let pushed = decoder.push(record);
        let is_good = oracle.is_good(record);
        assert_eq!(pushed.is_ok(), is_good, "{fields:?}\n{shown}\n{pushed:?}");
        if is_good {
            good.push(record);
        }
    }
    let found = decoder.finish().unwrap();
    assert_eq!(found.rows, good.len());
    if good.is_empty() {
        return 0;
    }
    let expected = oracle.decode(&good);
    let shown = || {
        let texts: Vec<_> = good
            .iter()
            .map(|record| String::from_utf8_lossy(record))
            .collect();
        format!("{fields:?}\n{}", texts.join("\n"))
    };
    assert_eq!(found.columns, expected.columns, "{}", shown());
    assert_eq!(found.bad, expected.bad, "{}", shown());
    good.len()
}

/// Dice that fall the same way for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % sides as u64).unwrap()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }
}

const NAMES: &[&str] = &[
    "id",
    "price",
    "a",
    "a longer key than most",
    "ä",
    "q\"b",
    "s\\n",
    "",
    "id2",
];

fn scalar(dice: &mut Dice) -> DataType {
    match dice.roll(14) {
        0 | 1 => DataType::Int64,
        2 => DataType::Int32,
        3 => DataType::UInt8,
        4 => DataType::Float64,
        5 => DataType::Decimal128(12, 3),
        6 => DataType::Boolean,
        7 => DataType::Timestamp(TimeUnit::Microsecond, None),
        8 => DataType::Timestamp(TimeUnit::Millisecond, Some("+02:00".into())),
        9 => DataType::Date32,
        10 => DataType::Binary,
        _ => DataType::Utf8View,
    }
}

fn data_type(dice: &mut Dice, depth: usize) -> DataType {
    if depth == 0 || dice.roll(3) > 0 {
        return scalar(dice);
    }
    let inner = |dice: &mut Dice| {
        let data_type = data_type(dice, depth - 1);
        // Text is never a bad cell, which may not be NULL where a type allows none.
        let is_nullable = data_type != DataType::Utf8View || dice.roll(3) > 0;
        (data_type, is_nullable)
    };
    match dice.roll(5) {
        0 | 1 => {
            let field = |name: &&str, dice: &mut Dice| {
                let (data_type, is_nullable) = inner(dice);
                Field::new(*name, data_type, is_nullable)
            };
            let count = 1 + dice.roll(3);
            DataType::Struct(NAMES.iter().take(count).map(|name| field(name, dice)).collect())
        }
        2 => DataType::FixedSizeList(Arc::new(Field::new("item", data_type(dice, depth - 1), true)), 2),
        3 => {
            let entry = vec![
                Field::new("key", DataType::Utf8View, false),
                Field::new("value", data_type(dice, depth - 1), true),
            ];
            DataType::Map(
                Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)),
                false,
            )
        }
        _ => {
            let (data_type, is_nullable) = inner(dice);
            let item = Arc::new(Field::new("item", data_type, is_nullable));
            if dice.one_in(2) {
                DataType::List(item)
            } else {
                DataType::LargeList(item)
            }
        }
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "7",
    "42",
    "1.5",
    "2E3",
    "5.00",
    "1e400",
    "-0",
    "1.0005",
    "123456789012345678901234567890",
    "9223372036854775807",
    "9223372036854775808",
    "1-2",
    "1e",
    "00012",
    "300",
    "0.1",
    "-12.345",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "plain",
    "2024-01-02",
    "2024-01-02T03:04:05.678901",
    "2024-01-02 03:04:05Z",
    "12:30",
    "true",
    "no",
    "1.25",
    "00ff",
    "ä€😀",
    "a\\nb",
    "\\u00e4",
    "\\ud83d\\ude00",
    "\\\"quoted\\\"",
    "\\\\",
    "\\/",
    "a text that is longer than a view holds inline",
    "\u{1}",
    "nul\u{0}l",
    "exactly8",
    "exactly twelve and then some more text up to and past twenty-four bytes \\t end",
];
/// Escapes that are none.
const BROKEN: &[&str] = &["\\ud83d", "\\ude00", "\\u12", "\\x"];
const BLANKS: &[&str] = &["", "", "", "", " ", "\t", "\r\n", "  ", ",", "\u{b}"];

fn blank(dice: &mut Dice, out: &mut String) {
    if dice.one_in(6) {
        out.push_str(dice.pick(BLANKS));
    }
}

fn quoted(dice: &mut Dice, out: &mut String) {
    out.push('"');
    for _ in 0..=dice.roll(2) {
        let texts = if dice.one_in(60) { BROKEN } else { TEXTS };
        out.push_str(dice.pick(texts));
    }
    out.push('"');
}

/// Writes any value at all.
fn anything(dice: &mut Dice, depth: usize, out: &mut String) {
    match dice.roll(if depth == 0 { 6 } else { 8 }) {
        0 | 1 => out.push_str(dice.pick(NUMBERS)),
        2 | 3 => quoted(dice, out),
        4 => out.push_str(dice.pick(&["true", "false"])),
        5 => out.push_str("null"),
        6 => members(dice, out, "[]", |dice, out| anything(dice, depth - 1, out)),
        _ => members(dice, out, "{}", |dice, out| {
            key(dice, dice_name, out);
            anything(dice, depth - 1, out);
        }),
    }
}

fn dice_name(dice: &mut Dice) -> String {
    dice.pick(NAMES).to_owned()
}

fn members(dice: &mut Dice, out: &mut String, brackets: &str, member: impl Fn(&mut Dice, &mut String)) {
    out.push_str(&brackets[..1]);
    let count = dice.roll(4);
    for at in 0..count {
        blank(dice, out);
        member(dice, out);
        blank(dice, out);
        if at + 1 < count && !dice.one_in(40) {
            out.push(',');
        }
    }
    out.push_str(&brackets[1..]);
}

/// Writes a key and its colon, at times with an escape that need not be.
fn key(dice: &mut Dice, name: impl Fn(&mut Dice) -> String, out: &mut String) {
    let name = name(dice);
    out.push('"');
    for character in name.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            'i' if dice.one_in(10) => out.push_str("\\u0069"),
            other => out.push(other),
        }
    }
    out.push('"');
    blank(dice, out);
    out.push(':');
    blank(dice, out);
}

/// Writes a value, mostly one of the type.
fn value(dice: &mut Dice, data_type: &DataType, out: &mut String) {
    if dice.one_in(30) {
        return anything(dice, 2, out);
    }
    match data_type {
        DataType::Struct(fields) => object(dice, fields, out),
        DataType::List(item) | DataType::LargeList(item) => {
            members(dice, out, "[]", |dice, out| value(dice, item.data_type(), out));
        }
        DataType::FixedSizeList(item, _) => {
            out.push('[');
            for _ in 0..if dice.one_in(8) { 3 } else { 2 } {
                value(dice, item.data_type(), out);
                out.push(',');
            }
            out.push(']');
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(entry) = entries.data_type() else {
                return;
            };
            members(dice, out, "{}", |dice, out| {
                key(dice, dice_name, out);
                value(dice, entry[1].data_type(), out);
            });
        }
        DataType::Boolean => out.push_str(dice.pick(&["true", "false", "1", "\"yes\"", "null"])),
        DataType::Utf8View | DataType::Binary | DataType::Date32 | DataType::Timestamp(_, _) => {
            quoted(dice, out);
        }
        _ if dice.one_in(4) => quoted(dice, out),
        _ => out.push_str(dice.pick(NUMBERS)),
    }
}

fn object(dice: &mut Dice, fields: &Fields, out: &mut String) {
    out.push('{');
    let (skips, shuffles) = (dice.one_in(2), dice.one_in(4));
    let mut order: Vec<usize> = (0..fields.len()).filter(|_| !(skips && dice.one_in(4))).collect();
    if shuffles && order.len() > 1 {
        let at = dice.roll(order.len());
        order.rotate_left(at);
        order.push(order[0]);
    }
    for (at, field) in order.iter().enumerate() {
        if dice.one_in(5) {
            key(dice, dice_name, out);
            anything(dice, 3, out);
            out.push(',');
        }
        key(dice, |_| fields[*field].name().clone(), out);
        value(dice, fields[*field].data_type(), out);
        if at + 1 < order.len() {
            out.push(',');
            blank(dice, out);
        }
    }
    out.push('}');
}

/// Damages a record now and then: cut, changed, or with a byte too many.
fn damaged(dice: &mut Dice, mut record: Vec<u8>) -> Vec<u8> {
    let at = dice.roll(record.len());
    let byte = *dice.pick(&[b"\"", b"\\", b"{", b"}", b"[", b"]", b":", b"\xc3", b"x", b"0"]);
    match dice.roll(12) {
        0 => record.truncate(at),
        1 => record[at] = byte[0],
        2 => record.insert(at, byte[0]),
        _ => {}
    }
    record
}

fn fields(dice: &mut Dice) -> Fields {
    let count = 1 + dice.roll(NAMES.len());
    NAMES[..count]
        .iter()
        .map(|name| Field::new(*name, data_type(dice, 3), true))
        .collect()
}

#[test]
fn random_documents_decode_as_arrow_decodes_them() {
    let mut good = 0;
    for seed in 0..400 {
        let dice = &mut Dice(seed);
        let fields = fields(dice);
        let mut decoder = ObjectDecoder::new(&fields).unwrap();
        // The second batch meets what the first one has taught.
        for _ in 0..2 {
            let records: Vec<Vec<u8>> = (0..20)
                .map(|_| {
                    let mut text = String::new();
                    object(dice, &fields, &mut text);
                    blank(dice, &mut text);
                    damaged(dice, text.into_bytes())
                })
                .collect();
            good += compare(&fields, &mut decoder, &records);
        }
    }
    // Neither all is refused nor nothing.
    assert!(
        (4_000..15_000).contains(&good),
        "{good} of 16,000 records are good"
    );
}

#[test]
fn records_that_are_cut_anywhere_are_refused_and_leave_nothing() {
    let dice = &mut Dice(7);
    for _ in 0..20 {
        let fields = fields(dice);
        let mut text = String::new();
        object(dice, &fields, &mut text);
        let whole = text.into_bytes();
        let mut records: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
        records.push(whole);
        compare(&fields, &mut ObjectDecoder::new(&fields).unwrap(), &records);
    }
}

#[test]
fn of_equal_keys_the_last_counts_whatever_the_first_was() {
    let item = Field::new("item", DataType::Int64, true);
    let fields: Fields = vec![
        Field::new("n", DataType::Int64, true),
        Field::new("l", DataType::List(Arc::new(item)), true),
    ]
    .into();
    let records = [
        r#"{"n": "x", "n": 1}"#,
        r#"{"n": {}, "n": 2, "l": [1, "x"], "l": [2]}"#,
        r#"{"n": 3, "n": {}}"#,
        r#"{"l": 4, "n": 4, "l": []}"#,
        r#"{"n": 5, "n": null}"#,
    ];
    let records: Vec<Vec<u8>> = records.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut decoder = ObjectDecoder::new(&fields).unwrap();
    assert_eq!(compare(&fields, &mut decoder, &records), 4);
}

#[test]
fn a_key_of_a_map_that_is_not_of_its_type_is_a_bad_cell() {
    let entry = vec![
        Field::new("key", DataType::Int64, false),
        Field::new("value", DataType::Int64, true),
    ];
    let entries = Field::new("entries", DataType::Struct(entry.into()), false);
    let fields: Fields = vec![Field::new("m", DataType::Map(Arc::new(entries), false), true)].into();
    let mut decoder = ObjectDecoder::new(&fields).unwrap();
    decoder.push(br#"{"m": {"1": 2}}"#).unwrap();
    decoder.push(br#"{"m": {"1": 2, "x": 3}}"#).unwrap();
    let decoded = decoder.finish().unwrap();
    assert_eq!(decoded.columns[0].len(), 2);
    let bad: Vec<_> = decoded
        .bad
        .iter()
        .map(|(field, cell)| (*field, cell.row, cell.found.as_str()))
        .collect();
    assert_eq!(bad, [(0, 1, "x")]);
}

#[test]
fn no_field_is_needed() {
    let mut decoder = ObjectDecoder::new(&Fields::empty()).unwrap();
    assert_eq!(decoder.push(br#"{"a": [1, {"b": null}]}"#), Ok(()));
    assert!(decoder.push(b"{").is_err() && decoder.push(b"7").is_err() && decoder.push(b"").is_err());
    let decoded = decoder.finish().unwrap();
    let columns: Vec<ArrayRef> = Vec::new();
    assert_eq!((decoded.rows, decoded.columns), (1, columns));
}
