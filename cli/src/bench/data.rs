//! Makes a case's data: files in the cache folder, the same on every machine.
//!
//! The file's name holds a hash of what describes it, so that a changed scenario makes new data
//! and several scenarios share what they have in common. Everyone reads the same files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow_ipc::reader::FileReader;
use fletching::Session;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::db_benchmark;
use super::fault::{Fault, Result};
use super::protocol::TableFile;
use super::scenario::{Case, Data, RunKind};

/// Changes whenever the same description would give other data.
const VERSION: u32 = 1;

/// The files of a case.
#[derive(Debug, Clone)]
pub(super) struct DataFiles {
    /// The stream.
    pub(super) input: PathBuf,
    /// How many rows it has.
    pub(super) input_rows: u64,
    /// The tables.
    pub(super) tables: Vec<TableFile>,
}

/// Returns a case's files, making those that are not there. `tell` hears what is made.
///
/// # Errors
/// Fails where a file cannot be made.
pub(super) fn prepare(case: &Case, folder: &Path, tell: impl Fn(&str)) -> Result<DataFiles> {
    fs::create_dir_all(folder)?;
    let is_parquet = case.run.kind == RunKind::Process;
    let mut input = None;
    let mut tables = Vec::new();
    for data in &case.data {
        let mut path = folder.join(file_name(data)?);
        if !path.exists() {
            tell(&format!("making {} of {} rows", data.name, data.rows));
            make(data, &path).map_err(|fault| fault.during(&data.name))?;
        }
        if is_parquet {
            let parquet = path.with_extension("parquet");
            if !parquet.exists() {
                tell(&format!("writing {} as Parquet", data.name));
                write_parquet(&path, &parquet).map_err(|fault| fault.during(&data.name))?;
            }
            path = parquet;
        }
        if data.name == "input" {
            input = Some((path, data.rows));
        } else {
            let (name, key) = (data.name.clone(), data.key.clone());
            tables.push(TableFile { name, path, key });
        }
    }
    let (input, input_rows) = input.ok_or_else(|| Fault::new("no data is named input"))?;
    Ok(DataFiles {
        input,
        input_rows,
        tables,
    })
}

fn file_name(data: &Data) -> Result<String> {
    let described = serde_json::to_string(data)?;
    // FNV-1a, for a name that stays the same from one build to the next.
    let hash = described
        .bytes()
        .chain(VERSION.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Ok(format!("{}-{}-{hash:016x}.arrow", data.name, data.rows))
}

fn make(data: &Data, path: &Path) -> Result<()> {
    if let Some(table) = &data.db_benchmark_join {
        return db_benchmark::make(table, data.rows, data.seed, path);
    }
    // One thread, so that the rows come in one order.
    let builder = Session::builder().connectors(fletching_connectors::all());
    let session = builder.threads(1).build()?;
    session.sql(&script(data, path))?.collect_batches()?;
    Ok(())
}

/// Rows of a row group, as most writers have it.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// Writes an Arrow file as Parquet, with text as plain text: not every rival reads views.
fn write_parquet(arrow: &Path, path: &Path) -> Result<()> {
    let reader = FileReader::try_new_buffered(File::open(arrow)?, None)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    // Under another name until it is whole.
    let unfinished = path.with_extension("unfinished");
    let mut writer = ArrowWriter::try_new(File::create(&unfinished)?, reader.schema(), Some(properties))?;
    for batch in reader {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(fs::rename(unfinished, path)?)
}

/// Writes the SQL that makes a file of rows.
fn script(data: &Data, path: &Path) -> String {
    let columns: Vec<String> = data
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.sql_type))
        .collect();
    let options: Vec<String> = data
        .columns
        .iter()
        .flat_map(|column| {
            let option = |(name, value): (&String, &toml::Value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!(", 'fields.{}.{name}' = {}", column.name, quoted(&text))
            };
            column.options.iter().map(option).collect::<Vec<_>>()
        })
        .collect();
    format!(
        "CREATE STREAM source ({columns}) WITH (connector = 'datagen', rows = {rows}, seed = {seed}{options});\n\
         CREATE SINK made WITH (path = {path}, format = 'arrow') AS {select};",
        columns = columns.join(", "),
        rows = data.rows,
        seed = data.seed,
        options = options.concat(),
        path = quoted(&path.display().to_string()),
        select = data.select.as_deref().unwrap_or("SELECT * FROM source"),
    )
}

/// Writes a text as SQL does.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::super::scenario;
    use super::super::verify::Fingerprint;
    use super::*;

    #[test]
    fn data_is_the_same_each_time() {
        let scenarios = scenario::embedded(1000).unwrap();
        let named = |name: &str| scenarios.iter().find(|s| s.name == name).unwrap();
        for name in ["big-table", "db-benchmark-join"] {
            let case = &named(name).cases[0];
            let fingerprints = [(); 2].map(|()| {
                let folder = tempfile::tempdir().unwrap();
                let files = prepare(case, folder.path(), |_| ()).unwrap();
                (
                    Fingerprint::of_file(&files.input).unwrap(),
                    Fingerprint::of_file(&files.tables[0].path).unwrap(),
                )
            });
            assert_eq!(fingerprints[0], fingerprints[1], "{name}");
            assert_eq!(fingerprints[0].0.rows, 10_000, "{name}");
        }
    }

    #[test]
    fn what_describes_data_names_its_file() {
        let scenarios = scenario::embedded(1).unwrap();
        let data = &scenarios[0].cases[0].data[0];
        let other = Data {
            seed: data.seed + 1,
            ..data.clone()
        };
        assert_ne!(file_name(data).unwrap(), file_name(&other).unwrap());
    }
}
