//! Removes tests whose outcome is known on the way to them, and finds filters that no packet can match. Imports `facts`
//! and `graph`.
//!
//! The meaning stays the same for every frame, also for one that is too short: a test is left out only where the bytes
//! that it loads have been loaded before.

use super::facts::Facts;
use super::graph::{Branch, Graph, Operand, Target};

/// The most tests that are followed in search of a packet that matches.
const STEPS: usize = 20_000;

/// Removes tests.
pub(super) fn optimise(graph: Graph) -> Graph {
    let Graph {
        values,
        branches: old,
        start,
    } = graph;
    let mut known: Vec<Option<Facts>> = vec![None; old.len()];
    if let Target::Branch(first) = start {
        known[first] = Some(Facts::default());
    }
    // Branches lead to later ones, so that everything is known about a branch when its turn comes.
    let mut kept: Vec<Option<Branch>> = vec![None; old.len()];
    for index in 0..old.len() {
        let Some(facts) = known[index].take() else {
            continue;
        };
        let branch = old[index];
        let decided = facts.decide(&values, branch.test);
        let mut follow = |outcome: bool, mut target: Target| {
            let mut facts = facts.clone();
            facts.learn(&values, branch.test, outcome);
            while let Target::Branch(next) = target {
                let Branch { test, yes, no } = old[next];
                let is_safe = facts.is_safe(&values, test.left)
                    && match test.right {
                        Operand::Constant(_) => true,
                        Operand::Value(right) => facts.is_safe(&values, right),
                    };
                match facts.decide(&values, test).filter(|_| is_safe) {
                    Some(outcome) => target = if outcome { yes } else { no },
                    None => break,
                }
            }
            if let Target::Branch(next) = target {
                match &mut known[next] {
                    Some(others) => others.join(&facts),
                    unknown => *unknown = Some(facts),
                }
            }
            target
        };
        let (yes, no) = match decided {
            None => (follow(true, branch.yes), follow(false, branch.no)),
            // Only its loads are left.
            Some(outcome) => {
                let target = follow(outcome, if outcome { branch.yes } else { branch.no });
                (target, target)
            }
        };
        kept[index] = Some(Branch {
            test: branch.test,
            yes,
            no,
        });
    }

    // A test that leads to no match whatever its outcome need not reject short frames either.
    let mut start = start;
    for index in (0..kept.len()).rev() {
        let hopeless = |kept: &[Option<Branch>], target| match target {
            Target::Branch(to) => kept[to].is_none(),
            _ => false,
        };
        let Some(mut branch) = kept[index] else { continue };
        for target in [&mut branch.yes, &mut branch.no] {
            if hopeless(&kept, *target) {
                *target = Target::NoMatch;
            }
        }
        let leads_nowhere = branch.yes == Target::NoMatch && branch.no == Target::NoMatch;
        kept[index] = Some(branch).filter(|_| !leads_nowhere);
        if start == Target::Branch(index) && leads_nowhere {
            start = Target::NoMatch;
        }
    }

    let mut count = 0;
    let places: Vec<usize> = kept
        .iter()
        .map(|branch| {
            count += usize::from(branch.is_some());
            count.saturating_sub(1)
        })
        .collect();
    let moved = |target| match target {
        Target::Branch(index) => Target::Branch(places[index]),
        other => other,
    };
    let branches = kept.into_iter().flatten().map(|branch| Branch {
        yes: moved(branch.yes),
        no: moved(branch.no),
        ..branch
    });
    Graph {
        branches: branches.collect(),
        start: moved(start),
        values,
    }
}

/// Returns whether it is certain that no packet matches.
pub(super) fn never_matches(graph: &Graph) -> bool {
    let mut paths = vec![(graph.start, Facts::default())];
    let mut steps = 0;
    while let Some((target, facts)) = paths.pop() {
        let index = match target {
            Target::Match => return false,
            Target::NoMatch => continue,
            Target::Branch(index) => index,
        };
        steps += 1;
        if steps > STEPS {
            return false;
        }
        let Branch { test, yes, no } = graph.branches[index];
        let decided = facts.decide(&graph.values, test);
        let mut follow = |outcome: bool, target: Target| {
            let mut facts = facts.clone();
            facts.learn(&graph.values, test, outcome);
            paths.push((target, facts));
        };
        if decided != Some(true) {
            follow(false, no);
        }
        if decided != Some(false) {
            follow(true, yes);
        }
    }
    true
}
