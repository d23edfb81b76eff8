//! Whether an account behind a valid token still stands. Remembered for a few seconds, so that a
//! disabled account is locked out soon and not only when its token ends.

use super::{Claims, Role};
use crate::config::ApiConfig;
use moka::future::Cache;
use std::sync::Arc;
use switchyard_domain::{AdministratorId, AgencyId};
use switchyard_store::{Db, Result, Scope, StoreFault, administrators, agencies};
use uuid::Uuid;

/// Remembers which accounts stand.
pub(crate) struct Accounts {
    known: Cache<(Role, Uuid), bool>,
}

impl Accounts {
    pub(crate) fn new(config: &ApiConfig) -> Self {
        let known =
            Cache::builder().max_capacity(10_000).time_to_live(config.account_cache_ttl).build();
        Self { known }
    }

    /// Whether the account exists and is not disabled.
    pub(crate) async fn stands(
        &self,
        db: &Db,
        claims: &Claims,
    ) -> std::result::Result<bool, Arc<StoreFault>> {
        let key = (claims.role, claims.sub);
        self.known.try_get_with(key, look_up(db, key.0, key.1)).await
    }
}

async fn look_up(db: &Db, role: Role, id: Uuid) -> Result<bool> {
    let mut tx = db.begin(Scope::Platform).await?;
    match role {
        Role::Admin => administrators::stands(&mut tx, AdministratorId(id)).await,
        Role::Agency => agencies::stands(&mut tx, AgencyId(id)).await,
    }
}
