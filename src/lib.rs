//! **trainyard**: how should this neural network be prepared, trained and served in parallel on that
//! hardware, what will it cost, and will it still learn?
//!
//! The simulator is a small compiler with two back ends. YAML becomes a scenario; policies turn it
//! into plans; plans become one [`program`]; the [`runtime`] finds out *when* each operation happens
//! and calls [`numeric`], which finds out *what* it computes; spans become [`metrics`], metrics a
//! [`report`].
//!
//! The rooms, in reading order. Imports go down, and on a floor to the left (a test keeps it so).
//!
//! | floor | rooms |
//! |---|---|
//! | 8 the door | [`config`], [`cli`] |
//! | 7 the office | [`planning`], [`validation`] |
//! | 6 the gallery | `metrics`, `report` |
//! | 5 the trades | [`training`], [`preparation`], [`tasks`], [`serving`], [`cluster`] |
//! | 4 the works | `program`, `runtime`, [`numeric`] |
//! | 3 physics | [`compute`], [`network`], [`collective`] |
//! | 2 the world | [`hardware`], [`model`], [`parallel`] |
//! | 1 clockwork | [`engine`], [`trace`] |
//! | 0 words | [`units`], [`ids`], [`rng`], [`registry`] |

#![warn(missing_docs)]
// Formulas in comments write their indices in brackets, as papers do; rustdoc takes them for links.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links)]

pub mod cli;
pub mod cluster;
pub mod collective;
pub mod compute;
pub mod config;
pub mod engine;
pub mod hardware;
pub mod ids;
pub mod metrics;
pub mod model;
pub mod network;
pub mod numeric;
pub mod parallel;
pub mod planning;
pub mod preparation;
pub mod program;
pub mod registry;
pub mod report;
pub mod rng;
pub mod runtime;
pub mod serving;
pub mod tasks;
pub mod trace;
pub mod training;
pub mod units;
pub mod validation;
