//! A prefix tree of paths, with the position of each packet.

use std::collections::HashMap;

use ipft_plugin::Event;
use rustc_hash::FxBuildHasher;

/// Longest path that is stored whole, in functions. A packet that loops would have no end.
const MAX_LENGTH: u32 = 4096;

/// Limit of nodes in the tree.
const MAX_NODES: usize = 1 << 20;

/// Limit of packets with a position. Above it, the half that was quiet for longest is assumed to be finished.
const MAX_PACKETS: usize = 1 << 20;

/// Start of all paths.
const ROOT: u32 = 0;

/// All paths, as a tree of functions.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// Maps a node and a function to the next node.
    next: HashMap<(u32, u32), u32, FxBuildHasher>,
    packets: HashMap<u64, Packet, FxBuildHasher>,
    /// Packets whose path was cut.
    pub(crate) cut: u64,
    /// Packets that were assumed to be finished during the trace.
    pub(crate) ended_early: u64,
    max_nodes: usize,
    max_packets: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    function: u32,
    depth: u32,
    /// Packets that were last seen at this node.
    ended: u64,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    at: u32,
    cut: bool,
    last: u64,
}

/// A path taken by packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Last node.
    pub(crate) end: u32,
    /// Number of functions.
    pub(crate) length: usize,
    /// Number of packets.
    pub(crate) packets: u64,
    /// Where it diverges from a more frequent path; `None` for the most frequent one.
    pub(crate) fork: Option<Fork>,
}

/// Where a path diverges from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fork {
    /// Index of the other path in the list of paths.
    pub(crate) left: usize,
    /// Number of functions that both share.
    pub(crate) depth: usize,
    /// The last shared function; meaningless if they share none.
    pub(crate) function: u32,
}

impl Default for Trie {
    fn default() -> Self {
        Trie {
            nodes: vec![Node {
                parent: ROOT,
                function: 0,
                depth: 0,
                ended: 0,
            }],
            next: HashMap::default(),
            packets: HashMap::default(),
            cut: 0,
            ended_early: 0,
            max_nodes: MAX_NODES,
            max_packets: MAX_PACKETS,
        }
    }
}

impl Trie {
    /// Handles a packet's entry into a function.
    pub(crate) fn enter(&mut self, event: &Event) {
        if self.packets.len() >= self.max_packets && !self.packets.contains_key(&event.packet) {
            self.end_quiet();
        }
        let packet = self.packets.entry(event.packet).or_insert(Packet {
            at: ROOT,
            cut: false,
            last: 0,
        });
        packet.last = event.timestamp;
        if packet.cut {
            return;
        }
        let key = (packet.at, event.function);
        if let Some(next) = self.next.get(&key) {
            packet.at = *next;
            return;
        }
        let depth = self.nodes[packet.at as usize].depth + 1;
        if self.nodes.len() >= self.max_nodes || depth > MAX_LENGTH {
            packet.cut = true;
            return;
        }
        let next = self.nodes.len() as u32;
        self.nodes.push(Node {
            parent: packet.at,
            function: event.function,
            depth,
            ended: 0,
        });
        self.next.insert(key, next);
        packet.at = next;
    }

    /// Returns all paths, most frequent first; equal ones in the order of their first packet.
    pub(crate) fn finish(&mut self) -> Vec<Taken> {
        for packet in std::mem::take(&mut self.packets).into_values() {
            self.end(packet);
        }
        let nodes = (0..).zip(&self.nodes).filter(|(_, node)| node.ended > 0);
        let mut paths: Vec<Taken> = nodes
            .map(|(end, node)| Taken {
                end,
                length: node.depth as usize,
                packets: node.ended,
                fork: None,
            })
            .collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.packets));
        // The most frequent path through each node.
        let mut owners: Vec<Option<u32>> = vec![None; self.nodes.len()];
        for (index, path) in (0..).zip(&mut paths) {
            let mut at = path.end;
            while owners[at as usize].is_none() {
                owners[at as usize] = Some(index);
                if at == ROOT {
                    break;
                }
                at = self.nodes[at as usize].parent;
            }
            path.fork = owners[at as usize].filter(|owner| *owner != index).map(|owner| Fork {
                left: owner as usize,
                depth: self.nodes[at as usize].depth as usize,
                function: self.nodes[at as usize].function,
            });
        }
        paths
    }

    /// Returns the functions of a path, from the first on.
    pub(crate) fn functions(&self, end: u32) -> Vec<u32> {
        let mut functions = Vec::new();
        let mut at = end;
        while at != ROOT {
            functions.push(self.nodes[at as usize].function);
            at = self.nodes[at as usize].parent;
        }
        functions.reverse();
        functions
    }

    fn end(&mut self, packet: Packet) {
        self.nodes[packet.at as usize].ended += 1;
        self.cut += u64::from(packet.cut);
    }

    #[cold]
    fn end_quiet(&mut self) {
        let mut times: Vec<u64> = self.packets.values().map(|packet| packet.last).collect();
        let middle = times.len() / 2;
        let (_, &mut middle, _) = times.select_nth_unstable(middle);
        let (kept, over) = std::mem::take(&mut self.packets)
            .into_iter()
            .partition(|(_, packet)| packet.last > middle);
        let over: HashMap<u64, Packet, FxBuildHasher> = over;
        self.packets = kept;
        self.ended_early += over.len() as u64;
        over.into_values().for_each(|packet| self.end(packet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(trie: &mut Trie, packet: u64, functions: &[u32]) {
        for function in functions {
            trie.enter(&Event {
                packet,
                timestamp: packet,
                function: *function,
                ..Event::default()
            });
        }
    }

    #[test]
    fn a_rare_path_shows_where_it_left_a_frequent_one() {
        let mut trie = Trie::default();
        for (packets, functions) in [
            (1..2, &[1, 2, 9, 5][..]),
            (2..7, &[1, 2, 3]),
            (7..10, &[1, 2, 9, 4]),
            (10..12, &[1, 2]),
            (12..14, &[1, 2, 3, 3]),
            (14..15, &[8]),
        ] {
            for packet in packets {
                enter(&mut trie, packet, functions);
            }
        }
        let paths = trie.finish();
        let reported: Vec<_> = paths
            .iter()
            .map(|path| {
                let fork = path.fork.as_ref().map(|fork| (fork.left, fork.depth));
                (path.packets, trie.functions(path.end), fork)
            })
            .collect();
        assert_eq!(
            reported,
            [
                (5, vec![1, 2, 3], None),
                (3, vec![1, 2, 9, 4], Some((0, 2))),
                (2, vec![1, 2], Some((0, 2))),
                (2, vec![1, 2, 3, 3], Some((0, 3))),
                (1, vec![1, 2, 9, 5], Some((1, 3))),
                (1, vec![8], Some((0, 0))),
            ]
        );
    }

    #[test]
    fn long_and_many_paths_take_bounded_memory() {
        let mut trie = Trie {
            max_nodes: 5000,
            max_packets: 100,
            ..Trie::default()
        };
        enter(&mut trie, 1, &[7; 2 * MAX_LENGTH as usize]);
        for packet in 2..=3000 {
            enter(&mut trie, packet, &[packet as u32, 7]);
            assert!(trie.nodes.len() <= 5000 && trie.packets.len() <= 100);
        }
        let paths = trie.finish();
        assert_eq!(paths.iter().map(|path| path.packets).sum::<u64>(), 3000);
        let longest = paths.iter().map(|path| path.length).max();
        assert_eq!(longest, Some(MAX_LENGTH as usize));
        assert!(trie.cut > 1 && trie.ended_early >= 2900);
    }
}
