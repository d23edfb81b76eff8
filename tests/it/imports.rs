//! Who may import whom, as the design lays it down, and where SQL, Redis and HTTP clients may stand.
#![allow(clippy::unwrap_used)]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The floors of the house. `None`: may import all.
const FLOORS: &[(&str, Option<&[&str]>)] = &[
    ("domain", Some(&[])),
    ("queue", Some(&[])),
    ("store", Some(&["domain", "queue"])),
    ("providers", Some(&["domain"])),
    ("workers", Some(&["queue"])),
    ("backup", Some(&["domain", "store", "providers"])),
    ("scheduler", Some(&["domain", "queue", "store"])),
    ("catalog", Some(&["domain", "queue", "store", "providers", "backup"])),
    ("api", Some(&["domain", "queue", "store", "catalog"])),
    ("switchyard", None),
    ("tests", None),
];

/// Libraries that only some may use, and who.
const RESERVED: &[(&str, &[&str])] = &[
    ("sqlx", &["store", "backup", "tests"]),
    ("redis", &["queue", "switchyard", "tests"]),
    ("reqwest", &["providers", "tests"]),
    ("lettre", &["providers", "tests"]),
    ("axum", &["api", "switchyard", "tests"]),
    ("apalis", &["workers"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.other_options(["--offline".to_owned()]).exec().unwrap()
}

/// `switchyard-store` is `store`.
fn short(name: &str) -> &str {
    name.strip_prefix("switchyard-").unwrap_or(name)
}

/// What each package depends on when it is built for use; what only its tests need is left out.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let of = |p: &cargo_metadata::Package| {
        let used = p.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        used.map(|d| short(&d.name).to_owned()).collect()
    };
    metadata.packages.iter().map(|p| (short(&p.name).to_owned(), of(p))).collect()
}

#[test]
fn nobody_imports_from_a_floor_above() {
    let imports = imports();
    let known: Vec<&str> = FLOORS.iter().map(|(name, _)| *name).collect();
    for name in imports.keys() {
        assert!(
            known.contains(&name.as_str()),
            "`{name}` has no floor: add it to the table here and in the design"
        );
    }
    let mut wrong = Vec::new();
    for (name, may) in FLOORS {
        let Some(may) = may else { continue };
        let ours = imports[*name].iter().filter(|d| known.contains(&d.as_str()));
        wrong.extend(ours.filter(|d| !may.contains(&d.as_str())).map(|d| format!("{name} -> {d}")));
    }
    assert!(wrong.is_empty(), "forbidden imports: {wrong:?}");
}

#[test]
fn reserved_libraries_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (name, used) in &imports() {
        for (library, may) in RESERVED {
            if used.contains(*library) && !may.contains(&name.as_str()) {
                wrong.push(format!("{name} -> {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "libraries outside their place: {wrong:?}");
}

/// Every Rust file of ours with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["api", "jobs", "ops", "scheduler", "tests", "workers"].map(|d| root().join(d)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

#[test]
fn sql_text_is_put_together_only_where_no_parameter_is_possible() {
    // CREATE DATABASE, and the scope that opens a transaction: see the comments there.
    // A backup and a restore name the tables and columns of any database there is: names are quoted by
    // `source::ident`, the few texts by `source::literal`.
    let may = [
        "jobs/store/src/provision.rs",
        "jobs/store/src/tx.rs",
        "jobs/backup/src/apply/stage.rs",
        "jobs/backup/src/restore/partitions.rs",
        "jobs/backup/src/source/mod.rs",
        "jobs/backup/src/sql.rs",
        "jobs/backup/src/sums.rs",
        "jobs/backup/tests",
    ];
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| text.contains("AssertSqlSafe") && !path.starts_with("tests"))
        .map(|(path, _)| path)
        .filter(|path| !may.iter().any(|m| path.starts_with(m)))
        .collect();
    assert!(wrong.is_empty(), "SQL made of text: {wrong:?}");
}

#[test]
fn every_file_says_what_lives_in_it() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "files without a `//!` header: {silent:?}");
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > 450)
        .collect();
    assert!(long.is_empty(), "files of more than 450 lines: {long:?}");
}
