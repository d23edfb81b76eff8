-- The platform: portals, events, leads, agencies, messages. Tenant = agency; every tenant table
-- carries row-level security from its first day. The scope is set per transaction, in one place
-- of `store`: `switchyard.scope` is 'platform' or 'tenant', `switchyard.tenant` the agency's id.
-- With neither set nothing is visible: deny by default.
create schema switchyard;
grant usage on schema switchyard to switchyard_app;

create function switchyard.is_platform() returns boolean language sql stable parallel safe
  return coalesce(current_setting('switchyard.scope', true), '') = 'platform';
create function switchyard.tenant() returns uuid language sql stable parallel safe
  return nullif(current_setting('switchyard.tenant', true), '')::uuid;

-- People who sign in ------------------------------------------------------------------------

create table switchyard.administrators (
  id            uuid primary key,
  email         text not null,
  name          text not null,
  password_hash text not null,
  created_at    timestamptz not null default now(),
  disabled_at   timestamptz
);
create unique index administrators_email on switchyard.administrators (lower(email));

create table switchyard.agencies (
  id               uuid primary key,
  name             text not null,
  email            text not null,
  phone            text,                           -- E.164
  password_hash    text not null,
  active           boolean not null default true,
  subscribed_until timestamptz,                    -- null: no subscription
  catch_all        boolean not null default false, -- takes leads without a postal code
  created_at       timestamptz not null default now()
);
create unique index agencies_email on switchyard.agencies (lower(email));
create index agencies_catch_all on switchyard.agencies (id) where catch_all;

create table switchyard.agents (
  id         uuid primary key,
  agency_id  uuid not null references switchyard.agencies,
  name       text not null,
  email      text,
  phone      text,                                 -- E.164, WhatsApp
  active     boolean not null default true,
  created_at timestamptz not null default now()
);
create index agents_agency on switchyard.agents (agency_id);

create table switchyard.territories (
  agency_id   uuid not null references switchyard.agencies,
  country     text not null,                       -- ISO 3166-1 alpha-2
  postal_code text not null,                       -- upper case, no blanks at the ends
  created_at  timestamptz not null default now(),
  primary key (agency_id, country, postal_code)
);
-- The code first: under row-level security only it can be searched (coalesce is not leakproof).
create index territories_code on switchyard.territories (postal_code, country);

-- What comes in -----------------------------------------------------------------------------

create table switchyard.portals (
  id              uuid primary key,
  code            text not null unique,
  name            text not null,
  active          boolean not null default true,
  settings        jsonb not null,                  -- authentication, mapping, reply; no secrets
  version         int not null default 1,          -- rises with every change of the settings
  api_key_hash    bytea,                           -- SHA-256 of a random key; null: signature only
  signing_secret  bytea,                           -- sealed with the master key
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  constraint portals_authenticated check (api_key_hash is not null or signing_secret is not null)
);

create table switchyard.webhook_events (
  id              uuid primary key,
  portal_id       uuid not null references switchyard.portals,
  received_at     timestamptz not null default now(),
  body            bytea not null,                  -- exactly as it came
  headers         jsonb not null,                  -- without credentials
  remote_addr     text,
  request_id      text,
  state           text not null default 'received'
                  check (state in ('received', 'processed', 'rejected')),
  reasons         jsonb,                           -- [{"field","code","message"}]
  portal_version  int,                             -- of the settings that judged it
  processed_at    timestamptz,
  lead_id         uuid                             -- the lead it became, or the one it repeats
);
create index webhook_events_recent on switchyard.webhook_events (received_at desc, id desc);
create index webhook_events_rejected on switchyard.webhook_events (portal_id, received_at) where state = 'rejected';
create index webhook_events_refused on switchyard.webhook_events (received_at desc, id desc) where state = 'rejected';

-- Which delivery was seen: the sender's id for good, a body's hash for a day.
-- No foreign keys: this is the hottest insert, and the event beside each row has them.
create table switchyard.delivery_keys (
  portal_id  uuid not null,
  key        text not null,                        -- 'id:...' or 'sha256:...'
  event_id   uuid not null,
  expires_at timestamptz,                          -- null: kept for good
  primary key (portal_id, key)
);
create index delivery_keys_expiry on switchyard.delivery_keys (expires_at) where expires_at is not null;

create table switchyard.leads (
  id           uuid primary key,
  portal_id    uuid not null references switchyard.portals,
  event_id     uuid not null references switchyard.webhook_events,
  agency_id    uuid references switchyard.agencies,  -- who holds it now
  state        text not null default 'new'
               check (state in ('new', 'assigned', 'accepted', 'unassigned')),
  external_id  text,
  first_name   text,
  last_name    text,
  company      text,
  email        text,
  phone        text,
  country      text,
  postal_code  text,
  city         text,
  product      text,                               -- StandardLead::interest
  message      text,
  budget       numeric,                            -- in units of the currency, as exact as it was sent
  currency     text,
  source       text,
  consent      jsonb,
  utm          jsonb,
  campaign     jsonb,
  custom       jsonb,
  warnings     jsonb,
  is_test      boolean not null default false,
  submitted_at timestamptz,
  created_at   timestamptz not null default now(),
  updated_at   timestamptz not null default now()
);
create unique index leads_event on switchyard.leads (event_id);
create unique index leads_external on switchyard.leads (portal_id, external_id) where external_id is not null;
create index leads_agency on switchyard.leads (agency_id, id);
create index leads_recent on switchyard.leads (created_at desc, id desc);
create index leads_state on switchyard.leads (state, created_at desc, id desc);
-- What nobody holds: found again when a territory is added.
create index leads_waiting on switchyard.leads (id) where state in ('new', 'unassigned');

-- Who gets it -------------------------------------------------------------------------------

-- One row a territory; its lock makes the round robin strict.
create table switchyard.lead_distribution_sequence (
  key         text primary key,                    -- 'PL:00-950', or '*' for the catch-all
  position    bigint not null default 0,           -- how many leads were given out here
  last_agency uuid
);

create table switchyard.lead_assignments (
  id           uuid primary key,
  lead_id      uuid not null references switchyard.leads,
  agency_id    uuid not null references switchyard.agencies,
  state        text not null default 'offered' check (state in ('offered', 'accepted', 'rejected')),
  reason       text not null check (reason in ('round_robin', 'catch_all', 'manual')),
  explanation  text not null,                      -- one sentence for people
  sequence_key text,
  position     bigint,
  job_id       uuid,
  assigned_at  timestamptz not null default now(),
  responded_at timestamptz,
  note         text,                               -- why it was rejected
  unique (lead_id, agency_id)
);
create unique index lead_assignments_one_open on switchyard.lead_assignments (lead_id)
  where state in ('offered', 'accepted');
create index lead_assignments_agency on switchyard.lead_assignments (agency_id, assigned_at desc);

-- Who may get a lead now, and whose turn list (key) they share: agencies that are active, subscribed,
-- cover the place and were not given this lead before; if there is none, the catch-all agencies.
-- A lead without a country is matched by its postal code alone, if only one country has that code.
create function switchyard.candidates(lead uuid, lead_country text, lead_code text)
returns table (agency uuid, key text, reason text) language sql stable
begin atomic
  with place as (
    select coalesce(lead_country,
      (select min(t.country) from switchyard.territories t where t.postal_code = lead_code
       having count(distinct t.country) = 1)) as country
  ), covering as (
    select t.agency_id, t.country from place p
    join switchyard.territories t on t.country = p.country and t.postal_code = lead_code
    join switchyard.agencies a on a.id = t.agency_id and a.active and a.subscribed_until > now()
    where not exists (select from switchyard.lead_assignments x where x.lead_id = lead and x.agency_id = a.id)
  )
  select c.agency_id, c.country || ':' || lead_code, 'round_robin' from covering c
  union all
  select a.id, '*', 'catch_all' from switchyard.agencies a
  where a.catch_all and a.active and a.subscribed_until > now() and not exists (select from covering)
    and not exists (select from switchyard.lead_assignments x where x.lead_id = lead and x.agency_id = a.id);
end;

-- What goes out -----------------------------------------------------------------------------

create table switchyard.messages (
  id          uuid primary key,
  agency_id   uuid not null references switchyard.agencies,
  lead_id     uuid not null references switchyard.leads,
  agent_id    uuid references switchyard.agents,
  assignment_id uuid not null references switchyard.lead_assignments,
  channel     text not null check (channel in ('email', 'whatsapp')),
  recipient   text not null,
  subject     text,
  body_text   text not null,
  body_html   text,
  state       text not null default 'queued'
              check (state in ('queued', 'sent', 'failed', 'unknown')),
  provider    text,
  provider_id text,
  error       text,
  attempts    int not null default 0,
  created_at  timestamptz not null default now(),
  sent_at     timestamptz,
  resend_of   uuid references switchyard.messages, -- sent anew by an operator; each message once
  -- Without an agent it goes to the agency itself: that too only once.
  constraint messages_once unique nulls not distinct (assignment_id, agent_id, channel, resend_of)
);
create index messages_lead on switchyard.messages (lead_id);
create index messages_recent on switchyard.messages (created_at desc, id desc);
create index messages_trouble on switchyard.messages (created_at desc, id desc) where state in ('failed', 'unknown');

-- Row-level security ------------------------------------------------------------------------

do $$
declare t text;
begin
  foreach t in array array['agents', 'territories', 'leads', 'lead_assignments', 'messages'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('create policy tenant on switchyard.%I to switchyard_app
      using (agency_id = (select switchyard.tenant()))
      with check (agency_id = (select switchyard.tenant()))', t);
  end loop;
  foreach t in array array['administrators', 'portals', 'webhook_events', 'delivery_keys', 'lead_distribution_sequence'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
  end loop;
end $$;
alter table switchyard.agencies enable row level security;
create policy platform on switchyard.agencies to switchyard_app
  using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()));
create policy tenant on switchyard.agencies to switchyard_app
  using (id = (select switchyard.tenant())) with check (id = (select switchyard.tenant()));

grant select, insert, update on all tables in schema switchyard to switchyard_app;
grant delete on switchyard.territories, switchyard.delivery_keys to switchyard_app;
