//! ofswitchd
fn main() {}
