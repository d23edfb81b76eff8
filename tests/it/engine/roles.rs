//! Who may see what: the engine no tenant's rows, the application none without a scope.

use sqlx::PgConnection;
use switchyard_tests::TestDb;
use uuid::Uuid;

async fn seed(owner: &mut PgConnection) -> (Uuid, Uuid) {
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    for (id, mail) in [(one, "a@example.com"), (two, "b@example.com")] {
        sqlx::query(
            "insert into switchyard.agencies (id, name, email, password_hash) values ($1, $2, $2, '')",
        )
        .bind(id)
        .bind(mail)
        .execute(&mut *owner)
        .await
        .unwrap();
        sqlx::query("insert into switchyard.agents (id, agency_id, name) values ($1, $2, 'x')")
            .bind(Uuid::now_v7())
            .bind(id)
            .execute(&mut *owner)
            .await
            .unwrap();
    }
    (one, two)
}

async fn tables(owner: &mut PgConnection, schema: &str) -> Vec<String> {
    sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = $1 and c.relkind in ('r', 'p') order by 1",
    )
    .bind(schema)
    .fetch_all(owner)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_engine_cannot_read_a_tenants_table() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let all = tables(&mut owner, "switchyard").await;
    assert!(all.iter().any(|t| t == "switchyard.leads"));
    for table in all {
        let any: bool = sqlx::query_scalar(
            "select has_table_privilege('switchyard_engine', $1, 'select, insert, update, delete')
                 or has_any_column_privilege('switchyard_engine', $1, 'select')",
        )
        .bind(&table)
        .fetch_one(&mut owner)
        .await
        .unwrap();
        assert!(!any, "the engine reaches {table}");
    }
    sqlx::raw_sql("set role switchyard_engine").execute(&mut owner).await.unwrap();
    let refused = sqlx::raw_sql("select 1 from switchyard.leads").execute(&mut owner).await;
    let code = refused.unwrap_err().into_database_error().unwrap().code().unwrap().into_owned();
    assert_eq!(code, "42501", "permission denied");
}

#[tokio::test]
async fn the_application_sees_nothing_without_a_scope_and_its_own_rows_with_one() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    let (one, _) = seed(&mut owner).await;
    let mut app = test.owner().await;
    sqlx::raw_sql("set role switchyard_app").execute(&mut app).await.unwrap();
    let mut seen = Vec::new();
    for (scope, tenant) in [
        ("", String::new()),
        ("tenant", String::new()),
        ("tenant", one.to_string()),
        ("platform", String::new()),
    ] {
        sqlx::query("select set_config('switchyard.scope', $1, false), set_config('switchyard.tenant', $2, false)")
            .bind(scope)
            .bind(tenant)
            .execute(&mut app)
            .await
            .unwrap();
        let n: (i64, i64) = sqlx::query_as(
            "select (select count(*) from switchyard.agencies), (select count(*) from switchyard.agents)",
        )
        .fetch_one(&mut app)
        .await
        .unwrap();
        seen.push(n);
    }
    assert_eq!(seen, [(0, 0), (0, 0), (1, 1), (2, 2)]);
}

#[tokio::test]
async fn every_table_of_the_platform_is_under_row_level_security() {
    let test = TestDb::new().await;
    let open: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'switchyard' and c.relkind = 'r' and not c.relrowsecurity",
    )
    .fetch_all(&mut test.owner().await)
    .await
    .unwrap();
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test]
async fn the_application_cannot_rewrite_history() {
    let test = TestDb::new().await;
    let mut owner = test.owner().await;
    sqlx::raw_sql("set role switchyard_app").execute(&mut owner).await.unwrap();
    for statement in [
        "update engine.job_history set outcome = 8",
        "delete from engine.job_attempts",
        "update engine.counters set n = 0",
        "select engine.drop_slices(current_date)",
    ] {
        assert!(sqlx::raw_sql(statement).execute(&mut owner).await.is_err(), "{statement}");
    }
}
