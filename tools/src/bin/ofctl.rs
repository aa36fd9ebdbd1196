//! The command line client; see [`tools::ofctl`].
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tools::ofctl::run(std::env::args().skip(1)).into()
}
