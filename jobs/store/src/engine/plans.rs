//! Pieces of statements whose plans do not depend on what PostgreSQL believes of a table's size.
//!
//! A queue is empty most of the time. If its tables are vacuumed or analysed then, their statistics say "no
//! rows on many pages", and that holds until the next time, also for the hundred thousand jobs that come
//! a second later. A list that is joined with such a table is compared with every row of it: writing 500
//! results down took 8 seconds so, and takes 10 ms as it is (ADR 25).
//!
//! So each row of a list is looked up by its key, in a subquery that nothing can turn round (`offset 0`, or a
//! lock), and the rows that are found are visited by their place (`ctid`). What belongs to a row
//! is found in the list by binary search: `width_bucket(id, ids)` is its place in a sorted array.

/// The places of the rows of a table whose `$column` is in the list `$ids` (`$1::uuid[]`).
macro_rules! places {
    ($table:literal, $column:literal, $ids:literal) => {
        concat!(
            "array(select found.ctid from unnest(",
            $ids,
            ") listed(id) cross join lateral (select r.ctid from ",
            $table,
            " r where r.",
            $column,
            " = listed.id offset 0) found)"
        )
    };
}

/// What a list (`$2::int8[]`) holds of the job `j`, where the sorted ids are `$1`.
macro_rules! of_job {
    ($list:literal) => {
        concat!("(", $list, ")[width_bucket(j.id, $1)]")
    };
}

/// Frees the unique keys of the jobs in a part of the statement that has `id` and `unique_key`.
macro_rules! keys_freed {
    ($part:literal) => {
        concat!(
            "delete from engine.job_uniques q where q.ctid = any (array(
               select held.ctid from ",
            $part,
            " e cross join lateral (select u.ctid from engine.job_uniques u
                 where u.key = e.unique_key and u.job_id = e.id offset 0) held
               where e.unique_key is not null))"
        )
    };
}

/// Gives back what the jobs in a part of the statement, with `id` and `charged`, take up of their limits.
macro_rules! uncharged {
    ($part:literal) => {
        concat!(
            "delete from engine.charges c where c.ctid = any (array(
               select held.ctid from ",
            $part,
            " e cross join lateral unnest(e.charged) l(id)
               cross join lateral (select h.ctid from engine.charges h
                 where h.limit_id = l.id and h.job_id = e.id offset 0) held))"
        )
    };
}

pub(in crate::engine) use {keys_freed, of_job, places, uncharged};
