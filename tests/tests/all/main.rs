//! One binary for all tests of this crate: compiled and linked once.
#![allow(clippy::unwrap_used, reason = "a test ends where an unwrap fails")]

mod scripts;
