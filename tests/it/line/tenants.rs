//! An agency sees and changes its own rows only.

use super::support::{Line, person, place};
use switchyard_catalog::line::{self, Cause};
use switchyard_domain::{AgentId, LeadState};
use switchyard_store::distribution::{self, Answer, RespondFault};
use switchyard_store::messages::{self, MessageFilter};
use switchyard_store::{StoreFault, agents, leads, territories};

#[tokio::test]
async fn another_agencys_lead_cannot_be_seen_or_answered() {
    let line = Line::new().await;
    let holder = line.agency("holder", &["00-950"]).await;
    let other = line.agency("other", &["30-001"]).await;
    let lead = line.lead_of(line.send("l", &person("l", Some("00-950"))).await).await;
    assert_eq!(lead.agency, Some(holder));

    let mut tx = line.tenant(other).await;
    assert!(matches!(leads::get(&mut tx, lead.id).await, Err(StoreFault::NotFound)));
    assert!(matches!(leads::get_for_agency(&mut tx, lead.id).await, Err(StoreFault::NotFound)));
    assert!(leads::list_for_agency(&mut tx, None, None, 10).await.unwrap().is_empty());
    assert!(distribution::assignments(&mut tx, lead.id).await.unwrap().is_empty());
    let all = MessageFilter { limit: 10, ..MessageFilter::default() };
    assert!(messages::list(&mut tx, &all).await.unwrap().is_empty());
    let refused =
        line::respond(&mut tx, lead.id, &Answer::Accept, &Cause::default()).await.unwrap_err();
    assert!(matches!(refused, RespondFault::Store(StoreFault::NotFound)), "{refused:?}");
    drop(tx);
    assert_eq!(line.lead(lead.id).await.state, LeadState::Assigned);

    let mut tx = line.tenant(holder).await;
    assert_eq!(leads::get_for_agency(&mut tx, lead.id).await.unwrap().id, lead.id);
    assert_eq!(messages::list(&mut tx, &all).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_outside_an_agencys_scope_finds_no_offer() {
    let line = Line::new().await;
    line.agency("holder", &["00-950"]).await;
    let lead = line.lead_of(line.send("l", &person("l", Some("00-950"))).await).await;
    let mut tx = line.platform().await;
    let refused =
        line::respond(&mut tx, lead.id, &Answer::Accept, &Cause::default()).await.unwrap_err();
    assert!(matches!(refused, RespondFault::Store(StoreFault::NotFound)), "{refused:?}");
}

#[tokio::test]
async fn nobody_writes_in_another_agencys_name() {
    let line = Line::new().await;
    let victim = line.agency("victim", &["00-950"]).await;
    let other = line.agency("other", &[]).await;
    let mut tx = line.tenant(other).await;
    let places = [place("PL", "11-111")];
    let refused = line::add_territories(&mut tx, victim, &places, &Cause::default()).await;
    assert!(matches!(refused, Err(StoreFault::Database(_))), "{refused:?}");

    let mut tx = line.tenant(other).await;
    assert_eq!(territories::remove(&mut tx, victim, None, "00-950").await.unwrap(), 0);
    let refused = agents::upsert(&mut tx, AgentId::new(), victim, "Spy", None, None).await;
    assert!(matches!(refused, Err(StoreFault::Database(_))), "{refused:?}");
    drop(tx);
    let mut tx = line.tenant(victim).await;
    assert_eq!(territories::list(&mut tx, victim).await.unwrap().len(), 1);
    assert_eq!(agents::list(&mut tx, victim).await.unwrap().len(), 1);
}
