-- Kinds whose arguments are encrypted. They are stored as {"$sealed": {"key": "...", "data": "..."}},
-- so the schema and programs that know nothing of it are unharmed: such a program knows no such kind.
alter table engine.kinds
  add column encrypted boolean not null default false;

-- What a rotation of keys and the doctor look for, among however many open jobs.
create index jobs_sealed on engine.jobs (id) where args ? '$sealed';

-- Refuses a job that makes no sense, with a sentence and a hint, as an invalid parameter. The database
-- has no key, so it cannot take jobs whose arguments it must not see.
create or replace function engine.check_job(
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
    (not exists (select from engine.kinds k where k.kind = check_job.name and k.encrypted),
      format('the arguments of `%s` are encrypted, and the database has no key', name),
      'enqueue it by POST /api/admin/jobs, by `switchyard enqueue`, or from a program of yours'),
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

-- Until when a job is of use: one that nobody has begun by then is a dead letter. In the index are those
-- that can still be begun (ready, later, pending, parked); a claim changes neither column.
alter table engine.jobs add column deadline timestamptz;
create index jobs_deadline on engine.jobs (deadline) where deadline is not null and stage <= 3;
