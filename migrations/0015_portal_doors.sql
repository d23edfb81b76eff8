-- The portals' doors: two live keys, a pause, what came, what was refused.

alter table switchyard.portals
  -- The key before the last rotation, live until it is retired.
  add column former_key_hash bytea,
  -- What a sender must name when it asks whether the address is ours (Meta's hub.verify_token).
  add column verify_token_hash bytea,
  -- Deliveries are taken and held since then; null: they are judged at once.
  add column paused_at timestamptz;

-- A list of addresses is a way to know a sender, too.
alter table switchyard.portals drop constraint portals_authenticated;
alter table switchyard.portals add constraint portals_authenticated check (
  api_key_hash is not null or signing_secret is not null
  or case jsonb_typeof(settings -> 'ip_allow')
       when 'array' then jsonb_array_length(settings -> 'ip_allow') > 0 else false end) not valid;
alter table switchyard.portals validate constraint portals_authenticated;

-- The body held the sender's key; its bytes are asterisks, everything else is as it came.
alter table switchyard.webhook_events add column redacted boolean not null default false;
create index webhook_events_held on switchyard.webhook_events (portal_id, id) where state = 'held';

-- What was refused at the door: samples only beyond a rate, so that an attack does not fill the disk.
create table switchyard.refused_requests (
  id         uuid primary key,
  portal_id  uuid not null references switchyard.portals,
  at         timestamptz not null default now(),
  address    text not null,
  method     text not null,
  status     smallint not null,
  code       text not null,
  message    text not null,
  request_id text,
  headers    jsonb not null,                       -- without credentials
  body       bytea,                                -- the first 2 KiB; null: not read, or it may hold the key
  body_bytes bigint                                -- how long it was; null: not read
);
create index refused_requests_portal on switchyard.refused_requests (portal_id, id desc);
create index refused_requests_at on switchyard.refused_requests (at);

-- Every answer at the door, by minute: 'accepted', 'duplicate', 'handshake', or the refusal's code.
create table switchyard.delivery_counts (
  portal_id uuid not null references switchyard.portals,
  minute    timestamptz not null,
  outcome   text not null,
  n         bigint not null,
  primary key (portal_id, minute, outcome)
);
create index delivery_counts_minute on switchyard.delivery_counts (minute);

do $$
declare t text;
begin
  foreach t in array array['refused_requests', 'delivery_counts'] loop
    execute format('alter table switchyard.%I enable row level security', t);
    execute format('create policy platform on switchyard.%I to switchyard_app
      using ((select switchyard.is_platform())) with check ((select switchyard.is_platform()))', t);
    execute format('grant select, insert, update, delete on switchyard.%I to switchyard_app', t);
  end loop;
end $$;
