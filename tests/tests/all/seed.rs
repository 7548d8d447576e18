//! Random cases from a seed that a failure prints: `FLETCHING_TEST_SEED=N` runs them again.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const SEED: u64 = 20_240_229;

/// Returns the seed of this run.
pub(crate) fn seed() -> u64 {
    match std::env::var("FLETCHING_TEST_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => SEED,
    }
}

/// Returns a runner whose cases depend on the seed and on `what` alone.
pub(crate) fn runner(what: &str, cases: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    for (at, byte) in what.bytes().enumerate() {
        let place = &mut bytes[8 + at % 24];
        *place = place.rotate_left(3) ^ byte;
    }
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Draws one value.
pub(crate) fn draw<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}
