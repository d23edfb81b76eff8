//! The program `switchyard`: one binary for every part.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A request or a job is hundreds of small allocations; with this one they cost less processor time
/// than with the system's (BENCHMARKS.md, taking webhooks in).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    switchyard::cli::main()
}
