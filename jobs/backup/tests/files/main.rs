//! The files of backups: what is written is read again, what is damaged is found, what is pruned is not
//! needed, and all of it can be followed by hand.
#![allow(clippy::unwrap_used)]

mod by_hand;
mod chain;
mod chunks;
mod copying;
mod damage;
mod keys;
mod kit;
mod lines;
mod pruning;
mod pruning_rules;
mod speed;
