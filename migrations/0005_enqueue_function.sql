-- Enqueuing from any language: one function, in the caller's own transaction.

do $$
begin
  create role switchyard_enqueue nologin noinherit nobypassrls;
exception when duplicate_object or unique_violation then null;
end $$;

-- What workers say of the kinds that they know, so that a caller who names only the kind gets its
-- queue and its limits. A kind that was renamed has a row for each of its names.
create table engine.kinds (
  kind         text primary key,
  name         text not null,             -- the permanent name, under which the job is stored
  queue        text not null,
  max_attempts smallint not null check (max_attempts > 0),
  timeout_ms   int not null check (timeout_ms > 0),
  declared_at  timestamptz not null default now()
);
grant select, insert, update, delete on engine.kinds to switchyard_engine;
grant select on engine.kinds to switchyard_app;

-- A key with `until` belongs to a stretch of time and not to a job: it is held until then whatever
-- becomes of the job, and the job's row does not name it, so that the job's end does not free it.
alter table engine.job_uniques add column until timestamptz;
create index job_uniques_until on engine.job_uniques (until) where until is not null;

-- Answers to requests that carried an Idempotency-Key, for those who did not hear them.
create table engine.requests (
  key        text primary key,            -- who asked, and their key
  digest     text not null,               -- of what was asked
  answer     jsonb,
  created_at timestamptz not null default now()
);
create index requests_created on engine.requests (created_at);
grant select, insert, update on engine.requests to switchyard_app;
grant select, update, delete on engine.requests to switchyard_engine;

-- A job's id: RFC 9562, version 7, with the microseconds behind the milliseconds, so that jobs of
-- one statement keep their order.
create function engine.new_job_id() returns uuid
language sql volatile parallel safe set search_path = pg_catalog, pg_temp as $$
  select (lpad(to_hex(now.us / 1000), 12, '0') || to_hex(28672 + (now.us % 1000) * 4096 / 1000)
          || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid
  from (select floor(extract(epoch from clock_timestamp()) * 1000000)::bigint as us) now
$$;

-- Jobs of transactions that are under way and whose lane does not exist yet. Rows go before they
-- can be seen by anybody else: committed, this table is always empty.
create table engine.unplaced (
  job_id    uuid primary key,
  queue     text not null,
  partition text not null
);

-- Makes the lanes that this transaction lacks and places its jobs in them, as its last act: whoever
-- needs the same new lane waits for the commit that is already under way, not for a caller that
-- takes its time. The first row's turn places all; queues and lanes are made in their order, so two
-- commits cannot deadlock. The share lock on the queue's row makes a pause and the birth of a lane
-- wait for each other.
create function engine.place_jobs() returns trigger
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
    from mine m join engine.lanes l on l.queue = m.queue and l.partition = m.partition
    where j.id = m.job_id
    returning j.lane, j.kind, j.stage
  )
  insert into engine.counter_deltas (lane, kind, state, n)
    select p.lane, p.kind, engine.job_state(p.stage, 0::smallint, null), count(*)
    from placed p group by 1, 2, 3;
  return null;
end $$;
create constraint trigger place_jobs after insert on engine.unplaced
  deferrable initially deferred for each row execute function engine.place_jobs();

-- Refuses a job that makes no sense, with a sentence and a hint, as an invalid parameter.
create function engine.check_job(
  name text, queue text, due timestamptz, priority int, attempts int, millis numeric,
  two_times boolean, keyless boolean
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  fault record;
begin
  select f.why, f.hint into fault
  from (values
    (coalesce(name, '') ~ '^[^[:space:]]{1,200}$', 'a kind is a word', 'for example lead.distribute'),
    (queue is not null, format('no worker has ever declared the kind `%s`', name),
      'check its spelling, or say in which queue it is to wait: queue => ...'),
    (queue ~ '^[a-z0-9-]{1,200}$', format('`%s` is no name of a queue', queue),
      'lower-case letters, digits and dashes'),
    (not two_times, 'run_at and delay exclude each other', 'give one of them'),
    (due between timestamptz '0001-01-01 00:00+00' and statement_timestamp() + interval '1000 years',
      'the job is due out of bounds', 'within a thousand years'),
    (priority between -32768 and 32767, 'priority is out of bounds', 'from -32768 to 32767'),
    (attempts between 1 and 32767, 'max_attempts is out of bounds', 'from 1 to 32767'),
    (millis between 1 and 2147483647, 'timeout is out of bounds', 'from a millisecond to 24 days'),
    (not keyless, 'unique_for needs a unique_key', 'say what is unique for that long')
  ) f(holds, why, hint)
  where f.holds is not true
  limit 1;
  if found then
    raise exception using errcode = 'invalid_parameter_value', message = fault.why, hint = fault.hint;
  end if;
end $$;

-- Takes a unique key for a job, or gives the job that holds it. Waits for the end of another
-- transaction that is just taking or releasing the key. The rounds are for keys that keep changing
-- hands between "it is taken" and "by whom?".
create function engine.take_key(wanted text, job uuid, lapses timestamptz) returns uuid
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
        return holder;
      end if;
    end if;
  end loop;
  raise exception using errcode = 'serialization_failure',
    message = 'a unique key kept changing hands; try the transaction again';
end $$;

-- Enqueues one job in the caller's transaction: it exists if and when that commits.
--
--   select * from engine.enqueue('lead.distribute', '{"lead": "..."}', unique_key => '...');
--
-- Gives the job's id and whether it was inserted; with `inserted` false, `id` is the job that holds
-- the unique key. (Write `select * from`: `select (f()).*` would call it twice.)
--
-- queue, max_attempts, timeout: what the kind's workers declared. A kind that no worker ever
-- declared needs a queue, gets 20 attempts of 30 s, and waits until a worker knows it.
-- partition: fair-share key within the queue. priority: lower runs first. run_at, or delay from now.
-- unique_key: while a job of this kind with this key is open, that job is the answer; the same as
-- `unique_by` with a text. unique_for: the key is held that long instead, whatever becomes of the job.
-- tenant: the agency in whose scope it runs. request_id: to find it by. trace: W3C traceparent.
--
-- Nobody is notified (NOTIFY would queue all commits behind one lock): a worker that is idle looks
-- for such jobs once a second.
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
  select l.id into place from engine.lanes l where l.queue = target and l.partition = part;
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

-- The role may execute this one function and do nothing else.
revoke all on function
  engine.new_job_id(), engine.place_jobs(),
  engine.check_job(text, text, timestamptz, int, int, numeric, boolean, boolean),
  engine.take_key(text, uuid, timestamptz), engine.job_state(smallint, smallint, bigint),
  engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text, interval,
    uuid, text, text)
  from public;
grant execute on function engine.job_state(smallint, smallint, bigint)
  to switchyard_app, switchyard_engine;
grant usage on schema engine to switchyard_enqueue;
grant execute on function
  engine.enqueue(text, jsonb, text, text, int, timestamptz, interval, int, interval, text, interval,
    uuid, text, text)
  to switchyard_enqueue;
