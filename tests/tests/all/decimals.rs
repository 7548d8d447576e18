//! Decimal arithmetic against `rust_decimal`: products, totals and averages are exact to the digit.

use std::str::FromStr;

use arrow::util::display::array_value_to_string;
use fletching::Session;
use proptest::prelude::{prop, prop_assert_eq};
use rust_decimal::{Decimal, RoundingStrategy};

use crate::seed::runner;

/// Returns the only row of a query as text.
fn one_row(sql: &str) -> Vec<String> {
    let batches = Session::new()
        .unwrap()
        .sql(sql)
        .unwrap()
        .collect_batches()
        .unwrap();
    let batch = batches.iter().find(|batch| batch.num_rows() == 1).unwrap();
    batch
        .columns()
        .iter()
        .map(|column| array_value_to_string(column, 0).unwrap())
        .collect()
}

#[test]
fn totals_averages_and_products_are_those_of_an_exact_decimal() {
    let cents = prop::collection::vec(-999_999_999_999_i64..=999_999_999_999, 1..12);
    runner("decimals", 200)
        .run(&cents, |cents| {
            let amounts: Vec<Decimal> = cents.iter().map(|&cents| Decimal::new(cents, 2)).collect();
            let values = amounts
                .iter()
                .map(|amount| format!("(CAST('{amount}' AS DECIMAL(12,2)))"))
                .collect::<Vec<_>>()
                .join(", ");
            let found = one_row(&format!(
                "SELECT SUM(a) AS total, AVG(a) AS mean, SUM(a * 1.0725) AS taxed FROM (VALUES {values}) t(a)"
            ));
            let total: Decimal = amounts.iter().sum();
            let mean = (total / Decimal::from(amounts.len()))
                .round_dp_with_strategy(6, RoundingStrategy::MidpointAwayFromZero);
            let taxed: Decimal = amounts.iter().map(|amount| amount * Decimal::new(10725, 4)).sum();
            for (found, expected) in found.iter().zip([total, mean, taxed]) {
                prop_assert_eq!(Decimal::from_str(found).unwrap(), expected);
            }
            Ok(())
        })
        .unwrap();
}
