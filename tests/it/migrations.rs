//! The migrations and the roles.

use switchyard_store::Scope;
use switchyard_tests::TestDb;

#[tokio::test]
async fn a_fresh_database_answers_under_the_application_role() {
    let test = TestDb::new().await;
    test.db.ping().await.expect("the database answers");
    let tx = test.db.begin(Scope::Platform).await.expect("a transaction");
    tx.commit().await.expect("a commit");
}
