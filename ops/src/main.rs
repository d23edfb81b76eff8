//! The program `switchyard`.

fn main() {}
