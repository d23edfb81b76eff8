//! Archives on what they are for: a real directory, and two real S3 servers that the tests start. moto keeps
//! conditional writes and unfinished uploads; s3s-fs checks signatures and checksums.
#![allow(clippy::unwrap_used)]

mod contract;
mod directory;
mod proxy;
mod s3;
mod s3_faults;
mod s3_role;
mod servers;
