//! The lock and the counters that tasks share: the standard library's, or, built with `--cfg clearway_loom`, loom's, whose models try every
//! order of their steps (`cargo xtask ci loom`).

#[cfg(clearway_loom)]
pub(crate) use loom::sync::Mutex;
#[cfg(not(clearway_loom))]
pub(crate) use std::sync::Mutex;

#[cfg(clearway_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
#[cfg(not(clearway_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
