//! Call paths as a tree with a value per path: common prefixes are stored once, so that memory grows with the number of
//! paths, not of packets.

use std::collections::BTreeMap;

use crate::journeys::Call;
use crate::trace::Trace;

/// Limit of distinct paths.
const MAX_PATHS: usize = 100_000;

/// Limit of depth.
const MAX_DEPTH: usize = 256;

/// A tree of call paths. A path is identified by its index, which is larger than that of its parent; the first one,
/// [`Tree::ROOT`], contains all. A path beyond the limits of size or depth is counted as its parent.
#[derive(Clone, Debug)]
pub struct Tree {
    paths: Vec<Path>,
}

#[derive(Clone, Debug, Default)]
struct Path {
    parent: usize,
    function: u32,
    depth: usize,
    own: u64,
    children: BTreeMap<u32, usize>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree {
            paths: vec![Path::default()],
        }
    }
}

impl Tree {
    /// The empty path.
    pub const ROOT: usize = 0;

    /// Returns the path of a function called from this one.
    pub fn child(&mut self, parent: usize, function: u32) -> usize {
        let next = self.paths.len();
        let depth = self.paths[parent].depth + 1;
        let children = &mut self.paths[parent].children;
        if next > MAX_PATHS || depth > MAX_DEPTH {
            return children.get(&function).copied().unwrap_or(parent);
        }
        let path = *children.entry(function).or_insert(next);
        if path == next {
            self.paths.push(Path {
                parent,
                function,
                depth,
                ..Path::default()
            });
        }
        path
    }

    /// Returns the path of each of a journey's calls. If the trace has no returns, no call is known to contain another;
    /// each is then a child of the one before.
    pub fn place(&mut self, trace: &Trace, calls: &[Call]) -> Vec<usize> {
        let mut paths: Vec<usize> = Vec::with_capacity(calls.len());
        for call in calls {
            let parent = match trace.has_returns() {
                true => call.parent.map(|parent| paths[parent as usize]),
                false => paths.last().copied(),
            };
            paths.push(self.child(parent.unwrap_or(Tree::ROOT), call.function));
        }
        paths
    }

    /// Returns those of these paths that contain none of the others, without duplicates.
    pub fn innermost(&self, mut paths: Vec<usize>) -> Vec<usize> {
        let mut around: Vec<usize> = paths.iter().map(|path| self.paths[*path].parent).collect();
        around.sort_unstable();
        paths.sort_unstable();
        paths.dedup();
        paths.retain(|path| around.binary_search(path).is_err());
        paths
    }

    /// Adds to the value of a path.
    pub fn add(&mut self, path: usize, value: u64) {
        let own = &mut self.paths[path].own;
        *own = own.saturating_add(value);
    }

    /// Returns the sum of all values.
    pub fn total(&self) -> u64 {
        self.paths.iter().fold(0, |sum, path| sum.saturating_add(path.own))
    }

    /// Cuts the last values until the sum is at most this, for consumers with a limited range.
    pub fn limit_total(&mut self, most: u64) {
        let mut left = most;
        for path in &mut self.paths {
            path.own = path.own.min(left);
            left -= path.own;
        }
    }

    /// Merges a path and its descendants into its parent if their value is at most this.
    pub fn prune(&mut self, least: u64) {
        let mut totals: Vec<u64> = self.paths.iter().map(|path| path.own).collect();
        for index in (1..totals.len()).rev() {
            let Path { parent, function, .. } = self.paths[index];
            totals[parent] = totals[parent].saturating_add(totals[index]);
            if totals[index] <= least {
                self.add(parent, totals[index]);
                self.paths[parent].children.remove(&function);
                self.paths[index].own = 0;
            }
        }
    }

    /// Calls `visit` for every path that has a value, with its functions from the outermost on, and the value. A parent
    /// precedes its children; siblings are sorted by name.
    pub fn visit(&self, trace: &Trace, mut visit: impl FnMut(&[u32], u64)) {
        let mut functions = Vec::new();
        let mut left = vec![Tree::ROOT];
        while let Some(index) = left.pop() {
            let path = &self.paths[index];
            if index != Tree::ROOT {
                functions.truncate(path.depth - 1);
                functions.push(path.function);
            }
            if path.own > 0 {
                visit(&functions, path.own);
            }
            let first = left.len();
            left.extend(path.children.values());
            left[first..].sort_by(|a, b| {
                let name = |index: &usize| trace.function(self.paths[*index].function);
                name(b).name.cmp(&name(a).name)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Function;

    fn paths(tree: &Tree) -> Vec<(String, u64)> {
        let function = |name: char| Function {
            name: name.into(),
            ..Function::default()
        };
        let trace = Trace {
            functions: "cab".chars().map(function).collect(),
            ..Trace::default()
        };
        let mut paths = Vec::new();
        tree.visit(&trace, |functions, own| {
            let names = functions.iter().map(|function| trace.function(*function).name.as_str());
            paths.push((names.collect(), own));
        });
        paths
    }

    fn owned(paths: &[(&str, u64)]) -> Vec<(String, u64)> {
        paths.iter().map(|(path, own)| ((*path).to_owned(), *own)).collect()
    }

    #[test]
    fn paths_are_sorted_by_name_with_parents_first() {
        let mut tree = Tree::default();
        let c = tree.child(Tree::ROOT, 0);
        let ca = tree.child(c, 1);
        let b = tree.child(Tree::ROOT, 2);
        let cb = tree.child(c, 2);
        assert_eq!(tree.child(c, 1), ca);
        for (path, value) in [(c, 1), (ca, 2), (b, 3), (cb, 4)] {
            tree.add(path, value);
        }
        assert_eq!(paths(&tree), owned(&[("b", 3), ("c", 1), ("ca", 2), ("cb", 4)]));
        assert_eq!(tree.innermost(vec![c, ca, ca, b]), [ca, b]);
        tree.prune(3);
        assert_eq!(paths(&tree), owned(&[("", 3), ("c", 3), ("cb", 4)]));
        assert_eq!(tree.total(), 10);
        tree.limit_total(7);
        assert_eq!(tree.total(), 7);
    }

    #[test]
    fn a_tree_at_its_limits_loses_no_value() {
        let mut tree = Tree::default();
        let mut path = Tree::ROOT;
        for _ in 0..2 * MAX_DEPTH {
            path = tree.child(path, 1);
            tree.add(path, 1);
        }
        assert_eq!(tree.paths[path].depth, MAX_DEPTH);
        for function in 0..2 * MAX_PATHS as u32 {
            let path = tree.child(Tree::ROOT, function);
            tree.add(path, 1);
        }
        assert_eq!(tree.paths.len(), MAX_PATHS + 1);
        assert_eq!(tree.total(), 2 * (MAX_DEPTH + MAX_PATHS) as u64);
        tree.add(path, u64::MAX);
        tree.prune(0);
        assert_eq!(tree.total(), u64::MAX);
    }
}
