//! What a reader gets to see: reports, and how they are drawn and written.
//!
//! Each trade has a folder of its own that turns its outcome into a summary, tables and figures; how
//! pictures, pages, traces and files are made is common to all.

pub mod audit;
pub mod cluster;
pub mod comparison;
mod escape;
pub mod figure;
pub mod html;
pub mod kernel;
pub mod machine;
pub mod packets;
pub mod perfetto;
pub mod preparation;
pub mod serving;
pub mod stages;
pub mod table;
pub mod tasks;
pub mod traffic;
pub mod training;
pub mod writer;
