-- Outbound webhooks: who wants to hear of what, what was told, and every attempt to tell it.
-- Endpoints without an agency are the platform's partners: no agency sees them.

create table switchyard.webhook_endpoints (
  id               uuid primary key,
  agency_id        uuid references switchyard.agencies,  -- null: a partner of the platform
  url              text not null,
  description      text not null default '',
  events           text[] not null check (cardinality(events) between 1 and 50),
  ordered          boolean not null default false,       -- one at a time, in the order of commits
  state            text not null default 'active' check (state in ('active', 'paused', 'disabled')),
  reason           text,                                 -- why it is paused or disabled
  state_since      timestamptz not null default now(),
  secret           bytea not null,                       -- sealed with the master key
  old_secret       bytea,                                -- signs as well until then
  old_secret_until timestamptz,
  rate             int check (rate between 1 and 1000),  -- requests a second; null: no limit
  last_seq         bigint not null default 0,            -- of an ordered endpoint's deliveries
  failing_since    timestamptz,
  last_failure_at  timestamptz,
  last_success_at  timestamptz,
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now(),
  constraint webhook_endpoints_old_secret check ((old_secret is null) = (old_secret_until is null))
);
create index webhook_endpoints_agency on switchyard.webhook_endpoints (agency_id);

-- What is told, once for all endpoints that want it; written with the thing it tells of.
create table switchyard.outbound_messages (
  id         uuid primary key,                           -- webhook-id is `msg_` and its digits
  type       text not null,
  agency_id  uuid,                                       -- whose lead it is about
  lead_id    uuid,
  payload    jsonb not null,
  created_at timestamptz not null default now()
);
create index outbound_messages_age on switchyard.outbound_messages (created_at);

-- One message for one endpoint. `job_id` is the one job that may send it; without one it is held (its
-- endpoint is paused, or an earlier message of an ordered endpoint is not through).
create table switchyard.outbound_deliveries (
  endpoint_id   uuid not null,                           -- stays when the endpoint is removed
  message_id    uuid not null references switchyard.outbound_messages on delete cascade,
  agency_id     uuid,                                    -- the endpoint's
  seq           bigint,                                  -- place in the line of an ordered endpoint
  state         text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
  job_id        uuid,
  attempts      int not null default 0,
  calling_since timestamptz,                             -- an attempt is under way
  next_at       timestamptz,                             -- when it is tried again
  last_status   int,
  last_error    text,
  created_at    timestamptz not null default now(),
  settled_at    timestamptz,
  primary key (endpoint_id, message_id)
);
create index outbound_deliveries_line on switchyard.outbound_deliveries (endpoint_id, seq, message_id)
  where state = 'pending';
create index outbound_deliveries_failed on switchyard.outbound_deliveries (endpoint_id, settled_at)
  where state = 'failed';
create index outbound_deliveries_held on switchyard.outbound_deliveries (endpoint_id, message_id)
  where state = 'pending' and job_id is null;
create index outbound_deliveries_message on switchyard.outbound_deliveries (message_id);

-- The delivery log: a row is written before the call and completed after it.
create table switchyard.outbound_attempts (
  endpoint_id uuid not null,
  message_id  uuid not null,
  n           int not null,
  agency_id   uuid,
  job_id      uuid not null,
  started_at  timestamptz not null default now(),
  duration_ms int,                                       -- null: under way, or cut off
  status      int,                                       -- null: no answer came
  body        text,                                      -- the first 2 KiB of the answer
  error       text,
  primary key (endpoint_id, message_id, n),
  foreign key (endpoint_id, message_id) references switchyard.outbound_deliveries on delete cascade
);
create index outbound_attempts_recent on switchyard.outbound_attempts (endpoint_id, started_at);

do $$
declare t text;
begin
  foreach t in array array['webhook_endpoints', 'outbound_messages', 'outbound_deliveries', 'outbound_attempts'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('create policy tenant on switchyard.%I to switchyard_app
      using (agency_id = (select switchyard.tenant()))
      with check (agency_id = (select switchyard.tenant()))', t);
    execute format('grant select, insert, update on switchyard.%I to switchyard_app', t);
  end loop;
end $$;
grant delete on switchyard.webhook_endpoints, switchyard.outbound_messages to switchyard_app;

-- `*`, an event, or a group: `lead.*`. As `subscribed` in jobs/domain/src/outbound/event.rs.
create function switchyard.event_matches(patterns text[], kind text) returns boolean
language sql immutable parallel safe
  return '*' = any(patterns) or kind = any(patterns) or split_part(kind, '.', 1) || '.*' = any(patterns);

-- A disabled endpoint's messages are kept for it for a month; then nobody seems to want them.
create function switchyard.endpoint_listens(state text, since timestamptz) returns boolean
language sql stable parallel safe
  return state <> 'disabled' or since > now() - interval '30 days';

-- What anybody subscribes to. An agency's transaction must learn of partners, which it cannot see.
create function switchyard.webhook_subscriptions() returns table (agency_id uuid, events text[])
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select distinct e.agency_id, e.events from switchyard.webhook_endpoints e
  where switchyard.endpoint_listens(e.state, e.state_since)
    and (switchyard.is_platform() or switchyard.tenant() is not null)
$$;

-- Writes messages and their deliveries for everybody who wants them; gives those that can be sent
-- now, each with the id of the job that is to send it. An agency speaks of its own leads only.
--
-- The line of an ordered endpoint is locked until the commit, so its order is the order of commits.
-- All lines are locked first and by id, and the caller does this last: no two of them can deadlock.
create function switchyard.webhook_emit(
  ids uuid[], kinds text[], agencies uuid[], leads uuid[], bodies jsonb[],
  out endpoint uuid, out tenant uuid, out message uuid, out job uuid
) returns setof record
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  e     record;
  i     int;
  place bigint;
  told  boolean;
begin
  if not switchyard.is_platform() and (switchyard.tenant() is null or exists (
      select from unnest(agencies) a where a is distinct from switchyard.tenant())) then
    raise exception 'an agency tells of its own leads only' using errcode = 'insufficient_privilege';
  end if;
  perform from switchyard.webhook_endpoints w
    where w.ordered and exists (
      select from unnest(kinds, agencies) as k(kind, agency)
      where (w.agency_id is null or w.agency_id = k.agency) and switchyard.event_matches(w.events, k.kind))
    order by w.id for no key update;
  for i in 1 .. coalesce(cardinality(ids), 0) loop
    told := false;
    for e in
      select w.id, w.agency_id, w.ordered, w.state from switchyard.webhook_endpoints w
      where (w.agency_id is null or w.agency_id = agencies[i])
        and switchyard.event_matches(w.events, kinds[i])
        and switchyard.endpoint_listens(w.state, w.state_since)
      order by w.id
    loop
      if not told then
        insert into switchyard.outbound_messages (id, type, agency_id, lead_id, payload)
          values (ids[i], kinds[i], agencies[i], leads[i], jsonb_build_object('type', kinds[i],
            'timestamp', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'data', bodies[i]));
        told := true;
      end if;
      select d.place, d.job into place, job
        from switchyard.webhook_line_up(e.id, e.ordered, e.state) d;
      insert into switchyard.outbound_deliveries (endpoint_id, message_id, agency_id, seq, job_id)
        values (e.id, ids[i], e.agency_id, place, webhook_emit.job);
      if job is not null then
        endpoint := e.id;
        tenant := e.agency_id;
        message := ids[i];
        return next;
      end if;
    end loop;
  end loop;
end $$;

-- The next place in an endpoint's line, and the id of a job if it can be sent at once.
create function switchyard.webhook_line_up(
  endpoint uuid, ordered boolean, state text, out place bigint, out job uuid
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  first boolean := true;
begin
  if ordered then
    update switchyard.webhook_endpoints w set last_seq = w.last_seq + 1
      where w.id = endpoint returning w.last_seq into place;
    first := not exists (select from switchyard.outbound_deliveries d
      where d.endpoint_id = endpoint and d.state = 'pending');
  end if;
  if first and state = 'active' then
    job := engine.new_job_id();
  end if;
end $$;

revoke all on function switchyard.webhook_subscriptions(),
  switchyard.webhook_emit(uuid[], text[], uuid[], uuid[], jsonb[]),
  switchyard.webhook_line_up(uuid, boolean, text) from public;
grant execute on function switchyard.webhook_subscriptions(),
  switchyard.webhook_emit(uuid[], text[], uuid[], uuid[], jsonb[]) to switchyard_app;
