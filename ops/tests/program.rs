//! The program answers at all. Having a test here makes cargo build the program whenever the tests
//! are built; the tests in `tests/it` find it beside their own binary.
#![allow(missing_docs)]

use std::process::Command;

#[test]
fn it_says_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_switchyard")).arg("--version").output();
    let output = output.expect("the program runs");
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), format!("switchyard {}", env!("CARGO_PKG_VERSION")));
}
