//! `jobs search` and `bulk`.

use super::Desk;
use serde_json::json;

#[tokio::test]
async fn jobs_are_searched_and_all_that_match_steered_and_put_back() {
    let desk = Desk::new().await;
    let id = desk.enqueue(&["--in", "1h"]).await;
    let search = |more: &'static [&'static str]| [&["--json", "jobs", "search"], more].concat();
    let found =
        desk.say(&search(&["--state", "scheduled", "--kind", "leads.rescan_unassigned"])).await;
    assert_eq!(found.json()["jobs"][0]["id"], json!(id), "{found:?}");
    let none = desk.say(&search(&["--arg", "lead=nobody"])).await.json();
    assert_eq!(none, json!({"jobs": [], "next": null}));
    assert_eq!(desk.say(&search(&["--stuck"])).await.json(), none, "it does not run");
    let wrong = desk.say(&search(&["--state", "asleep"])).await;
    assert_eq!((wrong.code, &wrong.err_json()["error"]["code"]), (Some(2), &json!("filter")));

    let which = ["--kind", "leads.rescan_unassigned"];
    let dry =
        desk.say(&[&["--json", "bulk", "start", "cancel", "--dry-run"], &which[..]].concat()).await;
    assert_eq!((&dry.json()["count"], &dry.json()["exact"]), (&json!(1), &json!(true)));
    assert_eq!(desk.say(&["--json", "bulk", "list"]).await.json(), json!({"operations": []}));
    let op = desk.say(&[&["--json", "bulk", "start", "cancel"], &which[..]].concat()).await.json();
    assert_eq!((&op["state"], &op["total"]), (&json!("waiting"), &json!(1)));
    let op = op["id"].as_str().unwrap().to_owned();
    let early = desk.say(&["--json", "bulk", "undo", &op]).await;
    assert_eq!(early.err_json()["error"]["code"], "wrong_state");
    switchyard_store::jobs::bulk::work(&desk.test.db).await.unwrap();
    let shown = desk.say(&["bulk", "show", &op]).await.out;
    assert!(shown.contains("done       1 of 1"), "{shown}");
    let undo = desk.say(&["--json", "bulk", "undo", &op]).await.json();
    assert_eq!((&undo["action"], &undo["undo_of"]), (&json!("undo"), &json!(op)));
    switchyard_store::jobs::bulk::work(&desk.test.db).await.unwrap();
    let back = desk.say(&["--json", "jobs", "show", &id]).await.json();
    assert_eq!(back["row"]["state"], "scheduled");
    let all = desk.say(&["bulk", "start", "cancel"]).await;
    assert_eq!(all.code, Some(2), "not simply everything: {all:?}");
}
