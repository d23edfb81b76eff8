//! The program `switchyard`: one binary for every part.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchyard::cli::main()
}
