-- What an agency does with a lead after it has it: notes, reminders, the sale. Leads that people enter
-- by hand come in through a portal of their own, made when the first one is entered.

-- Who of the agency works on it; the denominator of an agent's conversion rate.
alter table switchyard.leads add column agent_id uuid references switchyard.agents;
create index leads_agent on switchyard.leads (agent_id, created_at) where agent_id is not null;

create function switchyard.lead_changes_hands() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.agent_id := null;
  return new;
end $$;
create trigger leads_change_hands before update of agency_id on switchyard.leads for each row
  when (old.agent_id is not null and old.agency_id is distinct from new.agency_id)
  execute function switchyard.lead_changes_hands();

create table switchyard.lead_notes (
  id         uuid primary key,
  lead_id    uuid not null references switchyard.leads,
  agency_id  uuid references switchyard.agencies,    -- whose note it is; null: the operators'
  author     text not null,                          -- 'admin:<id>', 'agency:<id>', 'cli:ada'
  body       text not null check (body <> '' and length(body) <= 4000),
  created_at timestamptz not null default now()
);
create index lead_notes_lead on switchyard.lead_notes (lead_id, id);

-- A reminder; told by e-mail when it is due, if the agency still holds the lead.
create table switchyard.lead_follow_ups (
  id         uuid primary key,
  lead_id    uuid not null references switchyard.leads,
  agency_id  uuid not null references switchyard.agencies,
  agent_id   uuid references switchyard.agents,      -- null: the agency itself is told
  due_at     timestamptz not null,
  note       text check (length(note) <= 1000),
  author     text not null,
  state      text not null default 'planned' check (state in ('planned', 'told', 'dropped')),
  reason     text,                                   -- why it was dropped
  created_at timestamptz not null default now(),
  settled_at timestamptz,
  constraint lead_follow_ups_settled check ((state = 'planned') = (settled_at is null))
);
create index lead_follow_ups_lead on switchyard.lead_follow_ups (lead_id, id);

-- A lead that became a sale, once. Refunds and corrections are events of the commission, not here.
create table switchyard.lead_sales (
  lead_id      uuid primary key references switchyard.leads,
  agency_id    uuid not null references switchyard.agencies,
  agent_id     uuid references switchyard.agents,
  event_id     uuid not null unique,                 -- the conversion, by which its commission is booked
  amount_minor bigint not null check (amount_minor > 0),
  fee_minor    bigint check (fee_minor >= 0),        -- what the platform earns by it
  currency     text not null check (currency ~ '^[A-Z]{3}$'),
  product      text,
  sold_at      timestamptz not null,
  recorded_by  text not null,
  recorded_at  timestamptz not null default now()
);
create index lead_sales_sold on switchyard.lead_sales (sold_at, lead_id);
create index lead_sales_agent on switchyard.lead_sales (agent_id, sold_at) where agent_id is not null;

-- A reminder is a message like any other, and each is told once.
alter table switchyard.messages add column follow_up_id uuid references switchyard.lead_follow_ups;
alter table switchyard.messages drop constraint messages_once;
alter table switchyard.messages add constraint messages_once
  unique nulls not distinct (assignment_id, agent_id, channel, resend_of, follow_up_id);

-- Payouts -------------------------------------------------------------------------------------

-- Where somebody's money goes.
create table switchyard.payees (
  owner_kind     text not null check (owner_kind in ('agency', 'agent')),
  owner_id       uuid not null,
  agency_id      uuid not null references switchyard.agencies,
  name           text not null,
  iban           text,
  bic            text,
  stripe_account text check (stripe_account ~ '^acct_[A-Za-z0-9_]+$'),
  updated_at     timestamptz not null default now(),
  updated_by     text not null,
  primary key (owner_kind, owner_id, agency_id)
);

-- The files by which a bank was told to pay; a bank refuses a message that it has seen.
create table switchyard.payout_files (
  id         uuid primary key,                       -- the message's id is its digits
  method     text not null check (method in ('sepa', 'csv')),
  currency   text not null,
  payouts    int not null check (payouts > 0),
  amount     bigint not null check (amount > 0),
  document   bytea not null,
  made_by    text not null,
  made_at    timestamptz not null default now()
);

-- Money on its way: requested -> approved -> sent -> confirmed, or failed, or turned down. It moves by
-- entries of the ledger only; a row says where it stands.
create table switchyard.payouts (
  id             uuid primary key,
  agency_id      uuid not null references switchyard.agencies,
  owner_kind     text not null check (owner_kind in ('agency', 'agent')),
  owner_id       uuid not null,
  currency       text not null check (currency ~ '^[A-Z]{3}$'),
  amount         bigint not null check (amount > 0),
  method         text not null check (method in ('stripe', 'sepa', 'csv')),
  name           text not null,                      -- of the payee, as it was when asked for; so too below
  iban           text,
  bic            text,
  stripe_account text,
  state          text not null check (state in ('requested', 'approved', 'sent', 'confirmed', 'failed', 'declined')),
  above_limit    boolean not null,                   -- a second person has to approve it
  requested_by   text not null,
  requested_at   timestamptz not null default now(),
  approved_by    text,
  approved_at    timestamptz,
  sent_at        timestamptz,
  settled_at     timestamptz,
  file_id        uuid references switchyard.payout_files,
  provider_id    text,
  error          text,
  constraint payouts_where check (case method when 'stripe' then stripe_account else iban end is not null),
  constraint payouts_approved check (state in ('requested', 'declined') or approved_by is not null),
  constraint payouts_second_person check (not above_limit or approved_by is distinct from requested_by)
);
-- One at a time for each owner and currency, so that nothing is promised twice.
create unique index payouts_one_open on switchyard.payouts (owner_kind, owner_id, agency_id, currency)
  where state in ('requested', 'approved', 'sent');
create index payouts_open on switchyard.payouts (state, id) where state in ('requested', 'approved', 'sent');
create index payouts_agency on switchyard.payouts (agency_id, id);
create index payouts_file on switchyard.payouts (file_id) where file_id is not null;

-- The leaderboard: what each agent is owed, has on the way and was paid, in one currency.
create index accounts_agents on ledger.accounts (currency, kind) where owner_kind = 'agent';

do $$
declare t text;
begin
  foreach t in array array['payees', 'payouts'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('create policy tenant on switchyard.%I to switchyard_app
      using (agency_id = (select switchyard.tenant()))
      with check (agency_id = (select switchyard.tenant()))', t);
    execute format('grant select, insert, update on switchyard.%I to switchyard_app', t);
  end loop;
  alter table switchyard.payout_files enable row level security;
  create policy platform on switchyard.payout_files to switchyard_app
    using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()));
  grant select, insert on switchyard.payout_files to switchyard_app;
end $$;

do $$
declare t text;
begin
  foreach t in array array['lead_notes', 'lead_follow_ups', 'lead_sales'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('create policy tenant on switchyard.%I to switchyard_app
      using (agency_id = (select switchyard.tenant()))
      with check (agency_id = (select switchyard.tenant()))', t);
    execute format('grant select, insert on switchyard.%I to switchyard_app', t);
  end loop;
end $$;
grant update (state, reason, settled_at) on switchyard.lead_follow_ups to switchyard_app;
