//! ofctl
fn main() {}
