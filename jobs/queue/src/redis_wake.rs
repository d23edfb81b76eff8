//! Wake-ups over Redis publish/subscribe.

/// Wake-ups over Redis publish/subscribe.
#[derive(Debug)]
pub struct RedisWake;
