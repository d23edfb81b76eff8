//! Whose turn it is: strict, whatever happens at once; and what follows an agency's answer.

use super::support::{Line, person};
use crate::engine::support::reads_when_alone;
use std::collections::BTreeMap;
use switchyard_catalog::line::{self, Cause};
use switchyard_domain::{AgencyId, LeadId, LeadState};
use switchyard_store::distribution::{
    self, Answer, Assignment, AssignmentReason, AssignmentState, RespondFault,
};
use switchyard_store::{StoreFault, events};

async fn assignments(line: &Line, lead: LeadId) -> Vec<Assignment> {
    distribution::assignments(&mut line.platform().await, lead).await.unwrap()
}

async fn respond(
    line: &Line,
    agency: AgencyId,
    lead: LeadId,
    answer: &Answer,
) -> Result<(), RespondFault> {
    let mut tx = line.tenant(agency).await;
    line::respond(&mut tx, lead, answer, &Cause::default()).await?;
    tx.commit().await?;
    Ok(())
}

fn reject() -> Answer {
    Answer::Reject { note: Some("too far".into()) }
}

#[tokio::test]
async fn thirty_leads_at_once_go_round_three_agencies_strictly() {
    let line = Line::new().await;
    let mut agencies = Vec::new();
    for name in ["a", "b", "c"] {
        agencies.push(line.agency(name, &["00-950"]).await);
    }
    agencies.sort();
    let batch = (0..30).map(|n| {
        let id = format!("lead-{n}");
        line.delivery(&id, &person(&id, Some("00-950")))
    });
    events::ingest(&line.db, batch.collect::<Vec<_>>()).await.unwrap();
    line.run().await;

    let mut by_position = BTreeMap::new();
    for lead in line.leads().await {
        let given = assignments(&line, lead.id).await;
        assert_eq!(given.len(), 1);
        assert_eq!(given[0].sequence_key.as_deref(), Some("PL:00-950"));
        by_position.insert(given[0].position.unwrap(), given[0].agency);
    }
    let positions: Vec<i64> = by_position.keys().copied().collect();
    assert_eq!(positions, (1..=30).collect::<Vec<_>>(), "every turn was taken once");
    for (position, agency) in by_position {
        let turn = usize::try_from(position - 1).unwrap() % 3;
        assert_eq!(agency, agencies[turn], "at position {position}");
    }
}

#[tokio::test]
async fn an_agency_that_is_off_or_without_subscription_is_passed_over() {
    let line = Line::new().await;
    let on = line.agency("on", &["00-950"]).await;
    let off = line.agency("off", &["00-950"]).await;
    let unpaid = line.agency("unpaid", &["00-950"]).await;
    sqlx::query(
        "update switchyard.agencies set active = id <> $1,
           subscribed_until = case id when $2 then null else subscribed_until end",
    )
    .bind(off.0)
    .bind(unpaid.0)
    .execute(&mut line.test.owner().await)
    .await
    .unwrap();
    for n in 0..4 {
        let id = format!("l{n}");
        let event = line.send(&id, &person(&id, Some("00-950"))).await;
        assert_eq!(line.lead_of(event).await.agency, Some(on));
    }
}

#[tokio::test]
async fn the_catch_all_takes_what_nobody_covers() {
    let line = Line::new().await;
    let local = line.agency("local", &["00-950"]).await;
    let one = line.bare_agency("one", true).await;
    let two = line.bare_agency("two", true).await;
    let mut got = Vec::new();
    for (id, code) in [("a", None), ("b", Some("99-999")), ("c", None), ("d", Some("00-950"))] {
        let lead = line.lead_of(line.send(id, &person(id, code)).await).await;
        let given = assignments(&line, lead.id).await.remove(0);
        got.push((given.agency, given.reason, given.sequence_key.unwrap(), given.position));
    }
    let star = |agency, n| (agency, AssignmentReason::CatchAll, "*".to_owned(), Some(n));
    let covered = (local, AssignmentReason::RoundRobin, "PL:00-950".to_owned(), Some(1));
    assert_eq!(got, [star(one, 1), star(two, 2), star(one, 3), covered]);
}

#[tokio::test]
async fn a_rejected_lead_goes_to_the_next_and_never_back() {
    let line = Line::new().await;
    let mut agencies = Vec::new();
    for name in ["a", "b"] {
        agencies.push(line.agency(name, &["00-950"]).await);
    }
    agencies.sort();
    let lead = line.lead_of(line.send("l", &person("l", Some("00-950"))).await).await;
    assert_eq!(lead.agency, Some(agencies[0]));

    respond(&line, agencies[0], lead.id, &reject()).await.unwrap();
    let mut tx = line.tenant(agencies[0]).await;
    let own = switchyard_store::leads::list_for_agency(&mut tx, None, None, 10).await.unwrap();
    assert!(own.is_empty(), "it is gone from the agency's list before the next one has it");
    drop(tx);
    line.run().await;
    let now = line.lead(lead.id).await;
    assert_eq!((now.state, now.agency), (LeadState::Assigned, Some(agencies[1])));

    respond(&line, agencies[1], lead.id, &reject()).await.unwrap();
    line.run().await;
    let now = line.lead(lead.id).await;
    assert_eq!((now.state, now.agency), (LeadState::Unassigned, None), "all rejected it");
    let given = assignments(&line, lead.id).await;
    assert!(given.iter().all(|a| a.state == AssignmentState::Rejected));
    assert_eq!(given.len(), 2);
    assert_eq!(given[0].note.as_deref(), Some("too far"));

    // A newcomer gets it; those who rejected it are not asked again.
    let newcomer = line.agency("c", &["00-950"]).await;
    line.run().await;
    assert_eq!(line.lead(lead.id).await.agency, Some(newcomer));
}

#[tokio::test]
async fn an_answer_may_be_repeated_but_not_reversed() {
    let line = Line::new().await;
    let agency = line.agency("a", &["00-950"]).await;
    let lead = line.lead_of(line.send("l", &person("l", Some("00-950"))).await).await.id;
    respond(&line, agency, lead, &Answer::Accept).await.unwrap();
    respond(&line, agency, lead, &Answer::Accept).await.unwrap();
    let fault = respond(&line, agency, lead, &reject()).await.unwrap_err();
    assert!(matches!(fault, RespondFault::Conflict(AssignmentState::Accepted)), "{fault:?}");
    assert_eq!(line.lead(lead).await.state, LeadState::Accepted);
    assert!(line.run().await.is_empty(), "nothing was enqueued");

    let other = line.lead_of(line.send("m", &person("m", Some("00-950"))).await).await.id;
    respond(&line, agency, other, &reject()).await.unwrap();
    respond(&line, agency, other, &reject()).await.unwrap();
    let fault = respond(&line, agency, other, &Answer::Accept).await.unwrap_err();
    assert!(matches!(fault, RespondFault::Conflict(AssignmentState::Rejected)), "{fault:?}");
    line.run().await;
    respond(&line, agency, other, &reject()).await.unwrap();
    let none = respond(&line, agency, LeadId::new(), &Answer::Accept).await.unwrap_err();
    assert!(matches!(none, RespondFault::Store(StoreFault::NotFound)), "{none:?}");
}

#[tokio::test]
async fn opposite_answers_at_once_leave_one_standing() {
    let line = Line::new().await;
    let agency = line.agency("a", &["00-950"]).await;
    for n in 0..8 {
        let id = format!("l{n}");
        let lead = line.lead_of(line.send(&id, &person(&id, Some("00-950"))).await).await.id;
        let no = reject();
        let answers = tokio::join!(
            respond(&line, agency, lead, &Answer::Accept),
            respond(&line, agency, lead, &no),
        );
        let (yes, no) = (answers.0.is_ok(), answers.1.is_ok());
        assert!(yes != no, "exactly one is taken: {answers:?}");
        line.run().await;
        let expected = if yes { LeadState::Accepted } else { LeadState::Unassigned };
        assert_eq!(line.lead(lead).await.state, expected);
    }
}

/// An agency's earlier leads are no reason to look at all of them for every new one.
#[tokio::test]
async fn whose_turn_it_is_costs_no_more_after_many_leads() {
    const BEFORE: i64 = 20_000;
    let line = Line::new().await;
    line.agency("a", &["00-950"]).await;
    line.send("first", &person("first", Some("00-950"))).await;
    // Analysed while nobody could see them: by the statistics there are none.
    let mut owner = line.test.owner().await;
    sqlx::raw_sql("begin").execute(&mut owner).await.unwrap();
    for fill in [
        "insert into switchyard.leads (id, portal_id, event_id, ordinal, state, agency_id)
         select gen_random_uuid(), portal_id, event_id, n, state, agency_id
         from switchyard.leads, generate_series(1, $1) n",
        "insert into switchyard.lead_assignments (id, lead_id, agency_id, reason, explanation)
         select gen_random_uuid(), id, agency_id, 'round_robin', 'why' from switchyard.leads
         where ordinal between 1 and $1",
    ] {
        sqlx::query(fill).bind(BEFORE).execute(&mut owner).await.unwrap();
    }
    let analyze = "analyze switchyard.leads, switchyard.lead_assignments";
    sqlx::raw_sql(analyze).execute(&mut line.test.owner().await).await.unwrap();
    sqlx::raw_sql("commit").execute(&mut owner).await.unwrap();
    drop(owner);

    let delivery = |n| line.delivery(&format!("d{n}"), &person(&format!("d{n}"), Some("00-950")));
    events::ingest(&line.db, (0..20).map(delivery).collect::<Vec<_>>()).await.unwrap();
    line.run().await;
    line.db.close().await;
    let test = only_the_database(line);
    let mut owner = test.owner().await;
    let read = reads_when_alone(&mut owner, &["switchyard.lead_assignments"]).await;
    assert!((1..2_000).contains(&read), "20 leads read {read} assignments");
}

fn only_the_database(line: Line) -> switchyard_tests::TestDb {
    line.test
}
