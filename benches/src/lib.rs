//! Data for the benches: tables and probes that are the same at every run.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringViewArray};

/// A small generator of numbers: fast, the same everywhere, good enough to defeat a cache.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        u64::try_from((u128::from(z) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

/// Which keys a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// 0, 1, 2, …: directly addressed.
    Dense,
    /// Whole numbers far apart: hashed.
    Sparse,
    /// Texts of 16 bytes.
    Text,
}

impl Keys {
    /// Names the keys in a bench.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "i64-dense",
            Self::Sparse => "i64",
            Self::Text => "text16",
        }
    }

    /// Makes a column of the keys with these numbers.
    pub fn column(self, numbers: impl Iterator<Item = u64>) -> ArrayRef {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        match self {
            Self::Dense => Arc::new(Int64Array::from_iter_values(numbers.map(signed))),
            Self::Sparse => Arc::new(Int64Array::from_iter_values(
                numbers.map(|number| signed(number * 1_000_003 + 17)),
            )),
            Self::Text => Arc::new(StringViewArray::from_iter_values(
                numbers.map(|number| format!("key-{number:012}")),
            )),
        }
    }
}

/// Makes `rows` probe keys against a table of `table` rows, of which about `hit` in 100 match.
pub fn probe_keys(keys: Keys, rows: u64, table: u64, hit: u64, seed: u64) -> ArrayRef {
    let mut numbers = Numbers::new(seed);
    keys.column((0..rows).map(|_| {
        let miss = numbers.below(100) >= hit;
        numbers.below(table) + if miss { table } else { 0 }
    }))
}

/// Makes four payload columns: BIGINT, DOUBLE, a text of 12 bytes, DECIMAL.
#[expect(clippy::cast_precision_loss, reason = "any double will do")]
pub fn payload(rows: u64) -> Vec<(&'static str, ArrayRef)> {
    let whole = (0..rows).map(|row| i64::try_from(row).unwrap_or(0));
    vec![
        ("a", Arc::new(Int64Array::from_iter_values(whole)) as ArrayRef),
        (
            "b",
            Arc::new(Float64Array::from_iter_values(
                (0..rows).map(|row| row as f64 * 0.5),
            )),
        ),
        (
            "c",
            Arc::new(StringViewArray::from_iter_values(
                (0..rows).map(|row| format!("text{row:08}")),
            )),
        ),
        (
            "d",
            Arc::new(Decimal128Array::from_iter_values(
                (0..rows).map(|row| i128::from(row) * 100),
            )),
        ),
    ]
}

/// The three tables of the `trades` workload: 5,000 users, their limits, 1,000 symbols.
///
/// # Panics
/// Never: the columns of each table are of one length.
#[expect(clippy::expect_used, reason = "the columns are made here")]
pub fn trade_tables() -> Vec<(&'static str, &'static str, RecordBatch)> {
    let users = || Keys::Dense.column(1..=5000);
    let text = |prefix: &str, rows: u64| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(
            (1..=rows).map(|row| format!("{prefix}{row}")),
        ))
    };
    let decimal = |rows: u64, times: i128| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter_values(
            (1..=rows).map(|row| i128::from(row) * times),
        ))
    };
    let table =
        |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).expect("columns of one length");
    vec![
        (
            "user_profiles",
            "user_id",
            table(vec![
                ("user_id", users()),
                ("tier", text("tier-", 5000)),
                ("risk_score", decimal(5000, 3)),
            ]),
        ),
        (
            "limits",
            "user_id",
            table(vec![("user_id", users()), ("position_limit", decimal(5000, 100))]),
        ),
        (
            "market_data",
            "symbol",
            table(vec![
                ("symbol", text("SYM", 1000)),
                ("current_price", decimal(1000, 7)),
            ]),
        ),
    ]
}

/// A batch of trades against [`trade_tables`].
///
/// # Panics
/// Never: the columns are of one length.
#[expect(clippy::expect_used, reason = "the columns are made here")]
pub fn trades(rows: u64, seed: u64) -> RecordBatch {
    let mut numbers = Numbers::new(seed);
    let mut draw = |bound: u64| -> Vec<u64> { (0..rows).map(|_| numbers.below(bound) + 1).collect() };
    let symbols = draw(1000);
    let symbol: ArrayRef = Arc::new(StringViewArray::from_iter_values(
        symbols.iter().map(|number| format!("SYM{number}")),
    ));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("trade_id", Keys::Dense.column(0..rows)),
        ("user_id", Keys::Dense.column(draw(5000).into_iter())),
        ("symbol", symbol),
        ("quantity", Keys::Dense.column(draw(500).into_iter())),
        ("amount", Keys::Dense.column(draw(20_000).into_iter())),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// The enrichment of the `trades` workload; about half of the rows pass its filter.
pub const TRADES_QUERY: &str = "SELECT t.trade_id, t.symbol, t.quantity, u.tier, u.risk_score, \
     l.position_limit, m.current_price FROM trades t \
     JOIN user_profiles u ON t.user_id = u.user_id \
     JOIN limits l ON t.user_id = l.user_id \
     JOIN market_data m ON t.symbol = m.symbol \
     WHERE t.amount > 10000";
