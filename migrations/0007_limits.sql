-- Limits: how many jobs of a queue, a partition or a key may run at once over the whole fleet, and
-- how many may be begun in a stretch of time. Weights of queues. Kinds that are paused.
--
-- A lane is one partition of one queue and one key; it names the limits that its jobs are under. A
-- program that does not know of limits claims past them, so set them when all workers are new; it
-- cannot pause a single partition any more (its statement names the old unique key).
alter table engine.lanes
  add column limit_key text not null default '',      -- a key that jobs chose, besides their partition
  add column limits    int[],                         -- ids, ascending; null: none, and nothing to pay
  drop constraint lanes_queue_partition_key,
  add unique (queue, partition, limit_key);
alter table engine.queues
  add column weight int not null default 1 check (weight between 1 and 1000);
alter table engine.kinds
  add column paused boolean not null default false;

-- Either of a queue (all of it, one partition, or a pattern for each of its partitions) or of a key.
-- Rates are kept as a theoretical arrival time (GCRA): a start at `t` is allowed while
-- tat - t <= (burst - 1) * period / rate, and moves tat on by period / rate. So at most
-- burst + rate * (stretch / period) starts fall into any stretch of time.
create table engine.limits (
  id          int generated always as identity primary key,
  queue       text references engine.queues,
  partition   text,                                    -- null: the whole queue
  limit_key   text,
  each        boolean not null default false,          -- a pattern: every partition gets one like it
  pattern     int references engine.limits on delete cascade,  -- made from this pattern
  max_running int check (max_running > 0),
  rate        int check (rate > 0),                    -- starts
  period_ms   int check (period_ms > 0),               -- in so many milliseconds
  burst       int check (burst > 0),                   -- starts that may come at once
  tat         timestamptz,
  check ((queue is null) <> (limit_key is null)),
  check (partition is null or queue is not null),
  check (not each or (queue is not null and partition is null)),
  check (num_nonnulls(rate, period_ms, burst) in (0, 3)),
  check (num_nonnulls(max_running, rate) > 0),
  unique nulls not distinct (queue, partition, limit_key, each)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Who runs under which limit: written by the claim, gone with the result. A job keeps its charge
-- while its worker is dead and nobody has taken it over, so a slot is never given out twice.
create table engine.charges (
  limit_id int not null,
  job_id   uuid not null,
  primary key (limit_id, job_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table engine.jobs
  add column charged int[];                            -- the limits that its running counts under

-- The limits of a lane. A partition that comes to be under its queue's pattern gets its own. Jobs
-- without a partition are nobody's, so patterns leave them alone.
create function engine.limits_of(lane_queue text, lane_partition text, lane_key text) returns int[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  insert into engine.limits (queue, partition, pattern, max_running, rate, period_ms, burst)
    select p.queue, lane_partition, p.id, p.max_running, p.rate, p.period_ms, p.burst
    from engine.limits p
    where p.queue = lane_queue and p.each and lane_partition <> ''
    on conflict do nothing;
  return (
    select array_agg(l.id order by l.id) from engine.limits l
    where (l.queue = lane_queue and not l.each and (l.partition is null or l.partition = lane_partition))
       or (l.limit_key = lane_key and lane_key <> ''));
end $$;

create function engine.limit_lane() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.limits := engine.limits_of(new.queue, new.partition, new.limit_key);
  return new;
end $$;
create trigger limit_lane before insert on engine.lanes
  for each row execute function engine.limit_lane();

-- After a limit came or went: all lanes are told. No lane is born meanwhile, or it would be born
-- under the old rules. Claims only read lanes and go on.
create function engine.limit_lanes() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  lock table engine.lanes in share row exclusive mode;
  update engine.lanes l set limits = n.limits
  from (select i.id, engine.limits_of(i.queue, i.partition, i.limit_key) as limits from engine.lanes i) n
  where n.id = l.id and l.limits is distinct from n.limits;
end $$;
revoke all on function engine.limits_of(text, text, text), engine.limit_lane(), engine.limit_lanes()
  from public;
grant execute on function engine.limits_of(text, text, text), engine.limit_lanes() to switchyard_engine;

grant select, insert, update, delete on engine.limits, engine.charges to switchyard_engine;
-- The app role settles a job inside the job's own transaction.
grant select, delete on engine.charges to switchyard_app;
grant select on engine.limits to switchyard_app;

-- As in 0005, but a lane has a key now, and jobs enqueued from SQL have none.
create or replace function engine.place_jobs() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from engine.unplaced u where u.job_id = new.job_id) then
    return null;
  end if;
  insert into engine.queues (queue)
    select distinct u.queue from engine.unplaced u order by 1
    on conflict do nothing;
  insert into engine.lanes (queue, partition, paused)
    select want.queue, want.partition, q.paused
    from (select distinct u.queue, u.partition from engine.unplaced u) want
    join (select k.queue, k.paused from engine.queues k
          where k.queue in (select u.queue from engine.unplaced u) order by k.queue for share) q
      on q.queue = want.queue
    order by 1, 2
    on conflict do nothing;
  with mine as (
    delete from engine.unplaced returning job_id, queue, partition
  ), placed as (
    update engine.jobs j set lane = l.id
    from mine m join engine.lanes l on l.queue = m.queue and l.partition = m.partition and l.limit_key = ''
    where j.id = m.job_id
    returning j.lane, j.kind, j.stage
  )
  insert into engine.counter_deltas (lane, kind, state, n)
    select p.lane, p.kind, engine.job_state(p.stage, 0::smallint, null), count(*)
    from placed p group by 1, 2, 3;
  return null;
end $$;

create or replace function engine.enqueue(
  kind         text,
  args         jsonb       default '{}',
  queue        text        default null,
  partition    text        default '',
  priority     int         default 0,
  run_at       timestamptz default null,
  delay        interval    default null,
  max_attempts int         default null,
  timeout      interval    default null,
  unique_key   text        default null,
  unique_for   interval    default null,
  tenant       uuid        default null,
  request_id   text        default null,
  trace        text        default null,
  out id       uuid,
  out inserted boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  now      constant timestamptz := statement_timestamp();
  rank     constant int := coalesce(enqueue.priority, 0);
  part     constant text := coalesce(enqueue.partition, '');
  due      constant timestamptz := coalesce(enqueue.run_at, now + enqueue.delay, now);
  later    constant smallint := (due > now)::int;
  declared engine.kinds;
  name     text;
  target   text;
  attempts int;
  millis   numeric;
  wanted   text;
  holder   uuid;
  place    int;
begin
  select k.* into declared from engine.kinds k where k.kind = enqueue.kind;
  name := coalesce(declared.name, enqueue.kind);
  target := coalesce(enqueue.queue, declared.queue);
  attempts := coalesce(enqueue.max_attempts, declared.max_attempts, 20);
  millis := coalesce(extract(epoch from enqueue.timeout) * 1000, declared.timeout_ms, 30000);
  perform engine.check_job(name, target, due, rank, attempts, millis,
    enqueue.run_at is not null and enqueue.delay is not null,
    enqueue.unique_for is not null and enqueue.unique_key is null);

  id := engine.new_job_id();
  if enqueue.unique_key is not null then
    -- As the programs write it: the kind, and the key as compact JSON.
    wanted := name || ' ' || to_json(enqueue.unique_key)::text;
    holder := engine.take_key(wanted, id, now + enqueue.unique_for);
  end if;
  inserted := holder is null or holder = id;
  if not inserted then
    id := holder;
    return;
  end if;
  select l.id into place from engine.lanes l where l.queue = target and l.partition = part and l.limit_key = '';
  -- Lane 0 is none: such a row is placed before anybody can see it.
  insert into engine.jobs (id, lane, kind, priority, run_at, stage, max_attempts, timeout_ms, tenant,
      unique_key, args, trace, request_id, created_at)
    values (enqueue.id, coalesce(place, 0), name, rank, due, later, attempts, millis, enqueue.tenant,
      case when enqueue.unique_for is null then wanted end, coalesce(enqueue.args, '{}'),
      enqueue.trace, enqueue.request_id, now);
  if place is null then
    insert into engine.unplaced (job_id, queue, partition) values (enqueue.id, target, part);
  else
    insert into engine.counter_deltas (lane, kind, state, n)
      values (place, name, engine.job_state(later, 0::smallint, null), 1);
  end if;
end $$;
