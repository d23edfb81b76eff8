-- Workflows: jobs that wait for each other and hand their results on. Programs that know nothing of
-- them go on as before; they must not run jobs of a workflow, because they would not tell it.
alter table engine.jobs add column workflow uuid;
alter table engine.job_history add column workflow uuid;

-- policy: 0 cancel_rest, 1 hold, 2 continue
-- state: 0 running, 1 failing, 2 cancelling, 3 completed, 4 failed, 5 cancelled
create table engine.workflows (
  id          uuid primary key,
  name        text not null,
  policy      smallint not null check (policy between 0 and 2),
  state       smallint not null default 0 check (state between 0 and 5),
  total       int not null check (total > 0),
  completed   int not null default 0,               -- jobs whose last known end was that
  failed      int not null default 0,               -- dead letters
  cancelled   int not null default 0,
  request_id  text,
  created_at  timestamptz not null default now(),
  finished_at timestamptz
) with (fillfactor = 50);
create index workflows_ending on engine.workflows (id) where state in (1, 2);
create index workflows_finished on engine.workflows (finished_at) where finished_at is not null;

-- Its jobs. They outlive the job's row, which moves to history; `place` is the position in the
-- definition, and what edges name.
create table engine.workflow_jobs (
  workflow uuid not null,
  place    int not null,
  node     text not null,
  job_id   uuid not null,
  kind     text not null,
  waits_on int not null default 0,                  -- parents that have not ended yet
  state    smallint,                                -- JobState of its end: 7, 8 or 9
  result   jsonb,
  primary key (workflow, place)
) with (fillfactor = 70);
create unique index workflow_jobs_job on engine.workflow_jobs (job_id);

create table engine.workflow_edges (
  workflow uuid not null,
  parent   int not null,
  child    int not null,
  primary key (workflow, parent, child)
);
create index workflow_edges_child on engine.workflow_edges (workflow, child, parent);

-- What ends of jobs mean for their workflows, appended by the statement that ends them, taken up in a
-- transaction of its own at once or by the scheduler soon: settling locks no workflow.
create table engine.workflow_events (
  workflow uuid not null,
  id       bigint generated always as identity,
  job_id   uuid not null,
  outcome  smallint not null,                       -- JobState: 7, 8 or 9
  result   jsonb,
  primary key (workflow, id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

grant select, insert, update, delete on engine.workflows, engine.workflow_jobs, engine.workflow_edges,
  engine.workflow_events to switchyard_engine;
-- The application starts workflows in its transactions, and ends jobs in the jobs' own.
grant select, insert on engine.workflows, engine.workflow_jobs, engine.workflow_edges to switchyard_app;
grant insert on engine.workflow_events to switchyard_app;
