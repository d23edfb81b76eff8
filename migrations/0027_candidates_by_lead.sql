-- Which agencies had a lead before was asked of each agency: the plan read all that the agency had ever been
-- given, for every new lead. It is asked of the lead now, which few agencies were ever given.
create or replace function switchyard.candidates(lead uuid, lead_country text, lead_code text)
returns table (agency uuid, key text, reason text) language sql stable
begin atomic
  with place as (
    select coalesce(lead_country,
      (select min(t.country) from switchyard.territories t where t.postal_code = lead_code
       having count(distinct t.country) = 1)) as country
  ), given as materialized (
    select array(select x.agency_id from switchyard.lead_assignments x where x.lead_id = lead) as agencies
  ), covering as (
    select t.agency_id, t.country from place p
    join switchyard.territories t on t.country = p.country and t.postal_code = lead_code
    join switchyard.agencies a on a.id = t.agency_id and a.active and a.subscribed_until > now()
    where a.id <> all ((select g.agencies from given g)::uuid[])
  )
  select c.agency_id, c.country || ':' || lead_code, 'round_robin' from covering c
  union all
  select a.id, '*', 'catch_all' from switchyard.agencies a
  where a.catch_all and a.active and a.subscribed_until > now() and not exists (select from covering)
    and a.id <> all ((select g.agencies from given g)::uuid[]);
end;
