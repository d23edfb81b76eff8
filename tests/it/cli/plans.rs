//! Commission plans on the command line: checked, stored as versions, assigned.

use super::Desk;
use serde_json::{Value, json};
use switchyard_domain::{AgencyId, AgentId};
use uuid::Uuid;

fn plan(version: u32, rate: &str) -> String {
    json!({
        "format": 1, "name": "field-sales", "version": version, "currencies": ["EUR"],
        "tiers": [{ "name": "one", "from": "0", "rate": rate }]
    })
    .to_string()
}

/// An agency with two agents.
async fn people(desk: &Desk) -> (AgencyId, [AgentId; 2]) {
    let (agency, agents) = (AgencyId::new(), [AgentId::new(), AgentId::new()]);
    let mut owner = desk.test.owner().await;
    sqlx::query("insert into switchyard.agencies (id, name, email, password_hash) values ($1, 'A', 'a@a.test', 'x')")
        .bind(agency.0)
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::query("insert into switchyard.agents (id, agency_id, name) select id, $1, 'a' from unnest($2::uuid[]) id")
        .bind(agency.0)
        .bind(agents.iter().map(|a| a.0).collect::<Vec<Uuid>>())
        .execute(&mut owner)
        .await
        .unwrap();
    (agency, agents)
}

impl Desk {
    /// Writes the document to a file and applies it.
    async fn apply(&self, document: &str, more: &[&str]) -> switchyard_tests::program::Said {
        let file = self.folder.path().join("plan.json");
        std::fs::write(&file, document).unwrap();
        let file = file.display().to_string();
        self.say(&[&["--json", "plans", "apply", &file], more].concat()).await
    }

    async fn plans(&self) -> Vec<Value> {
        let all = self.say(&["--json", "plans", "list"]).await.json();
        let all = all.as_array().unwrap().clone();
        all.into_iter().filter(|p| p["plan"]["code"] == "field-sales").collect()
    }
}

#[tokio::test]
async fn a_plan_is_made_from_a_document_and_its_versions_are_never_changed() {
    let desk = Desk::new().await;
    let first = desk.apply(&plan(1, "5"), &["--title", "Sales in the field"]).await;
    assert_eq!(first.json(), json!({ "code": "field-sales", "version": 1, "outcome": "created" }));
    assert_eq!(desk.apply(&plan(1, "5"), &[]).await.json()["outcome"], "unchanged");
    let other = desk.apply(&plan(1, "6"), &[]).await;
    assert_eq!(other.code, Some(1));
    assert!(
        other.err.contains("says something else") && other.err.contains("\\\"version\\\": 2"),
        "{other:?}"
    );
    let leap = desk.apply(&plan(3, "6"), &[]).await;
    assert!(leap.code == Some(1) && leap.err.contains("next one is 2"), "{leap:?}");
    assert_eq!(desk.apply(&plan(2, "6"), &[]).await.json()["outcome"], "new version");
    let early = desk.apply(&plan(3, "7"), &["--from", "2020-01-01"]).await;
    assert!(early.code == Some(1) && early.err.contains("before the one before it"), "{early:?}");

    let newest = desk.say(&["--json", "plans", "show", "field-sales"]).await.json();
    assert_eq!(
        (&newest["version"], &newest["document"]["tiers"][0]["rate"]),
        (&json!(2), &json!("6"))
    );
    let first = desk.say(&["plans", "show", "field-sales", "--version", "1"]).await;
    let first: Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(first["tiers"][0]["rate"], "5");
    let none = desk.say(&["plans", "show", "field-sales", "--version", "9"]).await;
    assert!(none.code == Some(1) && none.err.contains("it has these: 1, 2"), "{none:?}");
    let [listed] = &desk.plans().await[..] else { panic!("one plan") };
    assert_eq!(
        (&listed["version"], &listed["plan"]["name"]),
        (&json!(2), &json!("Sales in the field"))
    );
}

#[tokio::test]
async fn every_fault_of_a_document_is_told_and_nothing_is_stored() {
    let desk = Desk::new().await;
    let file = desk.folder.path().join("bad.json");
    let bad = plan(1, "105").replace("\"tiers\"", "\"steps\"");
    for (document, told) in [(bad.as_str(), "/steps"), ("{", "no JSON"), ("", "no JSON")] {
        std::fs::write(&file, document).unwrap();
        let file = file.display().to_string();
        for command in ["check", "apply"] {
            let said = desk.say(&["plans", command, &file]).await;
            assert!(said.code == Some(1) && said.err.contains(told), "{command}: {said:?}");
        }
    }
    assert!(desk.plans().await.is_empty());
    let sound = desk.folder.path().join("sound.json");
    std::fs::write(&sound, plan(1, "5")).unwrap();
    let said = desk.say(&["plans", "check", &sound.display().to_string()]).await;
    assert!(said.code == Some(0) && said.out.contains("is sound"), "{said:?}");
    assert!(desk.plans().await.is_empty());
    let nowhere = desk.say(&["plans", "apply", "nowhere.json"]).await;
    assert!(nowhere.code == Some(1) && nowhere.err.contains("cannot be read"), "{nowhere:?}");
}

#[tokio::test]
async fn a_plan_is_assigned_until_the_assignment_ends() {
    let desk = Desk::new().await;
    let (agency, [agent, manager]) = people(&desk).await;
    desk.apply(&plan(1, "5"), &[]).await;
    let told = desk.say(&["plans", "list"]).await.out;
    assert!(told.contains("nobody yet"), "{told}");

    let wanted = agency.to_string();
    let assigned =
        desk.say(&["--json", "plans", "assign", "field-sales", "--agency", &wanted]).await.json();
    let id = assigned["assignment"].as_str().unwrap().to_owned();
    assert!(desk.say(&["plans", "list"]).await.out.contains(&format!("agency {wanted}")));
    let later = ["plans", "assign", "field-sales", "--from", "2027-01-01", "--until", "2028-01-01"];
    assert_eq!(desk.say(&later).await.code, Some(0));
    let told = desk.say(&["plans", "list"]).await.out;
    let span = "everybody from 2027-01-01T00:00:00.000Z until 2028-01-01T00:00:00.000Z";
    assert!(told.contains(span), "{told}");
    let nobody = AgencyId::new().to_string();
    for (args, why) in [
        (vec!["assign", "field-sales", "--agency", &nobody], "no such agency"),
        (vec!["assign", "field-sales", "--agent", &nobody], "no such agent"),
        (vec!["assign", "field-sales", "--portal", "moon"], "no portal `moon`"),
        (vec!["assign", "moon"], "no plan `moon`"),
        (
            vec!["assign", "field-sales", "--from", "2027-01-01", "--until", "2026-01-01"],
            "end before it begins",
        ),
        (vec!["unassign", &nobody], "no assignment"),
    ] {
        let said = desk.say(&[&["plans"], args.as_slice()].concat()).await;
        assert!(said.code == Some(1) && said.err.contains(why), "{args:?}: {said:?}");
    }
    assert_eq!(desk.say(&["plans", "unassign", &id]).await.code, Some(0));
    assert_eq!(desk.plans().await[0]["assignments"].as_array().unwrap().len(), 1);
    assert_eq!(desk.say(&["plans", "unassign", &id]).await.code, Some(1));

    let (agent, manager) = (agent.to_string(), manager.to_string());
    assert_eq!(desk.say(&["plans", "manager", &agent, &manager]).await.code, Some(0));
    let managed: Option<Uuid> =
        sqlx::query_scalar("select manager_id from switchyard.agents where id = $1::uuid")
            .bind(&agent)
            .fetch_one(&mut desk.test.owner().await)
            .await
            .unwrap();
    assert_eq!(managed.map(|m| m.to_string()), Some(manager));
    for (whom, why) in [(&agent, "own manager"), (&nobody, "same agency")] {
        let said = desk.say(&["plans", "manager", &agent, whom]).await;
        assert!(said.code == Some(1) && said.err.contains(why), "{said:?}");
    }
    assert_eq!(desk.say(&["plans", "manager", &agent]).await.code, Some(0));
}
