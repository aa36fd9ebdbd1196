//! (code map follows)

pub mod offline;
