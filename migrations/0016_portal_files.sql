-- Portals as files: their versions and tokens; persons seen twice; replays; leads that are fetched;
-- portals that went silent; bodies that are compressed when they are old.

-- Portals -----------------------------------------------------------------------------------

alter table switchyard.portals
  add column former_key_until timestamptz, -- null beside a former key: until the next rotation
  add column signing_after    bytea,       -- sealed: what signing_secret becomes ...
  add column signing_after_at timestamptz, -- ... at this instant
  add column enrich_token     bytea;       -- sealed: what we show where the rest of a lead is fetched

-- Every state of the settings there ever was; what judged an event is found by its number.
create table switchyard.portal_versions (
  portal_id  uuid not null references switchyard.portals,
  version    int not null,
  settings   jsonb not null,
  changed_by text not null,                    -- 'cli:ada', 'admin:<id>', or the login
  changed_at timestamptz not null default now(),
  primary key (portal_id, version)
);

-- By a trigger, so that no way of changing a portal can forget it.
create function switchyard.keep_portal_version() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  insert into switchyard.portal_versions (portal_id, version, settings, changed_by)
  values (new.id, new.version, new.settings,
          coalesce(nullif(current_setting('switchyard.by', true), ''), session_user))
  on conflict do nothing;
  return null;
end $$;
create trigger portals_keep_version after insert or update of settings, version on switchyard.portals
  for each row execute function switchyard.keep_portal_version();
insert into switchyard.portal_versions (portal_id, version, settings, changed_by, changed_at)
  select id, version, settings, session_user, updated_at from switchyard.portals;

-- Events ------------------------------------------------------------------------------------

alter table switchyard.webhook_events
  add column body_encoding text check (body_encoding = 'gzip'), -- null: as it came
  add column body_bytes    int;                                 -- as it came, beside an encoding

-- How far something that goes through the events has come.
create table switchyard.event_marks (
  name        text primary key,
  received_at timestamptz not null,
  id          uuid not null
);

-- Leads -------------------------------------------------------------------------------------

alter table switchyard.leads
  add column consent_proof jsonb, -- by consent: what was shown, when, from which address, on which page
  add column duplicate_of uuid references switchyard.leads, -- the same person asked before
  add column merges       jsonb, -- [{"event","at","fields"}]: what later events of this person added
  add column fetch_url    text,  -- where the rest is fetched, without the token
  add column fetch_error  text,  -- why it could not be fetched
  add column fetched      jsonb; -- what the provider answered

-- Who was seen, by SHA-256 of what identifies a person within a portal (or the platform) and, if
-- asked for, a product. The primary key makes exactly one of two simultaneous deliveries the first.
create table switchyard.person_keys (
  key        bytea primary key,
  lead_id    uuid not null,
  seen_at    timestamptz not null,             -- when the first event came; the window runs from here
  expires_at timestamptz not null
);
create index person_keys_expiry on switchyard.person_keys (expires_at);

-- Replays -----------------------------------------------------------------------------------

create table switchyard.replays (
  id           uuid primary key,
  portal_id    uuid references switchyard.portals,  -- null: of all portals
  from_at      timestamptz,
  to_at        timestamptz not null,
  state        text,                                -- events in this state; null: in any
  dry_run      boolean not null,
  requested_by text not null,
  total        bigint not null,                     -- counted at the start, up to 100,000
  cursor_at    timestamptz,
  cursor_id    uuid,
  counts       jsonb not null default '{}',
  changes      jsonb not null default '[]',         -- the first 200 events with a difference
  created_at   timestamptz not null default now(),
  finished_at  timestamptz
);
create index replays_recent on switchyard.replays (created_at desc);

-- Portals that went silent ------------------------------------------------------------------

-- Gaps between the events of a portal, a row a day and length: bucket n holds gaps of 2^(n/8)
-- seconds and more.
create table switchyard.portal_gaps (
  portal_id uuid not null references switchyard.portals,
  day       date not null,
  bucket    smallint not null,
  n         bigint not null,
  primary key (portal_id, day, bucket)
);
create table switchyard.portal_pulse (
  portal_id     uuid primary key references switchyard.portals,
  last_event_at timestamptz not null,
  usual_gap     interval,                      -- null: not enough is known yet
  silent_since  timestamptz                    -- null: not silent
);

-- Row-level security ------------------------------------------------------------------------

do $$
declare t text;
begin
  foreach t in array array['portal_versions', 'event_marks', 'person_keys', 'replays', 'portal_gaps', 'portal_pulse'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('grant select, insert, update on switchyard.%I to switchyard_app', t);
  end loop;
end $$;
revoke update on switchyard.portal_versions from switchyard_app;
grant delete on switchyard.person_keys, switchyard.portal_gaps, switchyard.replays to switchyard_app;
