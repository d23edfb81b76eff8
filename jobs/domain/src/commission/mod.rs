//! Commissions: what an agent earns on what happened, exactly and with the reason for every cent.
//!
//! Pure rules. A commission is a function of a plan's version and the **set** of events: the order
//! in which they come in, and how often, does not matter. Events of a deal count in the period of
//! its conversion; when and where the difference is booked is the ledger's business.

mod accumulator;
mod arithmetic;
mod book;
mod booked;
mod deal;
mod evaluate;
mod event;
mod label;
mod line;
mod period;
mod plan;
mod price;
mod progress;
mod rate;
mod remaining;
mod shares;
mod words;

pub use accumulator::{Accumulator, Decision};
pub use book::{Purse, Totals};
pub use booked::{Booked, Cause, Change, late};
pub use evaluate::{Evaluation, PlanFault, evaluate};
pub use event::{CommissionEvent, EventKind, KindWord, LARGEST_AMOUNT};
pub use label::Label;
pub use line::{Explanation, Line, Note, Party, PlanRef, Reason, Refusal, Share, Step};
pub use period::{PeriodKey, Window};
pub use plan::{Accelerator, Amounts};
pub use plan::{
    Basis, Caps, Floors, Measure, Mode, Of, Override, Plan, Role, Split, SplitShare, Terms,
    Threshold, Tier,
};
pub use progress::{Forecast, NextTier, Progress, Quantity, month_forecast, progress};
pub use rate::{Factor, Percent};
pub use remaining::{Remaining, remaining};
pub use shares::difference;
pub use words::Explained;
