-- 'duplicate': fetched, and of a person who asked before, of whom the portal wants no second lead. Such
-- leads stayed 'pending' so far and named the first.
alter table switchyard.leads drop constraint leads_state_check;
alter table switchyard.leads add constraint leads_state_check
  check (state in ('new', 'assigned', 'accepted', 'unassigned', 'pending', 'duplicate')) not valid;
alter table switchyard.leads validate constraint leads_state_check;
update switchyard.leads set state = 'duplicate' where state = 'pending' and duplicate_of is not null;
