//! What is left of a deal by what was recorded about it, before any plan is asked. Whether a
//! cancellation was in time only the plan knows, so it takes nothing away here.

use super::{CommissionEvent, EventKind};
use crate::money::Money;

/// What could still go back of a deal; `None`: the deal has no such amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Of its value.
    pub amount: Option<Money>,
    /// Of the platform's fee.
    pub fee: Option<Money>,
    /// It went back as a whole: no correction brings it to life again.
    pub reversed: bool,
}

/// An amount of which parts went back.
#[derive(Clone, Copy)]
struct Part {
    gross: Money,
    back: i64,
}

impl Part {
    fn of(money: Option<Money>) -> Option<Self> {
        money.map(|gross| Self { gross, back: 0 })
    }

    fn left(self) -> Money {
        Money { minor: self.gross.minor.saturating_sub(self.back).max(0), ..self.gross }
    }

    fn take(part: &mut Option<Self>, back: Option<Money>) {
        if let (Some(part), Some(back)) = (part, back) {
            part.back = part.back.saturating_add(back.minor);
        }
    }

    fn correct(part: &mut Option<Self>, to: Option<Money>) {
        match (part, to) {
            (Some(part), Some(to)) => part.gross = to,
            (part @ None, Some(_)) => *part = Self::of(to),
            (_, None) => {}
        }
    }
}

/// What is left of a conversion after these events, in whatever order they are given. Those that name
/// another conversion are none of its business, and so is what was refused: leave both out.
#[must_use]
pub fn remaining(conversion: &CommissionEvent, events: &[CommissionEvent]) -> Remaining {
    let mut events: Vec<&CommissionEvent> = events.iter().collect();
    events.sort_by_key(|e| (e.occurred_at, e.id));
    let (mut amount, mut fee) = (Part::of(conversion.amount), Part::of(conversion.fee));
    for event in events {
        let whole = event.amount.is_none() && event.fee.is_none();
        match event.kind {
            EventKind::Refunded => return gone(amount, fee),
            EventKind::ChargedBack if whole => return gone(amount, fee),
            EventKind::RefundedPartly | EventKind::ChargedBack => {
                Part::take(&mut amount, event.amount);
                Part::take(&mut fee, event.fee);
            }
            EventKind::Corrected => {
                Part::correct(&mut amount, event.amount);
                Part::correct(&mut fee, event.fee);
            }
            EventKind::Converted
            | EventKind::Cancelled
            | EventKind::TierChanged { .. }
            | EventKind::SplitChanged { .. } => {}
        }
    }
    Remaining { amount: amount.map(Part::left), fee: fee.map(Part::left), reversed: false }
}

/// What went back as a whole stays gone, whatever is said of it later.
fn gone(amount: Option<Part>, fee: Option<Part>) -> Remaining {
    let nothing = |part: Part| Money::zero(part.gross.currency);
    Remaining { amount: amount.map(nothing), fee: fee.map(nothing), reversed: true }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use crate::{AgencyId, AgentId, CommissionEventId};
    use chrono::{DateTime, Duration};

    fn eur(minor: i64) -> Money {
        Money::new(minor, Currency::of("EUR").unwrap())
    }

    fn event(kind: EventKind, amount: Option<i64>, minute: i64) -> CommissionEvent {
        let at = DateTime::UNIX_EPOCH + Duration::minutes(minute);
        CommissionEvent {
            id: CommissionEventId::new(),
            kind,
            lead: None,
            agency: AgencyId::new(),
            agent: AgentId::new(),
            manager: None,
            portal: None,
            product: None,
            occurred_at: at,
            received_at: at,
            amount: amount.map(eur),
            fee: None,
            of: None,
        }
    }

    fn left(events: &[CommissionEvent]) -> Option<i64> {
        let sale = event(EventKind::Converted, Some(10_000), 0);
        remaining(&sale, events).amount.map(|m| m.minor)
    }

    #[test]
    fn parts_add_up_and_the_whole_is_the_whole() {
        let part = |minor, at| event(EventKind::RefundedPartly, Some(minor), at);
        assert_eq!(left(&[]), Some(10_000));
        assert_eq!(left(&[part(2_500, 1), part(500, 2)]), Some(7_000));
        assert_eq!(left(&[part(9_000, 1), part(9_000, 2)]), Some(0), "never below nothing");
        assert_eq!(left(&[event(EventKind::ChargedBack, Some(1_000), 1)]), Some(9_000));
        assert_eq!(left(&[event(EventKind::ChargedBack, None, 1)]), Some(0));
        assert_eq!(left(&[event(EventKind::Cancelled, None, 1)]), Some(10_000));
    }

    #[test]
    fn a_correction_counts_from_when_it_was_and_not_after_the_whole_went_back() {
        let corrected = |minor, at| event(EventKind::Corrected, Some(minor), at);
        let part = event(EventKind::RefundedPartly, Some(2_000), 2);
        assert_eq!(left(&[part.clone(), corrected(5_000, 1)]), Some(3_000));
        assert_eq!(left(&[corrected(1_000, 3), part]), Some(0));
        let whole = event(EventKind::Refunded, None, 1);
        assert_eq!(left(&[corrected(5_000, 2), whole.clone()]), Some(0));
        assert_eq!(left(&[whole, corrected(5_000, 0)]), Some(0));
    }

    #[test]
    fn what_a_deal_does_not_have_cannot_go_back() {
        let sale = event(EventKind::Converted, Some(10_000), 0);
        assert_eq!(remaining(&sale, &[]).fee, None);
    }
}
