-- The engine: queues, jobs, history. No row-level security here: the engine role sees no tenant
-- table, and jobs carry ids, not people.
--
-- Roles. `switchyard_app` is the application's: tenant tables under row-level security, and so much
-- of the engine as a job's own transaction needs. `switchyard_engine` runs the queue. Neither can
-- log in by itself; the login of the processes is a member of both. They belong to the whole
-- server, so another database's migration may have made them a moment ago.
do $$
begin
  create role switchyard_app nologin noinherit nobypassrls;
exception when duplicate_object or unique_violation then null;
end $$;
do $$
begin
  create role switchyard_engine nologin noinherit nobypassrls;
exception when duplicate_object or unique_violation then null;
end $$;

create schema engine;
grant usage on schema engine to switchyard_app, switchyard_engine;

-- A queue is paused as a whole; its row is what a new lane inherits from and what a pause locks.
create table engine.queues (
  queue  text primary key,
  paused boolean not null default false
);

-- A lane is one partition of one queue: the unit of fairness. `paused` repeats its queue's, so
-- that a claim looks at one table. Lanes are never deleted: processes remember their numbers.
create table engine.lanes (
  id        int generated always as identity primary key,
  queue     text not null references engine.queues,
  partition text not null default '',
  paused    boolean not null default false,
  unique (queue, partition)
);

-- One row a worker process. The id is the key of its presence lock, so it is never used again.
create table engine.workers (
  id         bigint generated always as identity primary key,
  host       text not null,
  pid        int not null,
  version    text not null,
  kinds      text[] not null,
  queues     text[] not null,
  started_at timestamptz not null default now(),
  stopped_at timestamptz,   -- left in good order
  died_at    timestamptz    -- its lock was found free
);
create index workers_live on engine.workers (id) where stopped_at is null and died_at is null;
create index workers_gone on engine.workers (coalesce(died_at, stopped_at))
  where stopped_at is not null or died_at is not null;

-- Open jobs only. A claim changes no indexed column, and half of each page and a little more is left
-- free for it, because a claimed row is longer by the columns that name its holder: the update stays
-- in its page and touches no index (HOT).
-- stage: 0 ready, 1 later (scheduled, retryable), 2 pending, 3 parked, 4 quarantined, 5 discarded
create table engine.jobs (
  id               uuid primary key,
  lane             int not null,
  kind             text not null,
  priority         smallint not null default 0,
  run_at           timestamptz not null default now(),
  stage            smallint not null default 0 check (stage between 0 and 5),
  attempt          smallint not null default 0,     -- results written that count as attempts
  max_attempts     smallint not null check (max_attempts > 0),
  crashes          smallint not null default 0,     -- workers that vanished while they held it
  lease_until      timestamptz,
  fence            bigint not null default 0,
  worker           bigint,                          -- set: somebody holds it, or died holding it
  claimed_at       timestamptz,
  prior_worker     bigint,                          -- who held it before the last change of `worker`
  prior_claimed_at timestamptz,                     -- (an UPDATE cannot return the old row: 15 has no OLD)
  timeout_ms       int not null check (timeout_ms > 0),
  cancel_requested boolean not null default false,  -- only ever set on a job that is held
  tenant           uuid,
  unique_key       text,
  args             jsonb not null,
  last_error       text,
  trace            text,
  request_id       text,
  created_at       timestamptz not null default now()
) with (fillfactor = 45, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index jobs_claim  on engine.jobs (lane, priority, run_at, id) where stage = 0;
create index jobs_later  on engine.jobs (run_at) where stage = 1;
create index jobs_parked on engine.jobs (stage, kind) where stage >= 2;
create index jobs_request on engine.jobs (request_id) where request_id is not null;

-- The state that people see (JobState's numbers) follows from three columns, here and nowhere else.
create function engine.job_state(stage smallint, attempt smallint, worker bigint) returns smallint
language sql immutable parallel safe return case stage
  when 0 then case when worker is null then 0 else 3 end
  when 1 then case when attempt = 0 then 1 else 2 end
  when 2 then 4
  when 4 then 6
  when 5 then 7
  else 0                                            -- 3, parked: waits for a worker that knows it
end;

-- Unique keys live apart because jobs move to history.
create table engine.job_uniques (
  key    text primary key,
  job_id uuid not null
);

-- Finished jobs, sliced by retention class and day; a slice is dropped, never deleted from.
create table engine.job_history (
  id           uuid not null,
  class        smallint not null default 0,
  lane         int not null,
  kind         text not null,
  priority     smallint not null,
  outcome      smallint not null,                   -- JobState: 8 completed, 9 cancelled
  attempt      smallint not null,                   -- number of the last attempt, 0: never tried
  max_attempts smallint not null,
  crashes      smallint not null,
  timeout_ms   int not null,                        -- kept so that the job can be run once more
  worker       bigint,
  tenant       uuid,
  unique_key   text,
  args         jsonb not null,
  error        text,                                -- last error, or why it was cancelled
  trace        text,
  request_id   text,
  created_at   timestamptz not null,
  run_at       timestamptz not null,
  started_at   timestamptz,
  finished_at  timestamptz not null,
  primary key (class, finished_at, id)
) partition by list (class);
create table engine.job_history_0 partition of engine.job_history for values in (0)
  partition by range (finished_at);
create index job_history_id on engine.job_history (id);
create index job_history_kind on engine.job_history (kind, finished_at);
create index job_history_request on engine.job_history (request_id) where request_id is not null;

-- Every attempt that did not finish its job. The one that did is the history row itself.
-- outcome: 'retry' | 'snooze' | 'discard' | 'crash'. A snooze and a crash carry the number of the
-- attempt that they were, and use none up.
create table engine.job_attempts (
  job_id     uuid not null,
  attempt    smallint not null,
  fence      bigint not null,
  worker     bigint,
  started_at timestamptz,
  ended_at   timestamptz not null,
  outcome    text not null,
  error      text,
  primary key (ended_at, job_id, fence)
) partition by range (ended_at);
create index job_attempts_job on engine.job_attempts (job_id);

-- A missing slice must never stop a result from being written.
create table engine.job_history_0_default partition of engine.job_history_0 default;
create table engine.job_attempts_default partition of engine.job_attempts default;

-- Counters: deltas are appended by the statement that changes the state, and folded every second.
-- What is read is the sum of both. state is a JobState number.
create table engine.counter_deltas (
  lane  int not null,
  kind  text not null,
  state smallint not null,
  n     bigint not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create table engine.counters (
  lane  int not null,
  kind  text not null,
  state smallint not null,
  n     bigint not null,
  primary key (lane, kind, state)
) with (fillfactor = 50);

-- Effects outside the database: intent before the call, result after it. An intent that outlived
-- its claim is unknown: it is reconciled, never blindly done again.
create table engine.effects (
  key        text primary key,
  job_id     uuid not null,
  fence      bigint not null,
  state      text not null check (state in ('intent', 'done', 'failed', 'unknown')),
  result     jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- The scheduler's table and what it fired. A firing exists once over any number of schedulers.
create table engine.schedules (
  name       text primary key,
  cron       text not null,
  tz         text not null,
  kind       text not null,
  args       jsonb not null default '{}',
  policy     text not null check (policy in ('skip', 'once', 'all')),  -- for missed firings
  paused     boolean not null default false,
  since      timestamptz not null default now(),
  last_fire  timestamptz
);
create table engine.schedule_fires (
  schedule  text not null references engine.schedules on delete cascade,
  fire_time timestamptz not null,
  job_id    uuid not null,
  fired_at  timestamptz not null default now(),
  primary key (schedule, fire_time)
);

-- Slices are tables, and making tables is the owner's right: these functions lend it. Days are
-- UTC days whatever the session says. What fell into a default slice meanwhile is moved, because a
-- default that holds rows of a range refuses a slice for that range.
create function engine.ensure_slice(parent text, stamp text, d date) returns int
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  slice text := parent || '_' || to_char(d, 'YYYYMMDD');
begin
  if to_regclass('engine.' || slice) is not null then
    return 0;
  end if;
  execute format('create table engine.%I (like engine.%I including all)', slice, parent);
  execute format('with moved as (delete from engine.%I where %I >= %L and %I < %L returning *)
                  insert into engine.%I select * from moved',
    parent || '_default', stamp, d::timestamptz, stamp, (d + 1)::timestamptz, slice);
  execute format('alter table engine.%I attach partition engine.%I for values from (%L) to (%L)',
    parent, slice, d::timestamptz, (d + 1)::timestamptz);
  return 1;
end $$;

create function engine.ensure_slices(from_day date, days int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  d date;
  made int := 0;
begin
  perform pg_advisory_xact_lock(1398231890, 0);     -- one maker at a time
  for d in select from_day + i from generate_series(0, days) i loop
    made := made + engine.ensure_slice('job_history_0', 'finished_at', d);
    made := made + engine.ensure_slice('job_attempts', 'ended_at', d);
  end loop;
  return made;
end $$;

-- Dropping a slice locks its parent for a moment: behind a long reader it gives up after two
-- seconds, so that writers do not queue behind it, and the next run tries again.
create function engine.drop_slices(before date) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  t name;
  dropped int := 0;
begin
  for t in
    select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'engine' and c.relkind = 'r'
      and c.relname ~ '^(job_history_0|job_attempts)_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') < before
  loop
    execute format('drop table engine.%I', t);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;
revoke all on function engine.ensure_slice(text, text, date) from public;
revoke all on function engine.ensure_slices(date, int), engine.drop_slices(date) from public;
grant execute on function engine.ensure_slices(date, int), engine.drop_slices(date) to switchyard_engine;

select engine.ensure_slices(current_date - 1, 8);

grant select, insert, update, delete on all tables in schema engine to switchyard_engine;
-- The app role enqueues, and settles a job inside the job's own transaction.
grant select, insert, update, delete on engine.jobs, engine.job_uniques, engine.effects to switchyard_app;
grant insert on engine.job_history, engine.job_attempts to switchyard_app;
grant insert on engine.counter_deltas to switchyard_app;
grant select on engine.queues, engine.lanes, engine.job_history, engine.job_attempts,
  engine.workers, engine.counters, engine.counter_deltas, engine.schedules,
  engine.schedule_fires to switchyard_app;

-- So that a process can tell whether the database is as new as it is (readiness, doctor).
do $$
begin
  if to_regclass('_sqlx_migrations') is not null then
    grant select on _sqlx_migrations to switchyard_app;
  end if;
end $$;
