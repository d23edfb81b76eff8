-- `engine.enqueue` learns what the programs can say: a limit key, and until when the job is of use.
-- Callers name their arguments, so those of before go on as they are.

alter table engine.unplaced add column limit_key text not null default '';

create or replace function engine.place_jobs() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from engine.unplaced u where u.job_id = new.job_id) then
    return null;
  end if;
  insert into engine.queues (queue)
    select distinct u.queue from engine.unplaced u order by 1
    on conflict do nothing;
  insert into engine.lanes (queue, partition, limit_key, paused)
    select want.queue, want.partition, want.limit_key, q.paused
    from (select distinct u.queue, u.partition, u.limit_key from engine.unplaced u) want
    join (select k.queue, k.paused from engine.queues k
          where k.queue in (select u.queue from engine.unplaced u) order by k.queue for share) q
      on q.queue = want.queue
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

drop function engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text,
  interval, uuid, text, text);

-- As in 0005, and: limit_key: a key under whose limit the job runs, besides those of its queue and
-- partition. deadline: so long from now the job is of use; one that nobody has begun by then is a dead
-- letter.
create function engine.enqueue(
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
  limit_key    text        default '',
  deadline     interval    default null,
  out id       uuid,
  out inserted boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  now      constant timestamptz := statement_timestamp();
  rank     constant int := coalesce(enqueue.priority, 0);
  part     constant text := coalesce(enqueue.partition, '');
  capped   constant text := coalesce(enqueue.limit_key, '');
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
  if enqueue.deadline <= interval '0' then
    raise exception using errcode = 'invalid_parameter_value', message = 'the deadline is over already',
      hint = 'it is an interval from now, for example interval ''1 hour''';
  end if;

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
  select l.id into place from engine.lanes l
    where l.queue = target and l.partition = part and l.limit_key = capped;
  -- Lane 0 is none: such a row is placed before anybody can see it.
  insert into engine.jobs (id, lane, kind, priority, run_at, stage, max_attempts, timeout_ms, tenant,
      unique_key, args, trace, request_id, created_at, deadline)
    values (enqueue.id, coalesce(place, 0), name, rank, due, later, attempts, millis, enqueue.tenant,
      case when enqueue.unique_for is null then wanted end, coalesce(enqueue.args, '{}'),
      enqueue.trace, enqueue.request_id, now, now + enqueue.deadline);
  if place is null then
    insert into engine.unplaced (job_id, queue, partition, limit_key)
      values (enqueue.id, target, part, capped);
  else
    insert into engine.counter_deltas (lane, kind, state, n)
      values (place, name, engine.job_state(later, 0::smallint, null), 1);
  end if;
end $$;

revoke all on function
  engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text, interval,
    uuid, text, text, text, interval)
  from public;
grant execute on function
  engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text, interval,
    uuid, text, text, text, interval)
  to switchyard_enqueue;
