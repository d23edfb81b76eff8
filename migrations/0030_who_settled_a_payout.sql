-- Who turned a payout down, or said what became of it: before, only who asked and who approved was known.
-- Null: nobody had to, the payment provider said it or the money was not there any more.
alter table switchyard.payouts add column settled_by text;

-- What an owner asked for within a day, by which the limit is held against all of it.
create index payouts_owner on switchyard.payouts (owner_kind, owner_id, agency_id, currency, requested_at);
