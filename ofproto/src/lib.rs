//! (code map follows)
pub mod conn;
