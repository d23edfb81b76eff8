//! Descriptions of workflows: what is refused, and that no cycle gets through.

use super::*;
use crate::Options;
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

fn job() -> NewJob {
    NewJob::raw("k", "q", Duration::from_secs(1), json!({}), Options::new())
}

fn refused(flow: Workflow) -> WorkflowFault {
    flow.plan().map(|plan| plan.names).expect_err("it is refused")
}

#[test]
fn what_makes_no_sense_is_refused_with_names() {
    let flow = || Workflow::new("w").add("a", job());
    assert_eq!(refused(Workflow::new("w")), WorkflowFault::Empty);
    assert_eq!(refused(Workflow::new("").add("a", job())), WorkflowFault::Name(String::new()));
    assert_eq!(refused(flow().add("a", job())), WorkflowFault::NameTaken("a".into()));
    let unknown = WorkflowFault::UnknownParent { node: "b".into(), parent: "c".into() };
    assert_eq!(refused(flow().add_after("b", job(), ["c"])), unknown);
    let own = flow().add_after("b", job(), ["b"]);
    assert_eq!(refused(own), WorkflowFault::Cycle(vec!["b".into()]));
    let round = flow().add_after("b", job(), ["a", "c"]).add_after("c", job(), ["b"]);
    assert_eq!(refused(round), WorkflowFault::Cycle(vec!["b".into(), "c".into()]));
    let many = Workflow::batch("w", (0..=MOST_NODES).map(|_| job()));
    assert_eq!(refused(many), WorkflowFault::TooManyNodes(MOST_NODES + 1));
}

#[test]
fn chains_and_batches_are_workflows() {
    let chain = Workflow::chain("c", [job(), job(), job()]).plan().expect("a chain");
    assert_eq!((chain.policy, &*chain.edges), (FailurePolicy::CancelRest, &[(0, 1), (1, 2)][..]));
    assert_eq!(chain.waits_on, [0, 1, 1]);
    let waits = |p: &Plan| p.jobs.iter().map(|j| j.part_of.is_some_and(|m| m.waits)).collect();
    let waiting: Vec<bool> = waits(&chain);
    assert_eq!(waiting, [false, true, true]);
    let batch = Workflow::batch("b", (0..4).map(|_| job())).then(job()).plan().expect("a batch");
    assert_eq!((batch.policy, batch.names.last()), (FailurePolicy::Continue, Some(&"then".into())));
    assert_eq!(batch.waits_on, [0, 0, 0, 0, 4]);
    let twice = Workflow::new("w").add("a", job()).add_after("b", job(), ["a", "a"]);
    assert_eq!(twice.plan().expect("a workflow").waits_on, [0, 1], "a parent counts once");
}

#[test]
fn numbers_and_words_read_back() {
    for policy in FailurePolicy::ALL {
        assert_eq!(FailurePolicy::from_code(policy.code()), Some(*policy));
        assert_eq!(policy.as_str().parse(), Ok(*policy));
        assert_eq!(json!(policy), json!(policy.as_str()));
    }
    for state in WorkflowState::ALL {
        assert_eq!(WorkflowState::from_code(state.code()), Some(*state));
        assert_eq!(json!(state), json!(state.as_str()));
    }
    assert!("never".parse::<FailurePolicy>().is_err());
}

/// Whether a node can be reached from itself, found the slow way.
fn has_cycle(n: usize, edges: &[(usize, usize)]) -> bool {
    let mut reach = vec![vec![false; n]; n];
    for (a, b) in edges {
        reach[*a][*b] = true;
    }
    for via in 0..n {
        for a in 0..n {
            for b in 0..n {
                reach[a][b] |= reach[a][via] && reach[via][b];
            }
        }
    }
    (0..n).any(|a| reach[a][a])
}

proptest! {
    #[test]
    fn a_plan_is_made_exactly_if_there_is_no_cycle(
        (n, edges) in (1_usize..8).prop_flat_map(|n| {
            (Just(n), prop::collection::vec((0..n, 0..n), 0..12))
        })
    ) {
        let flow = (0..n).fold(Workflow::new("w"), |flow, child| {
            let parents = edges.iter().filter(|(_, c)| *c == child).map(|(p, _)| p.to_string());
            flow.add_after(child.to_string(), job(), parents)
        });
        match flow.plan() {
            Ok(plan) => {
                prop_assert!(!has_cycle(n, &edges));
                let layer = layers(n, &plan.edges).expect("it was planned");
                prop_assert!(plan.edges.iter().all(|(p, c)| layer[*p] < layer[*c]));
                for (child, waits) in plan.waits_on.iter().enumerate() {
                    let parents = plan.edges.iter().filter(|(_, c)| *c == child).count();
                    prop_assert_eq!(parents, usize::try_from(*waits).expect("not negative"));
                }
            }
            Err(fault) => {
                prop_assert!(matches!(fault, WorkflowFault::Cycle(_)), "{fault}");
                prop_assert!(has_cycle(n, &edges));
            }
        }
    }
}
