-- Bulk operations: one action on all jobs that meet a filter, in the background, in batches. A batch
-- commits its acts together with the place where it stopped, so a crash between or in the middle of
-- batches neither leaves a job out nor acts on one twice.
create table engine.bulk_ops (
  id          uuid primary key,
  action      text not null check (action in ('retry', 'cancel', 'discard', 'move', 'undo')),
  filter      jsonb not null,
  params      jsonb not null default '{}',          -- of a move: queue, partition, priority
  state       text not null default 'waiting'
              check (state in ('waiting', 'running', 'done', 'stopped', 'failed')),
  stop        boolean not null default false,       -- somebody asked it to stop
  cursor      text,                                 -- where the next batch begins
  total       bigint,                               -- jobs that met the filter when it was started
  total_exact boolean not null default false,       -- false: there were at least so many
  done        bigint not null default 0,
  skipped     jsonb not null default '{}',          -- how many for each reason
  error       text,                                 -- why it failed
  by          text not null,                        -- who started it
  created_at  timestamptz not null default now(),
  started_at  timestamptz,
  finished_at timestamptz,
  undo_of     uuid references engine.bulk_ops on delete cascade
);
create index bulk_ops_open on engine.bulk_ops (id) where state in ('waiting', 'running');
-- An operation is undone once.
create unique index bulk_ops_undo on engine.bulk_ops (undo_of) where state <> 'failed';

-- What an operation did to a job and what the job was before, for the undo.
-- did: revived | copied | cancelled | discarded | moved | asked (a running job was asked to stop)
create table engine.bulk_undo (
  op     uuid not null references engine.bulk_ops on delete cascade,
  job_id uuid not null,
  did    text not null,
  prior  jsonb,                                     -- the row of engine.jobs
  at     timestamptz,                               -- of a cancelled one: its time in the history
  copy   uuid,                                      -- of a copied one
  lane   int,                                       -- of a moved one: where it was put
  priority smallint,
  primary key (op, job_id)
);

grant select, insert, update, delete on engine.bulk_ops, engine.bulk_undo to switchyard_engine;

-- The slices of the history with the day after their last: what is kept long lies in slices of a month.
create function engine.history_spans()
returns table (slice name, class smallint, day date, past date, sealed boolean)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select s.slice, s.class, s.day, (s.day + coalesce(c.step, interval '1 day'))::date, s.sealed
  from engine.history_slices() s left join engine.sliced() c on c.parent = 'job_history_' || s.class
$$;
revoke all on function engine.history_spans() from public;
grant execute on function engine.sliced(), engine.history_spans() to switchyard_engine;

-- As in 0012, but a slice is over when its last day is, not its first.
create or replace function engine.seal_slice() returns name
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set maintenance_work_mem = '128MB' as $$
declare
  oldest name;
  trigrams name;
begin
  if not pg_try_advisory_xact_lock(1398231890, 1) then
    return null;
  end if;
  select s.slice into oldest from engine.history_spans() s
  where not s.sealed and s.past <= ((now() at time zone 'UTC') - interval '10 minutes')::date
  order by s.past, s.class limit 1;
  if oldest is null then
    return null;
  end if;
  select n.nspname into trigrams
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm';
  if trigrams is not null then
    execute format('create index %I on engine.%I using gin (error %I.gin_trgm_ops) where error is not null',
      oldest || '_sealed_error', oldest, trigrams);
  end if;
  -- Few jobs are cancelled, and they are what people look for.
  execute format('create index %I on engine.%I (finished_at, id) where outcome = 9',
    oldest || '_sealed_cancelled', oldest);
  execute format('create index %I on engine.%I using gin (args jsonb_path_ops)',
    oldest || '_sealed_args', oldest);
  execute format('analyze engine.%I', oldest);
  return oldest;
end $$;
