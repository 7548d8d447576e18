//! Bounds of short texts: the statistics of a Parquet column whose texts lie within their views.
//!
//! ```text
//!   view      length │ up to 12 bytes            a comparison of texts is one of whole numbers:
//!   its key   the bytes, the first one highest │ length
//! ```
//!
//! The library compares every text with the least and the greatest so far as bytes of any length,
//! which was a tenth of the time that a file of short texts took. Here the rows of a page are
//! compared by such keys, and the library's statistics are filled in once the column is written: the
//! least and greatest text, and the number of NULLs, of the column and of each page.

use std::ops::Range;

use arrow::array::{Array, StringViewArray};
use arrow::buffer::NullBuffer;
use parquet::basic::{BoundaryOrder, Type};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnIndexBuilder, LevelHistogram};
use parquet::file::statistics::{Statistics, ValueStatistics};

/// The longest text that its view holds.
const INLINE_BYTES_MAX: u32 = 12;

/// The longest text that statistics name whole.
const NAMED_BYTES_MAX: usize = 64;

/// Rows with bounds of their own. Pages end where these do, but for the pages of long batches.
const BLOCK_ROWS: usize = 1000;

/// What is known of the texts that were written to a column of a row group.
#[derive(Debug, Default)]
pub(super) struct TextBounds {
    rows: usize,
    blocks: Vec<Block>,
    nulls: Vec<(Range<usize>, Option<NullBuffer>)>,
}

/// The least and the greatest text of some rows; none where all are NULL.
#[derive(Debug)]
struct Block {
    rows: Range<usize>,
    bounds: Option<(String, String)>,
}

impl TextBounds {
    /// Says whether the texts of a column all lie within their views.
    pub(super) fn serve(texts: &StringViewArray) -> bool {
        texts.views().iter().all(|view| length(*view) <= INLINE_BYTES_MAX)
    }

    /// Takes note of what is written.
    pub(super) fn take(&mut self, texts: &StringViewArray) {
        let nulls = texts.nulls().filter(|nulls| nulls.null_count() > 0);
        self.nulls
            .push((self.rows..self.rows + texts.len(), nulls.cloned()));
        for from in (0..texts.len()).step_by(BLOCK_ROWS) {
            let block = texts.slice(from, BLOCK_ROWS.min(texts.len() - from));
            let rows = self.rows..self.rows + block.len();
            self.rows = rows.end;
            self.blocks.push(Block {
                rows,
                bounds: bounds(&block),
            });
        }
    }

    /// Returns the least and the greatest text of some rows, or of rows beside them where pages do not end as
    /// blocks do.
    fn of(&self, rows: &Range<usize>) -> Option<(&str, &str)> {
        let first = self.blocks.partition_point(|block| block.rows.end <= rows.start);
        let blocks = self.blocks[first..]
            .iter()
            .take_while(|block| block.rows.start < rows.end);
        let bounds = blocks.filter_map(|block| block.bounds.as_ref());
        bounds.fold(None, |all: Option<(&str, &str)>, (least, greatest)| {
            let (least_before, greatest_before) = all.unwrap_or((least, greatest));
            Some((least_before.min(least), greatest_before.max(greatest)))
        })
    }

    /// Returns how many of some rows are NULL.
    fn null_count(&self, rows: &Range<usize>) -> usize {
        let first = self
            .nulls
            .partition_point(|(written, _)| written.end <= rows.start);
        let written = self.nulls[first..]
            .iter()
            .take_while(|(written, _)| written.start < rows.end);
        let count = |(written, nulls): &(Range<usize>, Option<NullBuffer>)| {
            let (from, end) = (rows.start.max(written.start), rows.end.min(written.end));
            let nulls = nulls.as_ref()?;
            Some(nulls.slice(from - written.start, end - from).null_count())
        };
        written.filter_map(count).sum()
    }

    /// Adds the statistics of a column that was written without: those of texts of more than 64 bytes stay
    /// away.
    pub(super) fn complete(&self, column: &mut ColumnCloseResult) -> Result<(), ParquetError> {
        let all = 0..self.rows;
        let nulls = self.null_count(&all);
        let bounds = self.of(&all);
        let levels = |rows: &Range<usize>, nulls: usize| {
            let is_nullable = column.metadata.column_descr().max_def_level() == 1;
            is_nullable.then(|| LevelHistogram::from(vec![to_i64(nulls), to_i64(rows.len() - nulls)]))
        };
        let levels_of_all = levels(&all, nulls);
        let mut pages = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
        let starts = column
            .offset_index
            .iter()
            .flat_map(|index| index.page_locations());
        let starts = starts.map(|page| usize::try_from(page.first_row_index).unwrap_or(0));
        let starts: Vec<usize> = starts.chain([self.rows]).collect();
        let mut order = PageOrder::default();
        for page in starts.windows(2) {
            let page = page[0]..page[1];
            let nulls = self.null_count(&page);
            // A page of NULLs alone has no bounds, whatever its neighbours have.
            let bounds = self.of(&page).filter(|_| nulls < page.len());
            let (least, greatest) = bounds.unwrap_or_default();
            order.add(bounds);
            pages.append(bounds.is_none(), least.into(), greatest.into(), to_i64(nulls));
            pages.append_histograms(&None, &levels(&page, nulls));
        }
        pages.set_boundary_order(order.settle());

        let is_named =
            bounds.is_none_or(|(least, greatest)| least.len().max(greatest.len()) <= NAMED_BYTES_MAX);
        let named = bounds.filter(|_| is_named);
        let statistics = ValueStatistics::new(
            named.map(|(least, _)| ByteArray::from(least)),
            named.map(|(_, greatest)| ByteArray::from(greatest)),
            None,
            u64::try_from(nulls).ok(),
            false,
        );
        let statistics = statistics
            .with_min_is_exact(named.is_some())
            .with_max_is_exact(named.is_some());
        let text_bytes = column.offset_index.as_ref();
        let text_bytes = text_bytes.and_then(|index| index.unencoded_byte_array_data_bytes());
        let metadata = column.metadata.clone().into_builder();
        column.metadata = metadata
            .set_statistics(Statistics::ByteArray(statistics))
            .set_definition_level_histogram(levels_of_all)
            .set_unencoded_byte_array_data_bytes(text_bytes.map(|pages| pages.iter().sum()))
            .build()?;
        if is_named && column.offset_index.is_some() {
            column.column_index = Some(pages.build()?);
        }
        Ok(())
    }
}

/// Whether pages follow each other by their bounds.
#[derive(Debug, Default)]
struct PageOrder<'a> {
    last: Option<(&'a str, &'a str)>,
    falls: bool,
    rises: bool,
}

impl<'a> PageOrder<'a> {
    fn add(&mut self, page: Option<(&'a str, &'a str)>) {
        let Some((least, greatest)) = page else {
            return;
        };
        if let Some((least_before, greatest_before)) = self.last {
            self.falls |= least < least_before || greatest < greatest_before;
            self.rises |= least > least_before || greatest > greatest_before;
        }
        self.last = page;
    }

    fn settle(&self) -> BoundaryOrder {
        match (self.falls, self.rises) {
            (false, _) => BoundaryOrder::ASCENDING,
            (true, false) => BoundaryOrder::DESCENDING,
            (true, true) => BoundaryOrder::UNORDERED,
        }
    }
}

/// Returns the least and the greatest of some texts, unless all are NULL.
fn bounds(texts: &StringViewArray) -> Option<(String, String)> {
    let is_null = |row: usize| texts.nulls().is_some_and(|nulls| nulls.is_null(row));
    let (mut least, mut greatest, mut too_long) = (u128::MAX, 0, 0);
    for (row, view) in texts.views().iter().enumerate() {
        if is_null(row) {
            continue;
        }
        too_long |= length(*view).saturating_sub(INLINE_BYTES_MAX);
        // Soon hardly any text is less or greater than all before it: branches are faster here.
        let key = key(*view);
        if key > greatest {
            greatest = key;
        }
        if key < least {
            least = key;
        }
    }
    if too_long == 0 {
        // No text has the greatest key there is.
        return (least < u128::MAX).then(|| (text(least), text(greatest)));
    }
    let least = texts.iter().flatten().min()?;
    let greatest = texts.iter().flatten().max()?;
    Some((least.into(), greatest.into()))
}

#[expect(clippy::cast_possible_truncation, reason = "the length is a view's low word")]
fn length(view: u128) -> u32 {
    view as u32
}

/// Returns what orders a view that holds its text: of two texts that are alike but for zeros at the end of
/// one, the shorter comes first.
fn key(view: u128) -> u128 {
    (view >> 32).swap_bytes() | u128::from(length(view))
}

/// Returns the text of a key.
fn text(key: u128) -> String {
    let bytes = key.to_be_bytes();
    let used = bytes.len().min(length(key) as usize);
    String::from_utf8_lossy(&bytes[..used]).into_owned()
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_writer::compute_leaves;
    use parquet::column::writer::ColumnCloseResult;
    use parquet::file::page_index::column_index::ColumnIndexMetaData;
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    use super::TextBounds;

    /// Writes texts with statistics of the library, and without.
    fn written(texts: &[StringViewArray], is_nullable: bool) -> [ColumnCloseResult; 2] {
        [EnabledStatistics::Page, EnabledStatistics::None].map(|statistics| {
            let field = Field::new("text", DataType::Utf8View, is_nullable);
            let schema = Arc::new(Schema::new(vec![field.clone()]));
            let properties = WriterProperties::builder().set_statistics_enabled(statistics);
            let writer = ArrowWriter::try_new(io::sink(), schema, Some(properties.build())).unwrap();
            let (_file, factory) = writer.into_serialized_writer().unwrap();
            let mut writer = factory.create_column_writers(0).unwrap().remove(0);
            for texts in texts {
                let texts: ArrayRef = Arc::new(texts.clone());
                writer.write(&compute_leaves(&field, &texts).unwrap()[0]).unwrap();
            }
            writer.close().unwrap().close().clone()
        })
    }

    /// Returns what the library says of texts, and what we say.
    fn both(texts: &[StringViewArray], is_nullable: bool) -> [ColumnCloseResult; 2] {
        let [expected, mut completed] = written(texts, is_nullable);
        let mut bounds = TextBounds::default();
        texts.iter().for_each(|texts| bounds.take(texts));
        bounds.complete(&mut completed).unwrap();
        [expected, completed]
    }

    fn check(texts: &[StringViewArray], is_nullable: bool) {
        let [expected, completed] = both(texts, is_nullable);
        assert_eq!(completed.metadata, expected.metadata);
        assert_eq!(completed.column_index, expected.column_index);
    }

    fn texts(rows: std::ops::Range<usize>, text: impl Fn(usize) -> Option<String>) -> StringViewArray {
        rows.map(text).collect()
    }

    #[test]
    fn says_what_the_library_says() {
        let symbol = |row: usize| Some(format!("SYM{}", row * 7919 % 1000));
        for is_nullable in [false, true] {
            // Many batches a page, and many pages a batch.
            let batches: Vec<_> = (0..50_000)
                .step_by(8000)
                .map(|from| texts(from..from + 8000, symbol))
                .collect();
            check(&batches, is_nullable);
            check(&[texts(0..70_000, symbol)], is_nullable);
            check(&[texts(0..0, symbol)], is_nullable);
            check(&[], is_nullable);
        }
        // Pages in order, in the opposite one, and all alike.
        check(&[texts(0..70_000, |row| Some(format!("{row:08}")))], true);
        check(
            &[texts(0..70_000, |row| Some(format!("{:08}", 70_000 - row)))],
            true,
        );
        check(&[texts(0..70_000, |_| Some("gold".into()))], true);
        check(&[texts(0..70_000, |_| None)], true);
        let odd = [
            "",
            "a",
            "a\0",
            "a\0\0",
            "é",
            "~",
            "twelve bytes",
            "thirteen byte",
            "𝄞",
        ];
        for text in 0..odd.len() {
            check(
                &[texts(0..3, |row| Some(odd[(text + row) % odd.len()].into()))],
                true,
            );
            check(&[texts(0..1, |_| Some(odd[text].into()))], true);
        }
        let long = |bytes: usize| move |row: usize| Some("b".repeat(if row == 25_000 { bytes } else { 3 }));
        check(&[texts(0..70_000, long(64))], true);
    }

    #[test]
    fn bounds_pages_with_nulls_that_end_within_a_block() {
        let text = |row: usize| (!row.is_multiple_of(3) && row < 45_000).then(|| format!("{row:08}"));
        let [expected, completed] = both(&[texts(0..70_000, text)], true);
        assert_eq!(completed.metadata, expected.metadata);
        let (
            Some(ColumnIndexMetaData::BYTE_ARRAY(expected)),
            Some(ColumnIndexMetaData::BYTE_ARRAY(completed)),
        ) = (expected.column_index, completed.column_index)
        else {
            panic!("no index of pages");
        };
        let pages = u64::try_from(expected.min_values_iter().count()).unwrap();
        assert!(pages > 2);
        for page in 0..usize::try_from(pages).unwrap() {
            assert_eq!(completed.is_null_page(page), expected.is_null_page(page));
            assert_eq!(completed.null_count(page), expected.null_count(page));
            assert!(completed.min_value(page) <= expected.min_value(page));
            assert!(completed.max_value(page) >= expected.max_value(page));
        }
        assert!((0..usize::try_from(pages).unwrap()).any(|page| expected.is_null_page(page)));
    }

    #[test]
    fn names_no_long_texts() {
        let text = |row: usize| Some("b".repeat(if row == 2500 { 65 } else { 3 }));
        let [expected, completed] = both(&[texts(0..5000, text)], true);
        let (expected, statistics) = (expected.metadata, completed.metadata.statistics().unwrap());
        assert_eq!(
            statistics.null_count_opt(),
            expected.statistics().unwrap().null_count_opt()
        );
        assert_eq!(
            (statistics.min_bytes_opt(), statistics.max_bytes_opt()),
            (None, None)
        );
        assert_eq!(completed.column_index, None);
    }

    #[test]
    fn serves_texts_in_their_views_alone() {
        assert!(TextBounds::serve(&StringViewArray::from(vec!["twelve bytes"])));
        assert!(!TextBounds::serve(&StringViewArray::from(vec![
            "",
            "thirteen byte"
        ])));
    }
}
