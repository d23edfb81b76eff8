-- Portals, first step: what the mapping may look at, several leads of one event, events that make none.

-- The public URL with its query, without credentials: mappings read parameters from it.
alter table switchyard.webhook_events add column url text;

-- 'ignored': a 2xx for the sender, no lead (an event of no interest, a filled honeypot);
-- 'held': committed while its portal is paused, judged when it goes on.
alter table switchyard.webhook_events drop constraint webhook_events_state_check;
alter table switchyard.webhook_events add constraint webhook_events_state_check
  check (state in ('received', 'processed', 'rejected', 'ignored', 'held')) not valid;
alter table switchyard.webhook_events validate constraint webhook_events_state_check;

-- An event can stand for many leads; each is known by its place.
alter table switchyard.leads add column ordinal int not null default 0;
create unique index leads_event_ordinal on switchyard.leads (event_id, ordinal);
drop index switchyard.leads_event;
alter table switchyard.leads add column line_items jsonb;

-- 'pending': its sender sent an id only; a job fetches the rest.
alter table switchyard.leads drop constraint leads_state_check;
alter table switchyard.leads add constraint leads_state_check
  check (state in ('new', 'assigned', 'accepted', 'unassigned', 'pending')) not valid;
alter table switchyard.leads validate constraint leads_state_check;
