-- Who an agent's manager is: a plan's override for the manager had nobody to go to unless the event named
-- one. The manager is an agent of the same agency, which the key says.
alter table switchyard.agents add constraint agents_of_agency unique (id, agency_id);
alter table switchyard.agents add column manager_id uuid;
alter table switchyard.agents add constraint agents_manager
  foreign key (manager_id, agency_id) references switchyard.agents (id, agency_id);
alter table switchyard.agents add constraint agents_own_manager check (manager_id <> id);
create index agents_manager_id on switchyard.agents (manager_id) where manager_id is not null;

-- What is refused, or waits for its conversion, is looked for often and is rare: without the index every
-- look would read all events. A usual event passes from pending to booked and never enters it.
create index commission_events_unsettled on switchyard.commission_events (received_at)
  where state in ('waiting', 'refused');
