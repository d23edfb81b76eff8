//! A restore under way: from the first check to the last change, and from there to a whole database.

use super::crew::{Crew, Forgiven};
use super::partitions::{self, Made};
use super::place::Place;
use super::scope::{Agency, Scope};
use super::script::{Statement, Turn, statements};
use super::steps::Steps;
use super::{RestorePlan, check, default_name, finish, load, server_of};
use crate::apply::{Applier, BATCH, Flow, Reached, Sieve, Until, Wanted};
use crate::format::{ChangeReader, read_object};
use crate::model::{Kind, Manifest, Object, Sequence, Snapshot, Table};
use crate::shelf::Chain;
use crate::sql::{refused, run, settle};
use crate::sums::Basis;
use crate::{BackupFault, Vault};
use chrono::Utc;
use std::collections::HashSet;
use std::sync::Arc;

/// A database with rows, keys and changes, and what is left to do.
pub(crate) struct Site {
    pub place: Place,
    pub crew: Crew,
    pub rows: u64,
    pub tables_checked: usize,
    pub reached: Reached,
    scope: Arc<Scope>,
    script: Vec<Statement>,
    made: Vec<Made>,
    gone: partitions::Plan,
    sequences: Vec<Sequence>,
    log: bool,
}

/// What is needed of a full backup's manifest.
struct Full<'a> {
    snapshot: &'a Snapshot,
    before: &'a Object,
    after: &'a Object,
    tables: &'a [Table],
    /// What its checksums are made of.
    basis: Basis,
}

fn full_of(manifest: &Manifest) -> Result<Full<'_>, BackupFault> {
    match &manifest.kind {
        Kind::Full { snapshot, schema_before, schema_after, tables, .. } => {
            let basis = Basis::in_format(manifest.format);
            Ok(Full { snapshot, before: schema_before, after: schema_after, tables, basis })
        }
        _ => Err(BackupFault::damaged(
            format!("the manifest {}", manifest.id),
            "is no full backup's",
        )),
    }
}

impl Site {
    /// Checks everything, makes a database and brings it up to the target.
    pub(crate) async fn raise(
        vault: &Vault,
        plan: &RestorePlan,
        chain: &Chain,
        until: Until,
        steps: &mut Steps<'_>,
    ) -> Result<Self, BackupFault> {
        let full = full_of(&chain.full)?;
        let scope = Scope::of(plan, &chain.full)?;
        steps.begin("checking every file");
        check::files(vault, chain, steps.progress()).await?;
        let before = text(vault, full.before).await?;
        let after = text(vault, full.after).await?;

        steps.begin("making the database");
        let name = default_name(&chain.full.source.database, Utc::now());
        let place = Place::open(server_of(plan)?, &plan.destination, &name).await?;
        let mut crew = Crew { connections: place.connections(plan.connections).await? };
        let first = crew.first()?;
        run(first, &before).await.map_err(refused("making the schema's first part"))?;
        settle(first).await?;
        scope.clear(first).await?;
        let scope = match &plan.agency {
            Some(id) => Scope::Agency(Agency::find(first, id, &after).await?),
            None => scope,
        };
        let script = statements(&after);
        let mut site = Self {
            place,
            crew,
            rows: 0,
            tables_checked: 0,
            reached: Reached::default(),
            scope: Arc::new(scope),
            script,
            made: Vec::new(),
            gone: partitions::Plan::default(),
            sequences: Vec::new(),
            log: chain.differential.is_some() || !chain.increments.is_empty(),
        };
        site.load(vault, &full, steps).await?;
        site.changes(vault, chain, full.snapshot, until, steps).await?;
        Ok(site)
    }

    async fn load(
        &mut self,
        vault: &Vault,
        full: &Full<'_>,
        steps: &mut Steps<'_>,
    ) -> Result<(), BackupFault> {
        steps.begin("loading the rows");
        let names = load::names(self.crew.first()?).await?;
        let scope = Arc::clone(&self.scope);
        let tables: Vec<&Table> = full.tables.iter().filter(|t| scope.has(&t.root)).collect();
        self.tables_checked = tables.len();
        finish::lend_memory(&mut self.crew).await?;
        // With changes to come, or rows to go, indexes would only be in the way.
        let whole = !self.log && !matches!(*self.scope, Scope::Agency(_));
        let own: HashSet<&str> =
            tables.iter().filter_map(|t| names.get(&t.name)).map(String::as_str).collect();
        let own = if whole { own } else { HashSet::new() };
        let soon = finish::soon(&mut self.script, &own);
        let part = self.scope.is_part();
        let forgiven: Forgiven<'_> = &|_| part;
        let (crew, progress) = (&mut self.crew, steps.progress());
        let loaded = load::Rows { tables: &tables, basis: full.basis };
        self.rows = load::load(crew, vault, &names, loaded, soon, forgiven, progress).await?;
        steps.begin("making primary keys");
        finish::indexes(&mut self.crew, &self.script, Turn::Key, forgiven).await
    }

    /// Applies the differential and the increments.
    async fn changes(
        &mut self,
        vault: &Vault,
        chain: &Chain,
        copied: &Snapshot,
        until: Until,
        steps: &mut Steps<'_>,
    ) -> Result<(), BackupFault> {
        let manifests: Vec<&Manifest> = chain.manifests().map(AsRef::as_ref).collect();
        self.sequences = manifests.last().map(|m| sequences_of(m).to_vec()).unwrap_or_default();
        if !self.log {
            return Ok(());
        }
        steps.begin("applying changes");
        let first = self.crew.first()?;
        self.made = partitions::make(first, &partitions::plan(&manifests, false)?).await?;
        let strays = partitions::catch_strays(first).await?;
        let scope = Arc::clone(&self.scope);
        let wanted: Wanted = Arc::new(move |root: &str| scope.has(root));
        let mut applier = Applier::new(std::mem::take(&mut self.crew.connections));
        let streams = [
            (segments(chain), Sieve::new(None, crate::model::Lsn(0), Until::End)),
            (increments(chain), Sieve::new(Some(copied.clone()), chain.start(), until)),
        ];
        for (objects, sieve) in streams {
            if objects.is_empty() {
                continue;
            }
            let reader = ChangeReader::open(vault, objects)?;
            let mut flow = Flow::start(reader, sieve, Arc::clone(&wanted), BATCH);
            let mut rows = 0;
            while let Some(step) = flow.next().await {
                rows += step.rows();
                applier.apply(step).await?;
                steps.progress().step(&format!("applying changes: {rows} rows"));
            }
            self.reached = flow.reached().await?;
        }
        self.crew.connections = applier.into_connections();
        let first = self.crew.first()?;
        partitions::drop_all(first, &strays).await?;
        self.gone = partitions::plan(&manifests, self.reached.stopped)?;
        if self.reached.lsn.is_none() {
            self.reached.at = chain.differential.as_ref().and_then(|d| newest_commit(d));
        }
        Ok(())
    }

    /// Drops the partitions that were gone at the target; and at that of `newer`, if it is given.
    async fn drop_gone(&mut self, newer: Option<&Manifest>) -> Result<(), BackupFault> {
        if let Some(newer) = newer {
            let keep =
                |p: &crate::model::Partition| newer.partitions.iter().any(|n| n.name == p.name);
            self.gone.gone.retain(|p| !keep(p));
        }
        partitions::drop_gone(self.crew.first()?, &self.gone).await
    }

    /// Compares what is there with what a full backup's manifest says: each table that differs.
    pub(crate) async fn differences(
        &mut self,
        newer: &Manifest,
    ) -> Result<Vec<BackupFault>, BackupFault> {
        self.drop_gone(Some(newer)).await?;
        let names = load::names(self.crew.first()?).await?;
        let full = full_of(newer)?;
        load::compare_all(&mut self.crew, &names, full.tables, full.basis).await
    }

    /// Makes the rest of the schema.
    pub(crate) async fn finish(&mut self, steps: &mut Steps<'_>) -> Result<(), BackupFault> {
        let part = self.scope.is_part();
        let gone: Vec<String> = self.gone.gone.iter().map(|p| bare(&p.name).to_owned()).collect();
        let forgiven: Forgiven<'_> = &|s| part || gone.iter().any(|name| s.contains(name.as_str()));
        if matches!(*self.scope, Scope::Agency(_)) {
            steps.begin("keeping the agency's rows");
            self.drop_gone(None).await?;
            let scope = Arc::clone(&self.scope);
            scope.prune(self.crew.first()?).await?;
        }
        let crew = &mut self.crew;
        steps.begin("making indexes");
        partitions::set_aside(crew.first()?, &self.made).await?;
        finish::indexes(crew, &self.script, Turn::Index, forgiven).await?;
        finish::in_order(crew, &self.script, Turn::Attach, forgiven).await?;
        partitions::drop_gone(crew.first()?, &self.gone).await?;
        partitions::put_back(crew.first()?, &self.made).await?;
        steps.begin("making and checking foreign keys");
        finish::foreign_keys(crew, &self.script, forgiven).await?;
        steps.begin("making triggers, policies and grants");
        finish::in_order(crew, &self.script, Turn::Rest, forgiven).await?;
        let first = crew.first()?;
        settle(first).await?;
        partitions::lend_rights(first, &self.made).await?;
        steps.begin("setting sequences");
        let names = load::names(first).await?;
        finish::sequences(first, &names, &self.sequences, self.log).await?;
        steps.begin("gathering statistics");
        finish::analyze(crew).await?;
        finish::check(crew.first()?).await
    }

    /// Closes every connection and gives the database its name.
    pub(crate) async fn done(self) -> Result<(), BackupFault> {
        self.close().await.done().await
    }

    /// Closes every connection into the database.
    pub(crate) async fn close(self) -> Place {
        for connection in self.crew.connections {
            let _ = sqlx::Connection::close(connection).await; // it is gone either way
        }
        self.place
    }
}

fn bare(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

async fn text(vault: &Vault, object: &Object) -> Result<String, BackupFault> {
    String::from_utf8(read_object(vault, object).await?)
        .map_err(|_| BackupFault::damaged(&object.key, "is not UTF-8"))
}

fn segments(chain: &Chain) -> Vec<Object> {
    match chain.differential.as_ref().map(|d| &d.kind) {
        Some(Kind::Differential { segments, .. }) => segments.iter().flatten().cloned().collect(),
        _ => Vec::new(),
    }
}

fn increments(chain: &Chain) -> Vec<Object> {
    chain.increments.iter().flat_map(|i| i.objects()).cloned().collect()
}

fn sequences_of(manifest: &Manifest) -> &[Sequence] {
    match &manifest.kind {
        Kind::Full { sequences, .. }
        | Kind::Incremental { sequences, .. }
        | Kind::Differential { sequences, .. } => sequences,
    }
}

fn newest_commit(manifest: &Manifest) -> Option<chrono::DateTime<Utc>> {
    match &manifest.kind {
        Kind::Incremental { newest_commit, .. } | Kind::Differential { newest_commit, .. } => {
            *newest_commit
        }
        Kind::Full { .. } => None,
    }
}
