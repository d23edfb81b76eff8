//! Switchyard, the program: it reads the configuration, puts the parts together and runs them.
//! Also a library, so that the tests start the same private servers and read the same settings.

pub mod fault;
pub mod local;

pub use fault::Fault;
