-- Commissions: a ledger that knows accounts, entries and postings (schema `ledger`), and beside it, in
-- the platform's schema, the plans, the events and what the rules have added up so far.
--
-- The ledger is append-only for everybody, its owner included: grants keep the application from
-- changing a row, triggers everybody else. Who disables a trigger is found by the audit of the Merkle
-- log (RFC 9162), whose signed heads go into every backup. See ops/adr/0022.
create schema ledger;
grant usage on schema ledger to switchyard_app;

-- Accounts and entries ------------------------------------------------------------------------

-- `expense` is what is given away: every commission leaves it. `payable` is owed, `sent` is on its way,
-- `paid` has arrived. The id follows from the other columns, so nobody has to look one up.
create table ledger.accounts (
  id         uuid primary key,
  kind       text not null check (kind in ('expense', 'payable', 'sent', 'paid')),
  owner_kind text not null check (owner_kind in ('platform', 'agency', 'agent')),
  owner_id   uuid,                                  -- null: the platform
  agency_id  uuid,                                  -- in whose books it stands; null: the platform's
  currency   text not null check (currency ~ '^[A-Z]{3}$'),
  exponent   smallint not null check (exponent between 0 and 4),
  created_at timestamptz not null default now(),
  constraint accounts_owner check ((owner_kind = 'platform') = (owner_id is null)),
  constraint accounts_once unique nulls not distinct (kind, owner_kind, owner_id, agency_id, currency)
);
create index accounts_agency on ledger.accounts (agency_id, kind);

create table ledger.entries (
  id           uuid primary key,                    -- UUIDv7
  key          text not null constraint entries_key unique check (length(key) between 1 and 200),
  content_hash bytea not null check (octet_length(content_hash) = 32),
  agency_id    uuid not null,
  period       date not null check (extract(day from period) = 1),  -- the month that it counts in
  kind         text not null,                       -- 'commission', 'correction', 'payout', ...
  agent_id     uuid,
  event_id     uuid,                                -- whose line it changes
  lead_id      uuid,
  occurred_at  timestamptz not null,
  booked_at    timestamptz not null default now(),
  explanation  jsonb not null
);
create index entries_agency on ledger.entries (agency_id, period);
create index entries_agent on ledger.entries (agent_id, occurred_at);
create index entries_event on ledger.entries (event_id) where event_id is not null;

-- An amount above zero is what the account's owner gets. The postings of an entry add up to zero.
create table ledger.postings (
  entry_id   uuid not null,
  n          smallint not null check (n >= 0),
  account_id uuid not null,
  agency_id  uuid not null,
  currency   text not null,
  amount     bigint not null check (amount <> 0),
  primary key (entry_id, n)
);
create index postings_account on ledger.postings (account_id, entry_id);

-- A row says that the month, and every one before it, is closed; its figures are the statement's.
create table ledger.periods (
  agency_id uuid not null,
  month     date not null check (extract(day from month) = 1),
  closed_at timestamptz not null default now(),
  figures   jsonb not null,
  primary key (agency_id, month)
);

-- Balances are deltas, folded now and then: an account that everybody posts to is no lock.
create table ledger.balance_deltas (
  account_id uuid not null,
  agency_id  uuid,
  amount     bigint not null,
  postings   bigint not null,
  id         bigint generated always as identity primary key  -- for backups: a change names a row by its key
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create table ledger.balances (
  account_id uuid primary key,
  agency_id  uuid,
  amount     bigint not null,
  postings   bigint not null
) with (fillfactor = 50);
create view ledger.account_balances with (security_invoker = true) as
  select a.id, a.kind, a.owner_kind, a.owner_id, a.agency_id, a.currency, a.exponent,
    (coalesce(b.amount, 0) + coalesce(d.amount, 0))::bigint as amount,
    (coalesce(b.postings, 0) + coalesce(d.postings, 0))::bigint as postings
  from ledger.accounts a
  left join ledger.balances b on b.account_id = a.id
  left join (select account_id, sum(amount) as amount, sum(postings) as postings
             from ledger.balance_deltas group by 1) d on d.account_id = a.id;

-- The Merkle log ------------------------------------------------------------------------------

-- Entries that have no place in the log yet. The row is written with the entry and deleted with the
-- place, so nothing is skipped: there is no cursor that a late commit could fall behind.
create table ledger.unsequenced (entry_id uuid primary key)
  with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create table ledger.log (
  position bigint primary key check (position >= 0),
  entry_id uuid not null constraint log_entry unique,
  leaf     bytea not null check (octet_length(leaf) = 32)
);
-- Roots of full subtrees: `idx` counts the subtrees of 2^level leaves.
create table ledger.nodes (
  level smallint not null check (level > 0),
  idx   bigint not null,
  hash  bytea not null check (octet_length(hash) = 32),
  primary key (level, idx)
);
create table ledger.heads (
  size       bigint primary key check (size > 0),
  root       bytea not null check (octet_length(root) = 32),
  signed_at  timestamptz not null,
  key_id     text not null,
  public_key bytea not null check (octet_length(public_key) = 32),
  signature  bytea not null check (octet_length(signature) = 64)
);

-- The newest signed head: what every backup writes into its manifest as `ledger.root`.
create function ledger.root()
returns table (size bigint, root text, signed_at timestamptz, key_id text, signature text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select h.size, encode(h.root, 'hex'), h.signed_at, h.key_id, encode(h.signature, 'hex')
  from ledger.heads h order by h.size desc limit 1
$$;

-- What the database itself enforces -----------------------------------------------------------

create function ledger.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'ledger.% is append-only, % is refused; post a reversing entry instead', tg_table_name, tg_op
    using errcode = 'restrict_violation', constraint = 'ledger_append_only';
end $$;
do $$
declare t text;
begin
  foreach t in array array['accounts', 'entries', 'postings', 'periods', 'log', 'nodes', 'heads'] loop
    execute format('create trigger append_only before update or delete or truncate on ledger.%I
      for each statement execute function ledger.refuse_change()', t);
    -- Also where a session says that it only replicates.
    execute format('alter table ledger.%I enable always trigger append_only', t);
  end loop;
end $$;

-- Bookings of an agency share this lock, the close of one of its months has it alone: it waits for
-- bookings in flight, and those that come later see the closed month.
create function ledger.lock_books(agencies uuid[]) returns table (agency_id uuid, closed_through date)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_advisory_xact_lock_shared(1279607879, k.key)
    from (select distinct hashtext(a::text) as key from unnest(agencies) a order by 1) k;
  return query select a, (select max(p.month) from ledger.periods p where p.agency_id = a)
    from (select distinct u from unnest(agencies) u) as d(a);
end $$;

-- The closing side of it.
create function ledger.lock_books_alone(agency uuid) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  select pg_advisory_xact_lock(1279607879, hashtext(agency::text))
$$;

create function ledger.entries_written() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare late record;
begin
  select a.key, a.period into late from added a
    join ledger.lock_books((select array_agg(distinct agency_id) from added)) b on b.agency_id = a.agency_id
    where a.period <= b.closed_through limit 1;
  if found then
    raise exception 'entry % counts in %, which is closed; post it to the open period', late.key, late.period
      using errcode = 'check_violation', constraint = 'entries_period_open';
  end if;
  insert into ledger.unsequenced (entry_id) select id from added;
  return null;
end $$;
create trigger written after insert on ledger.entries referencing new table as added
  for each statement execute function ledger.entries_written();

-- All postings of an entry come in one statement and add up to zero in it, so no statement leaves
-- the books unbalanced and nothing can be added to an entry later.
create function ledger.postings_written() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare bad uuid;
begin
  select a.entry_id into bad from added a group by a.entry_id, a.currency having sum(a.amount) <> 0 limit 1;
  if found then
    raise exception 'the postings of entry % do not add up to zero', bad
      using errcode = 'check_violation', constraint = 'postings_zero_sum';
  end if;
  select a.entry_id into bad from (select entry_id, count(*) as n from added group by 1) a
    where a.n <> (select count(*) from ledger.postings p where p.entry_id = a.entry_id) limit 1;
  if found then
    raise exception 'entry % has its postings already', bad
      using errcode = 'check_violation', constraint = 'postings_at_once';
  end if;
  select a.entry_id into bad from added a
    left join ledger.entries e on e.id = a.entry_id
    left join ledger.accounts c on c.id = a.account_id
    where e.id is null or c.id is null or c.currency <> a.currency or e.agency_id <> a.agency_id limit 1;
  if found then
    raise exception 'a posting of entry % names an entry or account that is not there, or another currency or agency', bad
      using errcode = 'foreign_key_violation', constraint = 'postings_fit';
  end if;
  insert into ledger.balance_deltas (account_id, agency_id, amount, postings)
    select a.account_id, c.agency_id, a.amount, a.n
    from (select account_id, sum(amount)::bigint as amount, count(*) as n from added group by 1) a
    join ledger.accounts c on c.id = a.account_id;
  return null;
end $$;
create trigger written after insert on ledger.postings referencing new table as added
  for each statement execute function ledger.postings_written();

-- At the commit: an entry has postings, and they add up to zero.
create function ledger.entry_stands() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  n bigint;
  off bigint;
begin
  select coalesce(sum(c.n), 0), count(*) filter (where c.total <> 0) into n, off
    from (select count(*) as n, sum(p.amount) as total from ledger.postings p
          where p.entry_id = new.id group by p.currency) c;
  if n < 2 or off > 0 then
    raise exception 'entry % has % postings that do not make a balanced entry', new.key, n
      using errcode = 'check_violation', constraint = 'entries_zero_sum';
  end if;
  return null;
end $$;
create constraint trigger zero_sum after insert on ledger.entries deferrable initially deferred
  for each row execute function ledger.entry_stands();

-- Adds the deltas up; one process at a time, another's call meanwhile does nothing.
create function ledger.fold_balances() returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with turn as materialized (select pg_try_advisory_xact_lock(1279607881, 1) as mine),
  taken as (
    delete from ledger.balance_deltas where (select mine from turn)
    returning account_id, agency_id, amount, postings
  ), folded as (
    insert into ledger.balances as b (account_id, agency_id, amount, postings)
    select account_id, min(agency_id::text)::uuid, sum(amount), sum(postings) from taken
    group by 1 order by 1
    on conflict (account_id) do update
      set amount = b.amount + excluded.amount, postings = b.postings + excluded.postings
  )
  select count(*) from taken
$$;

revoke all on function ledger.lock_books(uuid[]), ledger.lock_books_alone(uuid), ledger.fold_balances(),
  ledger.entries_written(), ledger.postings_written(), ledger.entry_stands() from public;
grant execute on function ledger.lock_books(uuid[]), ledger.lock_books_alone(uuid), ledger.fold_balances()
  to switchyard_app;

-- Plans and events ----------------------------------------------------------------------------

create table switchyard.commission_plans (
  id         uuid primary key,
  agency_id  uuid references switchyard.agencies,   -- made for one agency; null: for all
  code       text not null constraint commission_plans_code unique,
  name       text not null,
  created_at timestamptz not null default now()
);

-- A period keeps the version that held when it began. The first version holds for all time before it.
create table switchyard.commission_plan_versions (
  plan_id    uuid not null references switchyard.commission_plans,
  version    int not null check (version > 0),
  agency_id  uuid,                                  -- the plan's
  document   jsonb not null,
  valid_from timestamptz not null,
  created_at timestamptz not null default now(),
  created_by text not null,
  primary key (plan_id, version)
);
create trigger append_only before update or delete or truncate on switchyard.commission_plan_versions
  for each statement execute function ledger.refuse_change();

-- Which plan holds for whom. The most specific wins: an agent's, then a portal's of an agency, an
-- agency's, a portal's, and last the one for all; of equals the one that began last.
create table switchyard.commission_assignments (
  id          uuid primary key,
  plan_id     uuid not null references switchyard.commission_plans,
  agency_id   uuid references switchyard.agencies,
  portal_id   uuid references switchyard.portals,
  agent_id    uuid references switchyard.agents,
  valid_from  timestamptz not null default '-infinity',
  valid_until timestamptz not null default 'infinity',
  created_at  timestamptz not null default now(),
  created_by  text not null,
  check (valid_from < valid_until)
);
create index commission_assignments_agent on switchyard.commission_assignments (agent_id) where agent_id is not null;
create index commission_assignments_agency on switchyard.commission_assignments (agency_id);

-- What happened, in whatever order and how often it was told. `state` says what became of it:
-- `pending` waits for its booking, `waiting` for the conversion that it names, `refused` has a reason.
create table switchyard.commission_events (
  id           uuid primary key,
  content_hash bytea not null check (octet_length(content_hash) = 32),
  kind         text not null,
  agency_id    uuid not null,
  agent_id     uuid not null,
  lead_id      uuid,
  of_id        uuid,                                -- the conversion that it changes
  occurred_at  timestamptz not null,
  received_at  timestamptz not null default now(),
  document     jsonb not null,
  state        text not null default 'pending' check (state in ('pending', 'waiting', 'booked', 'refused')),
  group_id     uuid,
  reason       text,                                -- why it was refused, or what it waits for
  booked_at    timestamptz
) with (fillfactor = 60);
create index commission_events_open on switchyard.commission_events (agency_id, occurred_at, id)
  where state = 'pending';
create index commission_events_of on switchyard.commission_events (of_id) where of_id is not null;
create index commission_events_group on switchyard.commission_events (group_id) where group_id is not null;
create index commission_events_agent on switchyard.commission_events (agent_id, occurred_at, id);
create index commission_events_lead on switchyard.commission_events (lead_id) where lead_id is not null;

-- The deals of one agent under one plan in one of its periods: what is evaluated together. `totals` is
-- what the rules have added up so far; the row's lock puts bookings of it one after another.
create table switchyard.commission_groups (
  id           uuid primary key,
  agency_id    uuid not null,
  agent_id     uuid not null,
  plan_id      uuid not null references switchyard.commission_plans,
  plan_version int not null,
  period       text not null,
  totals       jsonb,                               -- null: evaluate anew
  newest_at    timestamptz,
  newest_event uuid,
  events       bigint not null default 0,
  updated_at   timestamptz not null default now(),
  constraint commission_groups_once unique (agent_id, plan_id, period, agency_id)
) with (fillfactor = 50);
create index commission_groups_agency on switchyard.commission_groups (agency_id, period);

-- Row-level security --------------------------------------------------------------------------

do $$
declare t text;
begin
  foreach t in array array['ledger.accounts', 'ledger.entries', 'ledger.postings', 'ledger.periods',
    'ledger.balance_deltas', 'ledger.balances', 'switchyard.commission_events', 'switchyard.commission_groups'] loop
    execute format('alter table %s enable row level security', t);
    execute format('create policy platform on %s to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('create policy tenant on %s to switchyard_app
      using (agency_id = (select switchyard.tenant()))
      with check (agency_id = (select switchyard.tenant()))', t);
  end loop;
  foreach t in array array['ledger.unsequenced', 'ledger.log', 'ledger.nodes', 'ledger.heads'] loop
    execute format('alter table %s enable row level security', t);
    execute format('create policy platform on %s to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
  end loop;
  -- Plans for all are read by all; an assignment that names no agency too.
  foreach t in array array['commission_plans', 'commission_plan_versions', 'commission_assignments'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('create policy tenant on switchyard.%I for select to switchyard_app
      using (agency_id = (select switchyard.tenant())
        or (agency_id is null and (select switchyard.tenant()) is not null))', t);
  end loop;
end $$;

grant select, insert on ledger.accounts, ledger.entries, ledger.postings, ledger.periods, ledger.log,
  ledger.nodes, ledger.heads to switchyard_app;
grant select on ledger.balances, ledger.balance_deltas, ledger.account_balances to switchyard_app;
grant select, delete on ledger.unsequenced to switchyard_app;
grant select, insert, update on switchyard.commission_plans, switchyard.commission_assignments,
  switchyard.commission_groups to switchyard_app;
grant select, insert on switchyard.commission_plan_versions to switchyard_app;
-- What an event says is never changed, only what became of it.
grant select, insert on switchyard.commission_events to switchyard_app;
grant update (state, group_id, reason, booked_at) on switchyard.commission_events to switchyard_app;
