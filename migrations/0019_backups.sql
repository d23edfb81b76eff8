-- Backups: what every run came to, who asked for a restore and who confirmed it, alarms, what operators
-- did, and the state of a system that was restored and is not released yet.

-- A change stream names rows by their key. The deltas had none: they are appended and folded away, and
-- two of them may be equal in every column.
alter table engine.counter_deltas add column id bigint generated always as identity primary key;
alter table engine.error_deltas add column id bigint generated always as identity primary key;

-- A restored system ---------------------------------------------------------------------------

-- No row: this database was never restored. Everything else reads it through the function below.
create table engine.restored (
  one           boolean primary key default true check (one),
  backup        text not null,                     -- the full backup it came from
  covers        timestamptz not null,              -- the state that was restored is at least as new
  restored_at   timestamptz not null default now(),
  paused_before text[] not null,                   -- queues that an operator had paused already
  released_at   timestamptz,
  released_by   text
);
grant select, update on engine.restored to switchyard_engine;
grant select on engine.restored to switchyard_app;

-- Whether nothing may leave this system yet.
create function engine.awaits_release() returns boolean language sql stable security definer
  set search_path = pg_catalog, pg_temp
  return exists (select from engine.restored where released_at is null);

-- A queue that is used for the first time is born paused in such a system.
alter table engine.queues alter column paused set default engine.awaits_release();

-- And none is let go on by itself: the release does that for all of them.
create function engine.released_first() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp as $$
begin
  if engine.awaits_release() then
    raise exception 'this system was restored and is not released: run `switchyard release`'
      using errcode = 'check_violation', constraint = 'released_first';
  end if;
  return new;
end $$;
create trigger released_first before update of paused on engine.queues
  for each row when (old.paused and not new.paused) execute function engine.released_first();
create trigger released_first before update of paused on engine.lanes
  for each row when (old.paused and not new.paused) execute function engine.released_first();

-- Functions are everybody's unless that is taken back. A new queue's default is evaluated by who makes it.
revoke all on function engine.awaits_release(), engine.released_first() from public;
grant execute on function engine.awaits_release() to switchyard_engine, switchyard_app;

-- Runs ----------------------------------------------------------------------------------------

create table switchyard.backup_runs (
  id          uuid primary key,
  kind        text not null check (kind in
                ('full', 'incremental', 'differential', 'verify', 'drill', 'prune', 'copy', 'restore')),
  state       text not null default 'running' check (state in ('running', 'succeeded', 'failed')),
  asked_by    text not null,                        -- 'schedule', 'admin:<id>', 'cli:<user>'
  job_id      uuid,
  backup      text,                                 -- its name in the archive
  covers      timestamptz,                          -- what it restores is at least as new
  from_lsn    text,
  to_lsn      text,
  stored_bytes bigint,
  rows        bigint,                               -- rows of a full one, changes of the others
  evidence    jsonb,                                -- what a drill or a restore found, in its own words
  error       text,
  began_at    timestamptz not null default clock_timestamp(),
  finished_at timestamptz
);
create index backup_runs_kind on switchyard.backup_runs (kind, began_at desc);
create index backup_runs_recent on switchyard.backup_runs (began_at desc, id desc);
create index backup_runs_open on switchyard.backup_runs (kind) where state = 'running';
create index backup_runs_backup on switchyard.backup_runs (backup) where backup is not null;

-- A restore is asked for by one person and confirmed by a second one, or by the same one with a token
-- that lives for minutes and the backup's name typed by hand.
create table switchyard.restore_requests (
  id           uuid primary key,
  what         text not null check (what in ('restore', 'disaster_recovery')),
  plan         jsonb not null,
  phrase       text not null,                       -- what has to be typed
  token_hash   bytea not null,                      -- SHA-256 of a random token
  asked_by     text not null,
  asked_at     timestamptz not null default clock_timestamp(),
  expires_at   timestamptz not null,
  confirmed_by text,
  confirmed_at timestamptz,
  job_id       uuid
);
create index restore_requests_recent on switchyard.restore_requests (asked_at desc);

-- Alarms --------------------------------------------------------------------------------------

-- One row a time that something was wrong; open while it is.
create table switchyard.alarms (
  id          uuid primary key,
  key         text not null,                        -- 'backup.rpo'
  severity    text not null check (severity in ('warning', 'critical')),
  text        text not null,                        -- what is wrong and what to do
  since       timestamptz not null default clock_timestamp(),
  told_at     timestamptz,                          -- when people were told last
  resolved_at timestamptz
);
create unique index alarms_open on switchyard.alarms (key) where resolved_at is null;
create index alarms_recent on switchyard.alarms (since desc);

-- What operators did that cannot be undone by a click.
create table switchyard.audit_log (
  id      uuid primary key,
  at      timestamptz not null default clock_timestamp(),
  who     text not null,
  action  text not null,                            -- 'backup.restore.asked'
  target  text,
  details jsonb
);
create index audit_log_recent on switchyard.audit_log (at desc);

do $$
declare t text;
begin
  foreach t in array array['backup_runs', 'restore_requests', 'alarms', 'audit_log'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
  end loop;
end $$;
grant select, insert, update on switchyard.backup_runs, switchyard.restore_requests, switchyard.alarms
  to switchyard_app;
grant select, insert on switchyard.audit_log to switchyard_app;
