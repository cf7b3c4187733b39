//! The wire view: what crossed a connection, made readable.
//!
//! ```text
//! Recorder (an Observer) -> Seen -> Collector -> Entry -> print -> Line -> Paint -> terminal
//!                                                      -> Tally
//! ```
//!
//! Everything before [`print`] is model and knows of no layout; everything before [`paint`] knows of no colour. Left out:
//! recording to files, and anything that would hold a connection up.

pub(crate) mod collect;
pub(crate) mod event;
pub(crate) mod message;
pub(crate) mod paint;
pub(crate) mod print;
pub(crate) mod tally;
pub(crate) mod text;

#[cfg(test)]
mod tests;
