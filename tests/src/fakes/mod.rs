//! Stand-ins for the providers: real servers on free ports that speak the providers' protocols,
//! answer as a script says, and keep a record of everything that reached their sockets.

mod graph;
mod http;
mod meta;
mod receiver;
mod record;
mod smtp;
mod smtp_session;
mod stripe;
mod twilio;

pub use graph::{FakeGraph, GraphStep};
pub use http::HttpStep;
pub use meta::FakeMeta;
pub use receiver::{FakeReceiver, headers_of, text_of};
pub use record::{Counts, Received, Record, Script};
pub use smtp::{Answer, Certificates, FakeSmtp, SmtpOptions, SmtpStage, SmtpStep};
pub use stripe::FakeStripe;
pub use twilio::FakeTwilio;
