-- How long the history of a kind is kept, and what running jobs say of how far they are.

-- What workers declare of their kinds. Programs that do not know of it leave the defaults.
alter table engine.kinds
  add column retention      smallint not null default 0 check (retention between 0 and 2),
  add column stuck_after_ms bigint check (stuck_after_ms > 0);  -- null: never shown as stuck

-- The kinds that are kept otherwise than most, as one value: {"kind": class}. Statements that move jobs
-- to history look at it once and then ask it for each row, which costs nothing that can be measured
-- while all kinds are kept alike; a join with the kinds made settling 500 jobs 13 % dearer.
create index kinds_retention on engine.kinds (kind) include (retention) where retention <> 0;
create view engine.kept_otherwise as
  select jsonb_object_agg(kind, retention) as classes from engine.kinds where retention <> 0;
grant select on engine.kept_otherwise to switchyard_app, switchyard_engine;

-- History beside the standard class (0, slices of a day): class 1 is kept for a short time, in slices
-- of a day as well; class 2 for a long time, in slices of a month, because whoever looks a job up by
-- its id looks into every slice there is.
create table engine.job_history_1 partition of engine.job_history for values in (1)
  partition by range (finished_at);
create table engine.job_history_2 partition of engine.job_history for values in (2)
  partition by range (finished_at);
create table engine.job_history_1_default partition of engine.job_history_1 default;
create table engine.job_history_2_default partition of engine.job_history_2 default;

-- Everything that is sliced: the stamp by which, how long a slice is, and how long its rows are kept.
create function engine.sliced() returns table (parent text, stamp text, step interval, class smallint)
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  values ('job_history_0', 'finished_at', interval '1 day',   0::smallint),
         ('job_history_1', 'finished_at', interval '1 day',   1::smallint),
         ('job_history_2', 'finished_at', interval '1 month', 2::smallint),
         ('job_attempts',  'ended_at',    interval '1 day',   0::smallint)
$$;

-- The slice of `parent` that begins at `d`. What fell into the default slice meanwhile is moved.
create function engine.ensure_slice(parent text, stamp text, d date, step interval) returns int
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  slice text := parent || '_' || to_char(d, 'YYYYMMDD');
  first timestamptz := d::timestamptz;
  after timestamptz := (d + step)::timestamptz;
begin
  if to_regclass('engine.' || slice) is not null then
    return 0;
  end if;
  execute format('create table engine.%I (like engine.%I including all)', slice, parent);
  execute format('with moved as (delete from engine.%I where %I >= %L and %I < %L returning *)
                  insert into engine.%I select * from moved',
    parent || '_default', stamp, first, stamp, after, slice);
  execute format('alter table engine.%I attach partition engine.%I for values from (%L) to (%L)',
    parent, slice, first, after);
  return 1;
end $$;

create or replace function engine.ensure_slices(from_day date, days int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  want record;
  made int := 0;
begin
  perform pg_advisory_xact_lock(1398231890, 0);     -- one maker at a time
  for want in
    select s.parent, s.stamp, s.step, d::date as first
    from engine.sliced() s
    cross join lateral generate_series(
      case when s.step = interval '1 month' then date_trunc('month', from_day::timestamp)
           else from_day::timestamp end,
      (from_day + days)::timestamp, s.step) d
    order by d, s.parent
  loop
    made := made + engine.ensure_slice(want.parent, want.stamp, want.first, want.step);
  end loop;
  return made;
end $$;

-- Drops the slices whose every row is older than its class's day, `before` by class from 0. A row
-- that is left in a default slice (nobody made slices for a while) is the one thing that is deleted.
-- Dropping locks its parent for a moment: behind a long reader it gives up after two seconds.
create function engine.drop_slices(before date[]) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
set lock_timeout = '2s' set timezone = 'UTC' as $$
declare
  old record;
  dropped int := 0;
begin
  for old in
    select c.relname from engine.sliced() s
    join pg_class c on c.relkind = 'r'
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'engine'
    where case when c.relname ~ ('^' || s.parent || '_[0-9]{8}$')   -- a case, so that it is asked first
      then to_date(right(c.relname, 8), 'YYYYMMDD') + s.step <= before[s.class + 1] end
    order by 1
  loop
    execute format('drop table engine.%I', old.relname);
    dropped := dropped + 1;
  end loop;
  for old in select s.parent, s.stamp, before[s.class + 1] as day from engine.sliced() s loop
    execute format('delete from engine.%I where %I < %L',
      old.parent || '_default', old.stamp, old.day::timestamptz);
  end loop;
  return dropped;
end $$;
revoke all on function engine.sliced(), engine.ensure_slice(text, text, date, interval),
  engine.drop_slices(date[]) from public;
grant execute on function engine.drop_slices(date[]) to switchyard_engine;

select engine.ensure_slices(current_date - 1, 8);

-- The latest that a running job said of itself. In no index, so that saying it stays in the page
-- (HOT). What is older than the claim belongs to an earlier attempt.
alter table engine.jobs
  add column progress      real,
  add column progress_note text,
  add column progress_at   timestamptz;

-- Since when a held job has been silent for longer than its kind allows; null if it has not, or if
-- nobody holds it (then it has no claimed_at).
create function engine.stuck_since(claimed_at timestamptz, progress_at timestamptz, stuck_after_ms bigint)
returns timestamptz language sql stable parallel safe
return case
  when claimed_at is not null
    and greatest(claimed_at, progress_at) + stuck_after_ms * interval '1 millisecond' < statement_timestamp()
  then greatest(claimed_at, progress_at)
end;
revoke all on function engine.stuck_since(timestamptz, timestamptz, bigint) from public;
grant execute on function engine.stuck_since(timestamptz, timestamptz, bigint)
  to switchyard_app, switchyard_engine;
