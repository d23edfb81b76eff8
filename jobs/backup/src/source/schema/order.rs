//! In which order things are made: what is needed comes first, otherwise by kind and name.

use super::Piece;
use crate::BackupFault;
use std::collections::{BTreeMap, BTreeSet};

/// A thing's catalogue and its number there.
type Id = (u32, u32);

/// A thing that is made.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: Id,
    /// Its kind's place, then its name.
    pub(super) rank: (i32, String),
    pub(super) sql: String,
    pub(super) history: bool,
}

impl Node {
    pub(super) fn into_piece(self) -> Piece {
        Piece { sql: self.sql, history: self.history }
    }
}

/// One thing needs another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) from: Id,
    pub(super) to: Id,
    /// What is needed is a primary key or unique constraint, which is made after the rows.
    pub(super) key: bool,
}

/// Which things need which. Parts stand for the whole: a column's default for its table, a rule for its
/// view, a member for its extension. Defaults and checks that call a function are made by themselves and
/// so need nothing; a sequence's owner neither.
pub(super) const DEPENDS: &str = "
with map as (
  select classid, objid, refclassid as class, refobjid as oid from pg_catalog.pg_depend
   where deptype = 'e' and refclassid = 'pg_extension'::regclass
  union all select 'pg_extension'::regclass, oid, 'pg_extension'::regclass, oid from pg_catalog.pg_extension
  union all select 'pg_namespace'::regclass, n.oid, 'pg_namespace'::regclass, n.oid
    from pg_catalog.pg_namespace n where {own:pg_namespace:n.oid}
  union all select 'pg_collation'::regclass, c.oid, 'pg_collation'::regclass, c.oid
    from pg_catalog.pg_collation c where {own:pg_collation:c.oid}
  union all select 'pg_proc'::regclass, p.oid, 'pg_proc'::regclass, p.oid
    from pg_catalog.pg_proc p where p.oid >= 16384 and {own:pg_proc:p.oid}
  union all select 'pg_class'::regclass, c.oid,
         case c.relkind when 'c' then 'pg_type'::regclass else 'pg_class'::regclass end,
         case c.relkind when 'c' then c.reltype else c.oid end
    from pg_catalog.pg_class c
   where c.relkind in ('r', 'p', 'v', 'm', 'S', 'c') and c.oid >= 16384 and {own:pg_class:c.oid}
  union all select 'pg_type'::regclass, t.oid,
         case when c.relkind in ('r', 'p', 'v', 'm') then 'pg_class'::regclass else 'pg_type'::regclass end,
         case when c.relkind in ('r', 'p', 'v', 'm') then c.oid else b.oid end
    from pg_catalog.pg_type t
    join pg_catalog.pg_type b
      on b.oid = case when t.typcategory = 'A' and t.typelem <> 0 then t.typelem else t.oid end
    left join pg_catalog.pg_class c on c.oid = b.typrelid
   where t.oid >= 16384 and {own:pg_type:b.oid} and (c.oid is null or {own:pg_class:c.oid})
  union all select 'pg_attrdef'::regclass, d.oid, 'pg_class'::regclass, d.adrelid
    from pg_catalog.pg_attrdef d
    join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
   where a.attgenerated <> '' or not exists (select from pg_catalog.pg_depend f
     where f.classid = 'pg_attrdef'::regclass and f.objid = d.oid
       and f.refclassid = 'pg_proc'::regclass and f.refobjid >= 16384)
  union all select 'pg_constraint'::regclass, k.oid,
         case when k.contypid <> 0 then 'pg_type'::regclass else 'pg_class'::regclass end,
         case when k.contypid <> 0 then k.contypid else k.conrelid end
    from pg_catalog.pg_constraint k
   where k.contype = 'c' and (k.contypid <> 0 or not exists (select from pg_catalog.pg_depend f
     where f.classid = 'pg_constraint'::regclass and f.objid = k.oid
       and f.refclassid = 'pg_proc'::regclass and f.refobjid >= 16384))
  union all select 'pg_constraint'::regclass, k.oid, 'pg_constraint'::regclass, k.oid
    from pg_catalog.pg_constraint k where k.contype in ('p', 'u') and k.conrelid <> 0
  union all select 'pg_rewrite'::regclass, r.oid, 'pg_class'::regclass, r.ev_class
    from pg_catalog.pg_rewrite r where r.rulename = '_RETURN'
)
select distinct a.class::oid::bigint as class, a.oid::bigint as oid,
       b.class::oid::bigint as needs_class, b.oid::bigint as needs,
       b.class = 'pg_constraint'::regclass as is_key
  from pg_catalog.pg_depend d
  join map a on a.classid = d.classid and a.objid = d.objid
  join map b on b.classid = d.refclassid and b.objid = d.refobjid
 where (a.class, a.oid) <> (b.class, b.oid) and a.class <> 'pg_constraint'::regclass
   and not (d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')
            and exists (select from pg_catalog.pg_class s where s.oid = d.objid and s.relkind = 'S'))";

/// Sorts things into those that are made before the rows are loaded, and those that need a key and come
/// after them.
pub(super) fn sort(
    nodes: Vec<Node>,
    edges: &[Edge],
) -> Result<(Vec<Node>, Vec<Node>), BackupFault> {
    let mut nodes = nodes;
    nodes.sort_by(|a, b| a.rank.cmp(&b.rank).then_with(|| a.sql.cmp(&b.sql)));
    let place: BTreeMap<Id, usize> = nodes.iter().enumerate().map(|(at, n)| (n.id, at)).collect();
    let mut needs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes.len()];
    let mut late = vec![false; nodes.len()];
    for edge in edges {
        let Some(&from) = place.get(&edge.from) else { continue };
        if edge.key {
            late[from] = true;
        } else if let Some(&to) = place.get(&edge.to) {
            needs[from].insert(to);
        }
    }
    let order = in_order(&nodes, &needs)?;
    // In the order of need, so that lateness reaches everything that needs it.
    for &at in &order {
        late[at] = late[at] || needs[at].iter().any(|n| late[*n]);
    }
    let mut taken: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for at in order {
        let Some(node) = taken[at].take() else { continue };
        if late[at] { after.push(node) } else { before.push(node) }
    }
    Ok((before, after))
}

/// Depth first, with a stack of its own: chains of views may be long.
fn in_order(nodes: &[Node], needs: &[BTreeSet<usize>]) -> Result<Vec<usize>, BackupFault> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    for start in 0..nodes.len() {
        let mut stack = vec![(start, false)];
        while let Some((at, entered)) = stack.pop() {
            if entered {
                marks[at] = Mark::Done;
                order.push(at);
                continue;
            }
            match marks[at] {
                Mark::Done => continue,
                Mark::Open => return Err(circle(&nodes[at])),
                Mark::New => {}
            }
            marks[at] = Mark::Open;
            stack.push((at, true));
            for &need in needs[at].iter().rev() {
                match marks[need] {
                    Mark::New => stack.push((need, false)),
                    Mark::Open => return Err(circle(&nodes[need])),
                    Mark::Done => {}
                }
            }
        }
    }
    Ok(order)
}

fn circle(node: &Node) -> BackupFault {
    BackupFault::unfit(
        format!("{} and something that it needs need one another", node.rank.1),
        "break the circle, for one by a function in plpgsql, which looks names up when it runs",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn node(oid: u32, name: &str) -> Node {
        Node { id: (1, oid), rank: (0, name.to_owned()), sql: String::new(), history: false }
    }

    fn edge(from: u32, to: u32) -> Edge {
        Edge { from: (1, from), to: (1, to), key: false }
    }

    fn names(nodes: &[Node]) -> Vec<&str> {
        nodes.iter().map(|n| n.rank.1.as_str()).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_the_rest_by_name() {
        let nodes = vec![node(1, "d"), node(2, "a"), node(3, "c"), node(4, "b")];
        let (before, after) = sort(nodes, &[edge(2, 1), edge(4, 3), edge(3, 1)]).unwrap();
        assert_eq!(names(&before), ["d", "a", "c", "b"]);
        assert!(after.is_empty());
    }

    #[test]
    fn what_needs_a_key_comes_after_and_takes_along_what_needs_it() {
        let nodes = vec![node(1, "a"), node(2, "b"), node(3, "c")];
        let key = Edge { from: (1, 2), to: (9, 9), key: true };
        let (before, after) = sort(nodes, &[key, edge(1, 2)]).unwrap();
        assert_eq!((names(&before), names(&after)), (vec!["c"], vec!["b", "a"]));
    }

    #[test]
    fn a_circle_is_refused() {
        let nodes = vec![node(1, "a"), node(2, "b"), node(3, "c")];
        assert!(sort(nodes, &[edge(1, 2), edge(2, 3), edge(3, 1)]).is_err());
    }
}
