//! What is made before rows are loaded. Each query gives statements; `history` tells those of partitions.

/// Roles that something is owned by or granted to, without their passwords. What the server's first
/// superuser owns is recorded nowhere, so that role is always among them.
pub(super) const ROLES: &str = "
select format(E'do $roles$ begin\\n  if not exists (select from pg_catalog.pg_roles where rolname = %L) then\\n'
              '    create role %I nologin;\\n  end if;\\nend $roles$;', r.rolname, r.rolname) as sql,
       false as history
  from pg_catalog.pg_roles r
 where r.rolname !~ '^pg_' and (r.oid = 10 or exists (
   select from pg_catalog.pg_shdepend d
    where d.dbid = (select oid from pg_catalog.pg_database where datname = current_database())
      and d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid))
 order by r.rolname";

/// Things with `class`, `oid`, `kind` and `name` to sort them by.
pub(super) const NODES: &[&str] = &[
    SCHEMAS, EXTENSIONS, COLLATIONS, ENUMS, DOMAINS, COMPOSITES, ROUTINES, SEQUENCES, TABLES, VIEWS,
];

const SCHEMAS: &str = "
select 'pg_namespace'::regclass::oid::bigint as class, n.oid::bigint as oid, 0 as kind,
       n.nspname::text as name, false as history,
       format('create schema if not exists %I;', n.nspname) as sql
  from pg_catalog.pg_namespace n where {ours} and {own:pg_namespace:n.oid}";

const EXTENSIONS: &str = "
select 'pg_extension'::regclass::oid::bigint as class, x.oid::bigint as oid, 1 as kind,
       x.extname::text as name, false as history,
       format('create extension if not exists %I%s;', x.extname,
              case when {own:pg_namespace:n.oid} then format(' with schema %I', n.nspname) end) as sql
  from pg_catalog.pg_extension x join pg_catalog.pg_namespace n on n.oid = x.extnamespace
 where x.extname <> 'plpgsql' and (n.nspname ~ '^pg_' or {ours})";

// The columns were renamed more than once from version 15 on.
const COLLATIONS: &str = "
select 'pg_collation'::regclass::oid::bigint as class, c.oid::bigint as oid, 2 as kind,
       n.nspname || '.' || c.collname as name, false as history,
       format('create collation %I.%I (provider = %s, deterministic = %s, %s%s);', n.nspname, c.collname,
              case c.collprovider when 'i' then 'icu' when 'b' then 'builtin' else 'libc' end,
              case when c.collisdeterministic then 'true' else 'false' end,
              case when c.collprovider = 'c'
                   then format('lc_collate = %L, lc_ctype = %L', c.collcollate, c.collctype)
                   else format('locale = %L',
                     coalesce(j.row ->> 'colllocale', j.row ->> 'colliculocale', c.collcollate)) end,
              case when j.row ->> 'collicurules' is not null
                   then format(', rules = %L', j.row ->> 'collicurules') end) as sql
  from pg_catalog.pg_collation c join pg_catalog.pg_namespace n on n.oid = c.collnamespace
 cross join lateral (select to_jsonb(c) as row) j
 where {ours} and {own:pg_collation:c.oid}";

const ENUMS: &str = "
select 'pg_type'::regclass::oid::bigint as class, t.oid::bigint as oid, 3 as kind,
       n.nspname || '.' || t.typname as name, false as history,
       format('create type %I.%I as enum (%s);', n.nspname, t.typname,
         (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
            from pg_catalog.pg_enum e where e.enumtypid = t.oid)) as sql
  from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
 where t.typtype = 'e' and {ours} and {own:pg_type:t.oid}";

const DOMAINS: &str = "
select 'pg_type'::regclass::oid::bigint as class, t.oid::bigint as oid, 4 as kind,
       n.nspname || '.' || t.typname as name, false as history,
       format('create domain %I.%I as %s%s%s%s%s;', n.nspname, t.typname,
         format_type(t.typbasetype, t.typtypmod),
         case when t.typcollation <> b.typcollation
              then format(' collate %I.%I', cn.nspname, c.collname) end,
         ' default ' || pg_get_expr(t.typdefaultbin, 'pg_catalog.pg_type'::regclass),
         case when t.typnotnull then ' not null' end,
         (select string_agg(format(' constraint %I %s', k.conname, pg_get_constraintdef(k.oid)), ''
                            order by k.conname)
            from pg_catalog.pg_constraint k
           where k.contypid = t.oid and k.contype = 'c' and k.convalidated)) as sql
  from pg_catalog.pg_type t
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  join pg_catalog.pg_type b on b.oid = t.typbasetype
  left join pg_catalog.pg_collation c on c.oid = t.typcollation
  left join pg_catalog.pg_namespace cn on cn.oid = c.collnamespace
 where t.typtype = 'd' and {ours} and {own:pg_type:t.oid}";

const COMPOSITES: &str = "
select 'pg_type'::regclass::oid::bigint as class, c.reltype::bigint as oid, 4 as kind,
       n.nspname || '.' || c.relname as name, false as history,
       format('create type %I.%I as (%s);', n.nspname, c.relname,
         (select string_agg(format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                   case when a.attcollation <> t.typcollation
                        then format(' collate %I.%I', cn.nspname, o.collname) end),
                 ', ' order by a.attnum)
            from pg_catalog.pg_attribute a
            join pg_catalog.pg_type t on t.oid = a.atttypid
            left join pg_catalog.pg_collation o on o.oid = a.attcollation
            left join pg_catalog.pg_namespace cn on cn.oid = o.collnamespace
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)) as sql
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'c' and {ours} and {own:pg_class:c.oid}";

const ROUTINES: &str = "
select 'pg_proc'::regclass::oid::bigint as class, p.oid::bigint as oid, 5 as kind,
       format('%s.%s(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as name,
       false as history, rtrim(pg_get_functiondef(p.oid), E'\\n') || ';' as sql
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where p.prokind in ('f', 'p', 'w') and {ours} and {own:pg_proc:p.oid}";

// Those of identity columns come with their column.
const SEQUENCES: &str = "
select 'pg_class'::regclass::oid::bigint as class, c.oid::bigint as oid, 6 as kind,
       n.nspname || '.' || c.relname as name, false as history,
       format('create %ssequence %I.%I as %s start with %s increment by %s minvalue %s maxvalue %s cache %s%s;',
         case when c.relpersistence = 'u' then 'unlogged ' end, n.nspname, c.relname,
         format_type(s.seqtypid, null), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
         case when s.seqcycle then ' cycle' end) as sql
  from pg_catalog.pg_sequence s
  join pg_catalog.pg_class c on c.oid = s.seqrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
   and not exists (select from pg_catalog.pg_depend d
     where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i')";

const TABLES: &str = "
select 'pg_class'::regclass::oid::bigint as class, c.oid::bigint as oid, 7 as kind,
       n.nspname || '.' || c.relname as name, c.relispartition as history,
       format(E'create %stable %I.%I (%s\\n)%s%s;%s',
         case when c.relpersistence = 'u' then 'unlogged ' end, n.nspname, c.relname,
         (select string_agg(E'\\n  ' || l.line, ',' order by l.part, l.at) from (
            select 0 as part, a.attnum::int as at,
                   format('%I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                     case when a.attcollation <> t.typcollation
                          then format(' collate %I.%I', cn.nspname, o.collname) end,
                     case when a.attgenerated = 's'
                            then format(' generated always as (%s) stored', pg_get_expr(d.adbin, d.adrelid))
                          when a.attgenerated <> ''
                            then format(' generated always as (%s) virtual', pg_get_expr(d.adbin, d.adrelid))
                          when i.sql is not null
                            then format(' generated %s as identity (%s)',
                              case a.attidentity when 'a' then 'always' else 'by default' end, i.sql)
                          when not f.there then ' default ' || pg_get_expr(d.adbin, d.adrelid) end,
                     case when a.attnotnull then ' not null' end) as line
              from pg_catalog.pg_attribute a
              join pg_catalog.pg_type t on t.oid = a.atttypid
              left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
              left join pg_catalog.pg_collation o on o.oid = a.attcollation
              left join pg_catalog.pg_namespace cn on cn.oid = o.collnamespace
              left join lateral (select exists (select from pg_catalog.pg_depend x
                where x.classid = 'pg_attrdef'::regclass and x.objid = d.oid
                  and x.refclassid = 'pg_proc'::regclass and x.refobjid >= 16384) as there) f on true
              left join lateral (
                select format('sequence name %I.%I start with %s increment by %s minvalue %s maxvalue %s cache %s%s',
                         sn.nspname, sc.relname, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                         case when s.seqcycle then ' cycle' end) as sql
                  from pg_catalog.pg_depend x
                  join pg_catalog.pg_class sc on sc.oid = x.objid and sc.relkind = 'S'
                  join pg_catalog.pg_namespace sn on sn.oid = sc.relnamespace
                  join pg_catalog.pg_sequence s on s.seqrelid = sc.oid
                 where x.classid = 'pg_class'::regclass and x.deptype = 'i'
                   and x.refclassid = 'pg_class'::regclass and x.refobjid = c.oid
                   and x.refobjsubid = a.attnum) i on true
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            union all
            select 1, (row_number() over (order by k.conname))::int,
                   format('constraint %I %s', k.conname, pg_get_constraintdef(k.oid))
              from pg_catalog.pg_constraint k
             where k.conrelid = c.oid and k.contype = 'c' and k.convalidated
               and not exists (select from pg_catalog.pg_depend x
                 where x.classid = 'pg_constraint'::regclass and x.objid = k.oid
                   and x.refclassid = 'pg_proc'::regclass and x.refobjid >= 16384)) l),
         case when c.relkind = 'p' then ' partition by ' || pg_get_partkeydef(c.oid) end,
         (select format(' with (%s)', string_agg(format('%s%I=%L', w.prefix, split_part(w.o, '=', 1),
                   substr(w.o, strpos(w.o, '=') + 1)), ', '))
            from (select '' as prefix, unnest(c.reloptions) as o
                  union all
                  select 'toast.', unnest(tc.reloptions) from pg_catalog.pg_class tc
                   where tc.oid = c.reltoastrelid) w
          having count(*) > 0),
         (select string_agg(format(E'\\nalter table only %I.%I alter column %I set %s;', n.nspname, c.relname,
                   a.attname, x.what), '' order by a.attnum, x.what)
            from pg_catalog.pg_attribute a
            join pg_catalog.pg_type t on t.oid = a.atttypid
           cross join lateral (
              select 'storage ' || case a.attstorage when 'p' then 'plain' when 'e' then 'external'
                                     when 'm' then 'main' else 'extended' end as what
               where a.attstorage <> t.typstorage
              union all
              select 'compression ' || case a.attcompression when 'p' then 'pglz' else 'lz4' end
               where a.attcompression in ('p', 'l')
              union all select 'statistics ' || a.attstattarget where a.attstattarget >= 0
              union all
              select format('(%s)', (select string_agg(format('%I=%L', split_part(o, '=', 1),
                        substr(o, strpos(o, '=') + 1)), ', ') from unnest(a.attoptions) o))
               where a.attoptions is not null) x
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)) as sql
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}";

const VIEWS: &str = "
select 'pg_class'::regclass::oid::bigint as class, c.oid::bigint as oid, 8 as kind,
       n.nspname || '.' || c.relname as name, false as history,
       format(E'create %sview %I.%I%s as\\n%s%s;', case when c.relkind = 'm' then 'materialized ' end,
         n.nspname, c.relname,
         (select format(' with (%s)', string_agg(format('%I=%L', split_part(o, '=', 1),
                   substr(o, strpos(o, '=') + 1)), ', '))
            from unnest(c.reloptions) o having count(*) > 0),
         rtrim(pg_get_viewdef(c.oid), ';'), case when c.relkind = 'm' then E'\\nwith no data' end) as sql
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('v', 'm') and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}";

/// What is made of tables when all are there.
pub(super) const TAIL: &[&str] = &[OWNED_SEQUENCES, DEFAULTS, CHECKS, ATTACHED];

const OWNED_SEQUENCES: &str = "
select format('alter sequence %I.%I owned by %I.%I.%I;', n.nspname, c.relname, tn.nspname, t.relname,
              a.attname) as sql, t.relispartition as history
  from pg_catalog.pg_depend d
  join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class t on t.oid = d.refobjid
  join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
 where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype = 'a'
   and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
 order by n.nspname, c.relname";

// Those that call a function, which may need the table itself; those of views.
const DEFAULTS: &str = "
select format('alter table only %I.%I alter column %I set default %s;', n.nspname, c.relname, a.attname,
              pg_get_expr(d.adbin, d.adrelid)) as sql, c.relispartition as history
  from pg_catalog.pg_attrdef d
  join pg_catalog.pg_class c on c.oid = d.adrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = d.adnum
 where a.attgenerated = '' and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
   and (c.relkind = 'v' or exists (select from pg_catalog.pg_depend x
         where x.classid = 'pg_attrdef'::regclass and x.objid = d.oid
           and x.refclassid = 'pg_proc'::regclass and x.refobjid >= 16384))
 order by n.nspname, c.relname, a.attnum";

const CHECKS: &str = "
select format('alter table only %I.%I add constraint %I %s;', n.nspname, c.relname, k.conname,
              pg_get_constraintdef(k.oid)) as sql, c.relispartition as history
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where k.contype = 'c' and k.convalidated and c.relpersistence <> 't' and {ours} and {own:pg_class:c.oid}
   and exists (select from pg_catalog.pg_depend x
     where x.classid = 'pg_constraint'::regclass and x.objid = k.oid
       and x.refclassid = 'pg_proc'::regclass and x.refobjid >= 16384)
 order by n.nspname, c.relname, k.conname";

const ATTACHED: &str = "
select format('alter table only %I.%I attach partition %I.%I %s;', pn.nspname, p.relname, n.nspname, c.relname,
              pg_get_expr(c.relpartbound, c.oid)) as sql, true as history
  from pg_catalog.pg_inherits h
  join pg_catalog.pg_class c on c.oid = h.inhrelid and c.relispartition and c.relkind in ('r', 'p')
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class p on p.oid = h.inhparent
  join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
 where {ours} and {own:pg_class:c.oid}
 order by pn.nspname, p.relname, n.nspname, c.relname";
