//! What the person at the terminal can do when the database refuses.

use crate::Fault;
use switchyard_store::StoreFault;

/// One sentence that names the remedy, as exactly as the database's answer allows.
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
pub(crate) fn remedy(fault: &StoreFault) -> &'static str {
    match fault {
        StoreFault::Ahead(_) => {
            return "run the newer Switchyard that made it; a database does not go back";
        }
        StoreFault::Altered(_) => {
            return "run the build of Switchyard that made this database, or use a fresh database";
        }
        _ => {}
    }
    match fault.sqlstate().as_deref() {
        Some("28P01" | "28000") => "mend the login or the password in DATABASE_URL",
        Some("3D000") => "make the database first, or mend its name in DATABASE_URL",
        Some("42501") => {
            "this login may not do that; database.owner_url must name one that may change tables"
        }
        // Something is there already that a migration makes.
        Some("42P06" | "42P07" | "42710" | "42723") => {
            "another program's tables are in this database: give Switchyard one of its own"
        }
        // Tables, schemas or roles of ours are missing.
        Some("42P01" | "3F000" | "42704" | "22023") => {
            "the database is not set up: run `switchyard migrate`"
        }
        Some("53300") => "all its connections are taken: raise max_connections, or stop somebody",
        None if fault.is_transient() => {
            "start PostgreSQL there, or mend host and port in DATABASE_URL"
        }
        _ => "`switchyard doctor` finds out what is wrong",
    }
}

/// A failure of the database with its remedy.
pub(crate) fn fault(code: &'static str, what: impl Into<String>, e: StoreFault) -> Fault {
    Fault::new(code, what).remedy(remedy(&e)).caused_by(e)
}
