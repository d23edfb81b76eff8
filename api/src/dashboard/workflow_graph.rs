//! A workflow as a picture: layers from left to right, lines from each job to those that wait for it.

use switchyard_queue::{JobId, JobState, layers};
use switchyard_store::workflows::{Fan, NodeRow};

const WIDTH: usize = 176;
const HEIGHT: usize = 40;
/// Between two layers: room for the lines.
const GAP: usize = 56;
const ROW: usize = 54;
/// Letters that fit into a box.
const LETTERS: usize = 21;

/// The whole picture; lengths in pixels.
pub(super) struct Graph {
    pub width: usize,
    pub height: usize,
    pub nodes: Vec<Node>,
    pub lines: Vec<Line>,
}

/// A box.
pub(super) struct Node {
    pub x: usize,
    pub y: usize,
    pub job: JobId,
    pub name: String,
    pub label: String,
    pub kind: String,
    pub state: JobState,
}

/// A line from a job to one that waits for it.
pub(super) struct Line {
    pub path: String,
    /// The job at its left completed.
    pub passed: bool,
}

impl Graph {
    /// The picture of these jobs, whose edges name their positions.
    pub(super) fn new(rows: &[NodeRow], edges: &[Fan]) -> Self {
        let at = |place: i32| usize::try_from(place).ok().filter(|n| *n < rows.len());
        let edges: Vec<(usize, usize)> =
            edges.iter().filter_map(|e| Some((at(e.parent)?, at(e.child)?))).collect();
        // What was started has no cycle.
        let layer = layers(rows.len(), &edges).unwrap_or_else(|_| vec![0; rows.len()]);
        let place = arrange(&layer, &edges);
        let x = |n: usize| layer[n] * (WIDTH + GAP);
        let y = |n: usize| place[n] * ROW;
        let line = |(from, to): &(usize, usize)| {
            let (x1, y1) = (x(*from) + WIDTH, y(*from) + HEIGHT / 2);
            let (x2, y2) = (x(*to), y(*to) + HEIGHT / 2);
            // Beyond one layer the line leaves and arrives level, so that it is seen between boxes.
            let bend = GAP / 2;
            let path = format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2 - bend);
            Line { path, passed: rows[*from].state == JobState::Completed }
        };
        let node = |(n, row): (usize, &NodeRow)| Node {
            x: x(n),
            y: y(n),
            job: row.job,
            name: row.node.clone(),
            label: cut(&row.node),
            kind: cut(&row.kind),
            state: row.state,
        };
        let most = |sizes: &[usize]| sizes.iter().max().map_or(1, |n| n + 1);
        Self {
            width: most(&layer) * (WIDTH + GAP) - GAP + 2,
            height: most(&place) * ROW - (ROW - HEIGHT) + 2,
            nodes: rows.iter().enumerate().map(node).collect(),
            lines: edges.iter().map(line).collect(),
        }
    }
}

/// The row of each node in its layer: as near to its parents as the order allows.
fn arrange(layer: &[usize], edges: &[(usize, usize)]) -> Vec<usize> {
    let mut parents = vec![Vec::new(); layer.len()];
    for (parent, child) in edges {
        parents[*child].push(*parent);
    }
    let mut place = vec![0; layer.len()];
    for depth in 0..=layer.iter().max().copied().unwrap_or(0) {
        let mut here: Vec<usize> = (0..layer.len()).filter(|n| layer[*n] == depth).collect();
        // The mean of the parents' rows, in thousandths.
        let mean = |n: &usize| {
            let sum: usize = parents[*n].iter().map(|p| place[*p] * 1000).sum();
            sum / parents[*n].len().max(1)
        };
        here.sort_by_key(|n| (mean(n), *n));
        for (row, n) in here.into_iter().enumerate() {
            place[n] = row;
        }
    }
    place
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LETTERS {
        return text.to_owned();
    }
    text.chars().take(LETTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(place: i32, node: &str) -> NodeRow {
        NodeRow {
            place,
            node: node.to_owned(),
            job: JobId::new(),
            kind: "k".to_owned(),
            state: JobState::Completed,
            waits_on: 0,
            result: None,
        }
    }

    #[test]
    fn what_waits_stands_to_the_right_and_no_two_boxes_overlap() {
        let rows = [row(0, "a"), row(1, "b"), row(2, "c"), row(3, "d and a very long name of it")];
        let fan = |parent, child| Fan { parent, child };
        let edges = [fan(0, 1), fan(0, 2), fan(1, 3), fan(2, 3), fan(0, 3)];
        let graph = Graph::new(&rows, &edges);
        assert_eq!(graph.lines.len(), 5);
        for e in &edges {
            let at = |n: i32| &graph.nodes[usize::try_from(n).unwrap()];
            assert!(at(e.parent).x + WIDTH < at(e.child).x);
        }
        let mut spots: Vec<_> = graph.nodes.iter().map(|n| (n.x, n.y)).collect();
        spots.sort_unstable();
        spots.dedup();
        assert_eq!(spots.len(), 4);
        let inside = |n: &Node| n.x + WIDTH < graph.width && n.y + HEIGHT < graph.height;
        assert!(graph.nodes.iter().all(inside));
        assert_eq!(graph.nodes[3].label.chars().count(), LETTERS);
    }
}
