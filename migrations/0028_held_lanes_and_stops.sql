-- As in 0018, and: a new lane of a partition that was paused by itself is born paused, as the programs do
-- it. The queue's row is locked by a statement of its own, so that the next one sees what a pause that was
-- under way has written: a statement that waits goes on with what it saw before.
create or replace function engine.place_jobs() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from engine.unplaced u where u.job_id = new.job_id) then
    return null;
  end if;
  insert into engine.queues (queue)
    select distinct u.queue from engine.unplaced u order by 1
    on conflict do nothing;
  perform from engine.queues k
    where k.queue in (select u.queue from engine.unplaced u) order by k.queue for share;
  insert into engine.lanes (queue, partition, limit_key, held, paused)
    select want.queue, want.partition, want.limit_key, held.yes, q.paused or held.yes
    from (select distinct u.queue, u.partition, u.limit_key from engine.unplaced u) want
    join engine.queues q on q.queue = want.queue
    cross join lateral (select coalesce(bool_or(l.held), false) as yes from engine.lanes l
      where l.queue = want.queue and l.partition = want.partition) held
    order by 1, 2, 3
    on conflict do nothing;
  with mine as (
    delete from engine.unplaced returning job_id, queue, partition, limit_key
  ), placed as (
    update engine.jobs j set lane = l.id
    from mine m join engine.lanes l
      on l.queue = m.queue and l.partition = m.partition and l.limit_key = m.limit_key
    where j.id = m.job_id
    returning j.lane, j.kind, j.stage
  )
  insert into engine.counter_deltas (lane, kind, state, n)
    select p.lane, p.kind, engine.job_state(p.stage, 0::smallint, null), count(*)
    from placed p group by 1, 2, 3;
  return null;
end $$;

-- Lanes that were born running before that.
update engine.lanes l set held = true, paused = true
where not l.held and exists (select from engine.lanes h
  where h.queue = l.queue and h.partition = l.partition and h.held);

-- Running jobs that somebody asked to stop, for the worker that holds them: it takes its rows away when it
-- looks for the dead, so that it hears of them within a second whatever became of the wake-up. Rows are only
-- ever added by others, so nobody waits for anybody.
create table engine.stop_requests (
  worker   bigint not null,
  job_id   uuid not null,
  asked_at timestamptz not null default now(),
  primary key (worker, job_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
grant select, insert, update, delete on engine.stop_requests to switchyard_engine;

-- Effects that are over are deleted by their age. `created_at` never changes, so that writing a result still
-- touches no index.
create index effects_created on engine.effects (created_at);
