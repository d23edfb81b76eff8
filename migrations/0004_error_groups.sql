-- Failures by what they have in common: kind, class, and the message without what differs from one
-- time to the next. Programs that do not know of it go on as before; their failures are not counted.
alter table engine.jobs
  add column fingerprint text;                      -- of the last failure

-- Only a failure for good enters it, and only an operator's act leaves it.
create index jobs_fingerprint on engine.jobs (fingerprint, id) where stage = 5;

-- Appended by the statement that writes the failure down, folded every second: failures that come in
-- a storm are all alike, and would wait for each other at one row.
create table engine.error_deltas (
  fingerprint text not null,
  kind        text not null,
  class       text not null,                        -- 'error' | 'panic' | 'timeout'
  pattern     text not null,
  n           bigint not null,
  at          timestamptz not null,
  example     uuid not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create table engine.error_groups (
  fingerprint text primary key,
  kind        text not null,
  class       text not null,
  pattern     text not null,
  failures    bigint not null,
  first_seen  timestamptz not null,
  last_seen   timestamptz not null,
  example     uuid not null                         -- the job that failed so last
) with (fillfactor = 50);

grant select, insert, update, delete on engine.error_deltas, engine.error_groups to switchyard_engine;
