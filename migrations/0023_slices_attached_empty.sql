-- Slices of the history are attached empty, and what waited in the default slice goes into them through
-- their parent. A slice that was filled before it was attached had rows that no publication of its root
-- told of, so the next increment of the backup asked for a full one.
--
-- And making or dropping a slice never waits long: whoever wants the history while it waits has to wait
-- behind it, and a full backup reads every slice from its beginning to its end.

-- The slice of `parent` that begins at `d`. Rows of its range that lie in the default slice are put aside
-- while it is attached: a default that holds rows of a range refuses a slice for that range. If a reader
-- that stays is in the way of the default slice, a later call makes what is missing: slices are made a week
-- ahead, so hours are no loss.
create or replace function engine.ensure_slice(parent text, stamp text, d date, step interval) returns int
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' set timezone = 'UTC' as $$
declare
  slice text := parent || '_' || to_char(d, 'YYYYMMDD');
  aside text := parent || '_aside';
  first timestamptz := d::timestamptz;
  after timestamptz := (d + step)::timestamptz;
  waiting boolean;
begin
  if to_regclass('engine.' || slice) is not null then
    return 0;
  end if;
  -- Attaching takes this lock in any case. Taken first, nothing comes between the looking and the attaching.
  execute format('lock table only engine.%I in access exclusive mode', parent || '_default');
  execute format('select exists (select from engine.%I where %I >= %L and %I < %L)',
    parent || '_default', stamp, first, stamp, after) into waiting;
  if waiting then
    -- Unlogged: it is gone again before anybody can see it.
    execute format('create unlogged table engine.%I (like engine.%I)', aside, parent);
    execute format('with moved as (delete from engine.%I where %I >= %L and %I < %L returning *)
                    insert into engine.%I select * from moved',
      parent || '_default', stamp, first, stamp, after, aside);
  end if;
  execute format('create table engine.%I (like engine.%I including all)', slice, parent);
  execute format('alter table engine.%I attach partition engine.%I for values from (%L) to (%L)',
    parent, slice, first, after);
  if waiting then
    execute format('insert into engine.%I select * from engine.%I', parent, aside);
    execute format('drop table engine.%I', aside);
  end if;
  return 1;
end $$;

-- Drops the slices whose every row is older than its class's day, `before` by class from 0. A slice that
-- somebody has been reading for more than a second is left for a later call, and so is the rest if a lock
-- is not had at once: dropping locks the parent, behind which everybody queues who settles a job. A row that
-- is left in a default slice (nobody made slices for a while) is the one thing that is deleted.
create or replace function engine.drop_slices(before date[]) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms' set timezone = 'UTC' as $$
declare
  old record;
  dropped int := 0;
begin
  for old in
    select c.relname from engine.sliced() s
    join pg_class c on c.relkind = 'r'
    join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'engine'
    where case when c.relname ~ ('^' || s.parent || '_[0-9]{8}$')   -- a case, so that it is asked first
      then to_date(right(c.relname, 8), 'YYYYMMDD') + s.step <= before[s.class + 1] end
    and not exists (select from pg_locks l
      join pg_database b on b.oid = l.database and b.datname = current_database()
      join pg_stat_activity a on a.pid = l.pid
      where l.locktype = 'relation' and l.relation = c.oid and l.granted and l.pid <> pg_backend_pid()
        and a.xact_start < clock_timestamp() - interval '1 second')
    order by 1
  loop
    begin
      execute format('drop table engine.%I', old.relname);
      dropped := dropped + 1;
    exception when lock_not_available then
      exit;
    end;
  end loop;
  for old in select s.parent, s.stamp, before[s.class + 1] as day from engine.sliced() s loop
    execute format('delete from engine.%I where %I < %L',
      old.parent || '_default', old.stamp, old.day::timestamptz);
  end loop;
  return dropped;
end $$;
