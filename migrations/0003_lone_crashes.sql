-- A job is blamed for the end of its worker only when the worker had nothing else in hand. `crashes`
-- goes on counting every worker that vanished; these two say how often the job was alone then.
alter table engine.jobs
  add column alone        boolean not null default false,  -- the last claim took this job and no other
  add column lone_crashes smallint not null default 0;     -- workers that vanished with it alone in hand
