-- The foreign key of deliveries to their portals cost a trigger and a shared lock on the portal's one row for
-- every delivery, and two writers on one row make the server write multixacts. Taking a delivery in looks
-- the portal up anyway; what remains to be kept from happening is that a portal goes.
create function switchyard.portals_stay() returns trigger language plpgsql as $$
begin
  raise exception 'portals are not deleted, because deliveries and leads name them; pause it, or make it inactive'
    using errcode = 'restrict_violation', constraint = 'portals_stay';
end $$;
create trigger portals_stay before delete or truncate on switchyard.portals
  for each statement execute function switchyard.portals_stay();
alter table switchyard.webhook_events drop constraint webhook_events_portal_id_fkey;
