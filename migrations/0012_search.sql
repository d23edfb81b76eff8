-- Search over the history. A slice gets its indexes for searching when its day is over: the slice of
-- today is written to all the time, and every index on it would be paid for by every job.

-- Trigrams come with PostgreSQL's contrib modules. Where they are not installed everything works, and
-- a search for an error's text looks at the rows.
do $$
begin
  create extension if not exists pg_trgm with schema engine;
exception when others then
  raise notice 'pg_trgm is not there (%): searching error texts will be slow', sqlerrm;
end $$;

-- The slices of the history, of any retention class, with their day; sealed if they have the indexes
-- for searching. The catalogue is asked, so that nothing can differ from what is there.
create function engine.history_slices() returns table (slice name, class smallint, day date, sealed boolean)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select c.relname, split_part(c.relname, '_', 3)::smallint, to_date(right(c.relname, 8), 'YYYYMMDD'),
    exists (select from pg_class i join pg_index x on x.indexrelid = i.oid
      where x.indrelid = c.oid and x.indisvalid and i.relname = c.relname || '_sealed_args')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'engine' and c.relkind = 'r' and c.relname ~ '^job_history_[0-9]+_[0-9]{8}$'
$$;

-- Seals the oldest slice that is not sealed and whose day has been over for ten minutes: what was
-- written in its last moment is there by then. Gives the slice, or nothing if there is none. The
-- plain build keeps writers away from the slice, but there are none any more. One slice a call, one
-- caller at a time; a caller that finds another at it has nothing to do. Whoever calls sets how long
-- it may take.
create function engine.seal_slice() returns name
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set maintenance_work_mem = '128MB' as $$
declare
  oldest name;
  trigrams name;
begin
  if not pg_try_advisory_xact_lock(1398231890, 1) then
    return null;
  end if;
  select s.slice into oldest from engine.history_slices() s
  where not s.sealed and s.day < ((now() at time zone 'UTC') - interval '10 minutes')::date
  order by s.day, s.class limit 1;
  if oldest is null then
    return null;
  end if;
  select n.nspname into trigrams
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm';
  if trigrams is not null then
    execute format('create index %I on engine.%I using gin (error %I.gin_trgm_ops) where error is not null',
      oldest || '_sealed_error', oldest, trigrams);
  end if;
  -- Few jobs are cancelled, and they are what people look for.
  execute format('create index %I on engine.%I (finished_at, id) where outcome = 9',
    oldest || '_sealed_cancelled', oldest);
  execute format('create index %I on engine.%I using gin (args jsonb_path_ops)',
    oldest || '_sealed_args', oldest);
  execute format('analyze engine.%I', oldest);
  return oldest;
end $$;
revoke all on function engine.history_slices(), engine.seal_slice() from public;
grant execute on function engine.history_slices(), engine.seal_slice() to switchyard_engine;
