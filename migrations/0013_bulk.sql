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
