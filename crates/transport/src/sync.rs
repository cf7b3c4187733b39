//! The lock that tasks share: the standard library's, or, built with `--cfg clearway_loom`, loom's, whose models try every
//! order of their steps (`cargo xtask ci loom`).

#[cfg(clearway_loom)]
pub(crate) use loom::sync::Mutex;
#[cfg(not(clearway_loom))]
pub(crate) use std::sync::Mutex;
