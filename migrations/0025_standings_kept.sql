-- What an agent earned, is owed and was paid, kept beside the balances: the leaderboard reads its first
-- rows out of an index instead of adding every agent's accounts up. Folding the deltas moves both in one
-- statement; what is not folded yet is added by who reads.
create table ledger.standings (
  owner_id  uuid not null,
  agency_id uuid not null,
  currency  text not null,
  earned    bigint not null,                        -- pending + sent + paid
  pending   bigint not null,
  sent      bigint not null,
  paid      bigint not null,
  primary key (owner_id, agency_id, currency)
) with (fillfactor = 70);
create index standings_first on ledger.standings (currency, earned desc, owner_id);

alter table ledger.standings enable row level security;
create policy platform on ledger.standings to switchyard_app
  using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()));
create policy tenant on ledger.standings to switchyard_app
  using (agency_id = (select switchyard.tenant())) with check (agency_id = (select switchyard.tenant()));
grant select on ledger.standings to switchyard_app;

-- Nobody folds until this is over: a fold that holds its turn is waited for, one that comes gets none.
select pg_advisory_xact_lock(1279607881, 1);

insert into ledger.standings (owner_id, agency_id, currency, earned, pending, sent, paid)
  select a.owner_id, a.agency_id, a.currency, sum(b.amount),
    coalesce(sum(b.amount) filter (where a.kind = 'payable'), 0),
    coalesce(sum(b.amount) filter (where a.kind = 'sent'), 0),
    coalesce(sum(b.amount) filter (where a.kind = 'paid'), 0)
  from ledger.balances b join ledger.accounts a on a.id = b.account_id
  where a.owner_kind = 'agent' and a.kind in ('payable', 'sent', 'paid')
  group by 1, 2, 3;

create or replace function ledger.fold_balances() returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with turn as materialized (select pg_try_advisory_xact_lock(1279607881, 1) as mine),
  taken as (
    delete from ledger.balance_deltas where (select mine from turn)
    returning account_id, agency_id, amount, postings
  ), moved as materialized (
    select account_id, min(agency_id::text)::uuid as agency_id, sum(amount) as amount, sum(postings) as postings
    from taken group by 1
  ), folded as (
    insert into ledger.balances as b (account_id, agency_id, amount, postings)
    select account_id, agency_id, amount, postings from moved order by 1
    on conflict (account_id) do update
      set amount = b.amount + excluded.amount, postings = b.postings + excluded.postings
  ), placed as (
    insert into ledger.standings as s (owner_id, agency_id, currency, earned, pending, sent, paid)
    select a.owner_id, a.agency_id, a.currency, sum(m.amount),
      coalesce(sum(m.amount) filter (where a.kind = 'payable'), 0),
      coalesce(sum(m.amount) filter (where a.kind = 'sent'), 0),
      coalesce(sum(m.amount) filter (where a.kind = 'paid'), 0)
    from moved m join ledger.accounts a on a.id = m.account_id
    where a.owner_kind = 'agent' and a.kind in ('payable', 'sent', 'paid')
    group by 1, 2, 3 order by 1, 2, 3
    on conflict (owner_id, agency_id, currency) do update
      set earned = s.earned + excluded.earned, pending = s.pending + excluded.pending,
        sent = s.sent + excluded.sent, paid = s.paid + excluded.paid
  )
  select count(*) from taken
$$;
