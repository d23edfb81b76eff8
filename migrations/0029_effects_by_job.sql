-- What a job did outside the database is shown with the job: by hand one asks for a job's effects, while the
-- engine asks for keys. Ids of jobs rise, so that the index grows at its end.
create index effects_job on engine.effects (job_id);
