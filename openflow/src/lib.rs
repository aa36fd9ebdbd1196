//! (code map follows)
