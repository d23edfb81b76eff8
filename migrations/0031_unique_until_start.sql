-- Unique keys that are held until their job begins, and versions of a kind, also from SQL.
--
-- A key of the first sort has `start:` behind its kind. Nothing is written when its job begins (a claim would
-- have to look at every job for it): whoever asks for such a key looks whether its holder has begun.
-- Callers name their arguments, so those of before go on as they are.

-- As in 0005, and a key that is held until its job begins is free once it has.
create or replace function engine.take_key(wanted text, job uuid, lapses timestamptz) returns uuid
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  holder uuid;
begin
  for i in 1..20 loop
    insert into engine.job_uniques (key, job_id, until) values (wanted, job, lapses)
      on conflict do nothing;
    if found then
      return job;
    end if;
    delete from engine.job_uniques q where q.key = wanted and q.until <= statement_timestamp();
    if not found then
      select q.job_id into holder from engine.job_uniques q where q.key = wanted;
      if found then
        if wanted !~ '^[^ ]+ start:' then
          return holder;
        end if;
        -- Locked: it does not begin before the caller, who relies on it, has committed.
        perform from engine.jobs j where j.id = holder and j.fence = 0 for key share;
        if found then
          return holder;
        end if;
        delete from engine.job_uniques q where q.key = wanted and q.job_id = holder;
      end if;
    end if;
  end loop;
  raise exception using errcode = 'serialization_failure',
    message = 'a unique key kept changing hands; try the transaction again';
end $$;

drop function engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text,
  interval, uuid, text, text, text, interval);

-- As in 0018, and: unique_until: 'start', the key is held until the job begins; 'finish', as before, while
-- it is open. A kind may name a version, `lead.assign@2`; all versions of a kind share their keys.
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
  unique_until text        default null,
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
  version  text;
  target   text;
  attempts int;
  millis   numeric;
  wanted   text;
  holder   uuid;
  place    int;
begin
  -- `@2` and above, as the programs write it; the first version has nothing.
  version := coalesce(substring(enqueue.kind from '@(?:[2-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4})$'), '');
  select k.* into declared from engine.kinds k
    where k.kind in (enqueue.kind, left(enqueue.kind, length(enqueue.kind) - length(version)))
    order by k.kind = enqueue.kind desc limit 1;
  name := coalesce(declared.name, left(enqueue.kind, length(enqueue.kind) - length(version)));
  target := coalesce(enqueue.queue, declared.queue);
  attempts := coalesce(enqueue.max_attempts, declared.max_attempts, 20);
  millis := coalesce(extract(epoch from enqueue.timeout) * 1000, declared.timeout_ms, 30000);
  perform engine.check_job(name, target, due, rank, attempts, millis,
    enqueue.run_at is not null and enqueue.delay is not null,
    enqueue.unique_for is not null and enqueue.unique_key is null);
  if enqueue.unique_until not in ('start', 'finish')
    or (enqueue.unique_until is not null
      and (enqueue.unique_key is null or enqueue.unique_for is not null)) then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'unique_until is start or finish, and says so of a unique_key without unique_for',
      hint = 'start: held until the job begins; finish: while it is open';
  end if;
  if enqueue.deadline <= interval '0' then
    raise exception using errcode = 'invalid_parameter_value', message = 'the deadline is over already',
      hint = 'it is an interval from now, for example interval ''1 hour''';
  end if;

  id := engine.new_job_id();
  if enqueue.unique_key is not null then
    -- As the programs write it: the kind, and the key as compact JSON.
    wanted := name || ' ' || case enqueue.unique_until when 'start' then 'start:' else '' end
      || to_json(enqueue.unique_key)::text;
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
    values (enqueue.id, coalesce(place, 0), name || version, rank, due, later, attempts, millis, enqueue.tenant,
      case when enqueue.unique_for is null then wanted end, coalesce(enqueue.args, '{}'),
      enqueue.trace, enqueue.request_id, now, now + enqueue.deadline);
  if place is null then
    insert into engine.unplaced (job_id, queue, partition, limit_key)
      values (enqueue.id, target, part, capped);
  else
    insert into engine.counter_deltas (lane, kind, state, n)
      values (place, name || version, engine.job_state(later, 0::smallint, null), 1);
  end if;
end $$;

revoke all on function
  engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text, interval,
    uuid, text, text, text, interval, text)
  from public;
grant execute on function
  engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text, interval,
    uuid, text, text, text, interval, text)
  to switchyard_enqueue;
