//! What is made after rows are loaded. Each query gives statements; `history` tells those of partitions.

/// Keys and indexes: every partition's by itself, then put together, so that they can be built at once.
pub(super) const KEYS: &[&str] = &[CONSTRAINTS, INDEXES, ATTACHED, IDENTITIES, CLUSTERED];

/// Everything else, in the order in which it is to be run. Owners come before grants, which are theirs.
pub(super) const REST: &[&str] = &[
    FOREIGN_KEYS,
    UNCHECKED,
    STATISTICS,
    RULES,
    TRIGGERS,
    TRIGGER_STATES,
    ROW_SECURITY,
    POLICIES,
    REFRESHED,
    COMMENTS,
    OWNERS,
    GRANTS,
    COLUMN_GRANTS,
    DEFAULT_PRIVILEGES,
];

const CONSTRAINTS: &str = "
select format('alter table only %I.%I add constraint %I %s;', n.nspname, c.relname, k.conname,
              pg_get_constraintdef(k.oid))
       || coalesce((select format(E'\\nalter index %I.%I set (%s);', n.nspname, i.relname,
              string_agg(format('%I=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', '))
            from unnest(i.reloptions) o having count(*) > 0), '') as sql, c.relispartition as history
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class i on i.oid = k.conindid
 where k.contype in ('p', 'u', 'x') and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname, k.contype <> 'p', k.conname";

const INDEXES: &str = "
select pg_get_indexdef(i.indexrelid) || ';'
       || coalesce((select string_agg(format(E'\\nalter index %I.%I alter column %s set statistics %s;',
              n.nspname, ic.relname, a.attnum, a.attstattarget), '' order by a.attnum)
            from pg_catalog.pg_attribute a where a.attrelid = ic.oid and a.attstattarget >= 0), '') as sql,
       c.relispartition as history
  from pg_catalog.pg_index i
  join pg_catalog.pg_class ic on ic.oid = i.indexrelid
  join pg_catalog.pg_class c on c.oid = i.indrelid and c.relkind in ('r', 'p', 'm')
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where (i.indisvalid or c.relkind = 'p') and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
   and not exists (select from pg_catalog.pg_constraint k
     where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))
 order by n.nspname, c.relname, ic.relname";

const ATTACHED: &str = "
select format('alter index %I.%I attach partition %I.%I;', pn.nspname, p.relname, n.nspname, c.relname) as sql,
       true as history
  from pg_catalog.pg_inherits h
  join pg_catalog.pg_class c on c.oid = h.inhrelid and c.relkind in ('i', 'I')
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class p on p.oid = h.inhparent
  join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
 where {ours} and {own:pg_class:c.oid}
 order by pn.nspname, p.relname, n.nspname, c.relname";

const IDENTITIES: &str = "
select format('alter table only %I.%I replica identity %s;', n.nspname, c.relname,
              case c.relreplident when 'f' then 'full' when 'n' then 'nothing'
                when 'i' then format('using index %I', ic.relname) end) as sql, c.relispartition as history
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisreplident
  left join pg_catalog.pg_class ic on ic.oid = i.indexrelid
 where c.relkind in ('r', 'p') and c.relreplident <> 'd' and (c.relreplident <> 'i' or ic.oid is not null)
   and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname";

const CLUSTERED: &str = "
select format('alter table only %I.%I cluster on %I;', n.nspname, c.relname, ic.relname) as sql,
       c.relispartition as history
  from pg_catalog.pg_index i
  join pg_catalog.pg_class ic on ic.oid = i.indexrelid
  join pg_catalog.pg_class c on c.oid = i.indrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where i.indisclustered and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname";

// A partitioned table's own go to its partitions by themselves.
const FOREIGN_KEYS: &str = "
select format('alter table %s%I.%I add constraint %I %s;', case c.relkind when 'r' then 'only ' end,
              n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)) as sql,
       c.relispartition as history
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where k.contype = 'f' and k.conparentid = 0 and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname, k.conname";

const UNCHECKED: &str = "
select case when k.contypid <> 0
         then format('alter domain %s add constraint %I %s;', format_type(k.contypid, null), k.conname,
                     pg_get_constraintdef(k.oid))
         else format('alter table only %I.%I add constraint %I %s;', n.nspname, c.relname, k.conname,
                     pg_get_constraintdef(k.oid)) end as sql,
       coalesce(c.relispartition, false) as history
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_namespace n on n.oid = k.connamespace
  left join pg_catalog.pg_class c on c.oid = k.conrelid
 where k.contype = 'c' and not k.convalidated and {ours}
   and (c.oid is null or c.relpersistence <> 't' and {own:pg_class:c.oid}) and {own:pg_type:k.contypid}
 order by n.nspname, c.relname, k.conname";

const STATISTICS: &str = "
select pg_get_statisticsobjdef(s.oid) || ';'
       || case when s.stxstattarget >= 0
               then format(E'\\nalter statistics %I.%I set statistics %s;', n.nspname, s.stxname,
                           s.stxstattarget) else '' end as sql, c.relispartition as history
  from pg_catalog.pg_statistic_ext s
  join pg_catalog.pg_namespace n on n.oid = s.stxnamespace
  join pg_catalog.pg_class c on c.oid = s.stxrelid
 where {ours} and {own:pg_statistic_ext:s.oid}
 order by n.nspname, s.stxname";

const RULES: &str = "
select pg_get_ruledef(r.oid)
       || case when r.ev_enabled <> 'O' then format(E'\\nalter table %I.%I %s rule %I;', n.nspname, c.relname,
               case r.ev_enabled when 'D' then 'disable' when 'A' then 'enable always'
                 else 'enable replica' end, r.rulename) else '' end as sql,
       c.relispartition as history
  from pg_catalog.pg_rewrite r
  join pg_catalog.pg_class c on c.oid = r.ev_class
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where r.rulename <> '_RETURN' and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname, r.rulename";

const TRIGGERS: &str = "
select pg_get_triggerdef(t.oid) || ';' as sql, c.relispartition as history
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_class c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where not t.tgisinternal and t.tgparentid = 0 and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname, t.tgname";

const TRIGGER_STATES: &str = "
select format('alter table only %I.%I %s trigger %I;', n.nspname, c.relname,
              case t.tgenabled when 'D' then 'disable' when 'A' then 'enable always'
                when 'R' then 'enable replica' else 'enable' end, t.tgname) as sql, c.relispartition as history
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_class c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_trigger p on p.oid = t.tgparentid
 where not t.tgisinternal and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
   and t.tgenabled <> coalesce(p.tgenabled, 'O')
 order by n.nspname, c.relname, t.tgname";

const ROW_SECURITY: &str = "
select concat_ws(E'\\n',
         case when c.relrowsecurity
              then format('alter table %I.%I enable row level security;', n.nspname, c.relname) end,
         case when c.relforcerowsecurity
              then format('alter table only %I.%I force row level security;', n.nspname, c.relname) end) as sql,
       c.relispartition as history
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and (c.relrowsecurity or c.relforcerowsecurity)
   and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname";

const POLICIES: &str = "
select format('create policy %I on %I.%I%s%s%s%s%s;', p.polname, n.nspname, c.relname,
         case when not p.polpermissive then ' as restrictive' end,
         case p.polcmd when 'r' then ' for select' when 'a' then ' for insert' when 'w' then ' for update'
           when 'd' then ' for delete' end,
         (select ' to ' || string_agg(case r.oid when 0 then 'public' else
                   quote_ident(pg_get_userbyid(r.oid)) end, ', ' order by pg_get_userbyid(r.oid))
            from unnest(p.polroles) r(oid) having not 0 = any (p.polroles)),
         ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
         ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') as sql,
       c.relispartition as history
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname, p.polname";

// By age: what one is made of is older.
const REFRESHED: &str = "
select format('refresh materialized view %I.%I;', n.nspname, c.relname) as sql, false as history
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'm' and c.relispopulated and {ours} and {own:pg_class:c.oid}
 order by c.oid";

const COMMENTS: &str = "
select format('comment on %s is %L;',
         case when k.contypid <> 0 then format('constraint %I on domain %s', k.conname, format_type(k.contypid, null))
              else format('%s %s', case i.type when 'table constraint' then 'constraint'
                     when 'statistics object' then 'statistics' when 'composite type' then 'type'
                     else regexp_replace(i.type, '^.* column$', 'column') end, i.identity) end,
         d.description) as sql,
       coalesce(c.relispartition, gc.relispartition, oc.relispartition, kc.relispartition,
                xc.relispartition, false) as history
  from pg_catalog.pg_description d
  left join pg_catalog.pg_class c on d.classoid = 'pg_class'::regclass and c.oid = d.objoid
  left join pg_catalog.pg_index x on x.indexrelid = c.oid
  left join pg_catalog.pg_class xc on xc.oid = x.indrelid
  left join pg_catalog.pg_type t on d.classoid = 'pg_type'::regclass and t.oid = d.objoid
  left join pg_catalog.pg_proc p on d.classoid = 'pg_proc'::regclass and p.oid = d.objoid
  left join pg_catalog.pg_constraint k on d.classoid = 'pg_constraint'::regclass and k.oid = d.objoid
  left join pg_catalog.pg_class kc on kc.oid = k.conrelid
  left join pg_catalog.pg_trigger g on d.classoid = 'pg_trigger'::regclass and g.oid = d.objoid
  left join pg_catalog.pg_class gc on gc.oid = g.tgrelid
  left join pg_catalog.pg_policy o on d.classoid = 'pg_policy'::regclass and o.oid = d.objoid
  left join pg_catalog.pg_class oc on oc.oid = o.polrelid
  left join pg_catalog.pg_rewrite r on d.classoid = 'pg_rewrite'::regclass and r.oid = d.objoid
  left join pg_catalog.pg_class rc on rc.oid = r.ev_class
  left join pg_catalog.pg_collation l on d.classoid = 'pg_collation'::regclass and l.oid = d.objoid
  left join pg_catalog.pg_statistic_ext s on d.classoid = 'pg_statistic_ext'::regclass and s.oid = d.objoid
  join pg_catalog.pg_namespace n on n.oid = coalesce(
         case when d.classoid = 'pg_namespace'::regclass then d.objoid end, c.relnamespace, t.typnamespace,
         p.pronamespace, k.connamespace, gc.relnamespace, oc.relnamespace, rc.relnamespace,
         l.collnamespace, s.stxnamespace)
 cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) i
 where {ours} and not (d.classoid = 'pg_namespace'::regclass and d.description = 'standard public schema')
   and not exists (select from pg_catalog.pg_depend e
     where e.classid = d.classoid and e.objid = d.objoid and e.deptype = 'e')
 order by i.type, i.identity";

// Sequences of columns follow their table. Whoever may not give a thing away keeps it, with a warning.
const OWNERS: &str = "
select format('do %L;', format(E'begin\\n  alter %s %s owner to %I;\\n'
         'exception when insufficient_privilege then\\n  raise warning ''%%'', sqlerrm;\\nend',
         case i.type when 'statistics object' then 'statistics' when 'composite type' then 'type'
           else i.type end, i.identity, pg_get_userbyid(x.owner))) as sql, x.history
  from (select 'pg_namespace'::regclass as class, n.oid, n.nspowner as owner, n.oid as space, false as history
          from pg_catalog.pg_namespace n
         where not (n.nspname = 'public' and pg_get_userbyid(n.nspowner) = 'pg_database_owner')
        union all
        select 'pg_class'::regclass, c.oid, c.relowner, c.relnamespace, c.relispartition
          from pg_catalog.pg_class c
         where c.relkind in ('r', 'p', 'v', 'm', 'S') and c.relpersistence <> 't'
           and not (c.relkind = 'S' and exists (select from pg_catalog.pg_depend d
             where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')))
        union all select 'pg_proc'::regclass, p.oid, p.proowner, p.pronamespace, false
          from pg_catalog.pg_proc p where p.prokind <> 'a'
        union all select 'pg_type'::regclass, t.oid, t.typowner, t.typnamespace, false
          from pg_catalog.pg_type t left join pg_catalog.pg_class c on c.oid = t.typrelid
         where t.typtype in ('e', 'd') or c.relkind = 'c'
        union all select 'pg_collation'::regclass, l.oid, l.collowner, l.collnamespace, false
          from pg_catalog.pg_collation l
        union all select 'pg_statistic_ext'::regclass, s.oid, s.stxowner, s.stxnamespace, false
          from pg_catalog.pg_statistic_ext s) x
  join pg_catalog.pg_namespace n on n.oid = x.space
 cross join lateral pg_identify_object(x.class, x.oid, 0) i
 where {ours} and not exists (select from pg_catalog.pg_depend e
   where e.classid = x.class and e.objid = x.oid and e.deptype = 'e')
 order by i.type = 'schema', i.type, i.identity";

const GRANTS: &str = "
select format('do %L;', format(E'begin\\n  revoke all on %s from public, %I;%s\\n'
         'exception when insufficient_privilege then\\n  raise warning ''%%'', sqlerrm;\\nend',
         x.what, pg_get_userbyid(x.owner),
         (select string_agg(format(E'\\n  grant %s on %s to %s%s;', g.privileges, x.what,
                   case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
                   case when g.is_grantable then ' with grant option' end), '' order by g.first)
            from (select e.grantee, e.is_grantable, min(e.at) as first,
                         string_agg(lower(e.privilege_type), ', ' order by e.at) as privileges
                    from aclexplode(x.acl) with ordinality
                           as e(grantor, grantee, privilege_type, is_grantable, at)
                   group by e.grantee, e.is_grantable) g))) as sql, x.history
  from (select 'pg_namespace'::regclass as class, n.oid, n.nspowner as owner, n.oid as space,
               n.nspacl as acl, format('schema %I', n.nspname) as what, false as history
          from pg_catalog.pg_namespace n
         where not (n.nspname = 'public'
           and n.nspacl::text = '{pg_database_owner=UC/pg_database_owner,=U/pg_database_owner}')
        union all
        select 'pg_class'::regclass, c.oid, c.relowner, c.relnamespace, c.relacl,
               format('%s %I.%I', case c.relkind when 'S' then 'sequence' else 'table' end, n.nspname, c.relname),
               c.relispartition
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'v', 'm', 'S') and c.relpersistence <> 't'
        union all
        select 'pg_proc'::regclass, p.oid, p.proowner, p.pronamespace, p.proacl,
               format('routine %I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), false
          from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where p.prokind <> 'a'
        union all
        select 'pg_type'::regclass, t.oid, t.typowner, t.typnamespace, t.typacl,
               format('type %I.%I', n.nspname, t.typname), false
          from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace) x
  join pg_catalog.pg_namespace n on n.oid = x.space
 where x.acl is not null and {ours} and not exists (select from pg_catalog.pg_depend e
   where e.classid = x.class and e.objid = x.oid and e.deptype = 'e')
 order by x.what";

const COLUMN_GRANTS: &str = "
select format('do %L;', format(E'begin%s\\n'
         'exception when insufficient_privilege then\\n  raise warning ''%%'', sqlerrm;\\nend',
         string_agg(format(E'\\n  grant %s (%I) on table %I.%I to %s%s;', lower(e.privilege_type), a.attname,
           n.nspname, c.relname,
           case e.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(e.grantee)) end,
           case when e.is_grantable then ' with grant option' end), '' order by a.attnum, e.at))) as sql,
       c.relispartition as history
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 cross join lateral aclexplode(a.attacl) with ordinality
         as e(grantor, grantee, privilege_type, is_grantable, at)
 where a.attnum > 0 and not a.attisdropped and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 group by n.nspname, c.relname, c.relispartition
 order by n.nspname, c.relname";

const DEFAULT_PRIVILEGES: &str = "
select format('do %L;', format(E'begin%s%s\\n'
         'exception when insufficient_privilege then\\n  raise warning ''%%'', sqlerrm;\\nend',
         case when d.defaclnamespace = 0 then format(E'\\n  %s revoke all on %s from public, %I;', x.what, x.on_what,
                   pg_get_userbyid(d.defaclrole)) end,
         (select string_agg(format(E'\\n  %s grant %s on %s to %s%s;', x.what, lower(e.privilege_type), x.on_what,
                   case e.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(e.grantee)) end,
                   case when e.is_grantable then ' with grant option' end), '' order by e.at)
            from aclexplode(d.defaclacl) with ordinality
                   as e(grantor, grantee, privilege_type, is_grantable, at)))) as sql, false as history
  from pg_catalog.pg_default_acl d
  left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
 cross join lateral (select
         format('alter default privileges for role %I%s', pg_get_userbyid(d.defaclrole),
                ' in schema ' || quote_ident(n.nspname)) as what,
         case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines'
           when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end as on_what) x
 where n.oid is null or {ours}
 order by 1";
