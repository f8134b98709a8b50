//! A prefix tree of paths, with the position of each packet, and how the packets of each path ended.

use std::collections::HashMap;

use ipft_plugin::{Event, Outcome};
use rustc_hash::FxBuildHasher;

/// Longest path that is stored whole, in functions. A packet that loops would have no end.
const MAX_LENGTH: u32 = 4096;

/// Limit of nodes in the tree.
const MAX_NODES: usize = 1 << 20;

/// Limit of packets with a position. Above it, the half that was quiet for longest is assumed to be finished.
const MAX_PACKETS: usize = 1 << 20;

/// Limit of packets whose names are kept until it is known which path they took.
const MAX_NAMED: usize = 10_000;

/// Limit of different ends, over all paths.
const MAX_ENDS: usize = 100_000;

/// Start of all paths.
const ROOT: u32 = 0;

/// All paths, as a tree of functions.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// Maps a node and a function to the next node.
    next: HashMap<(u32, u32), u32, FxBuildHasher>,
    packets: HashMap<u64, Packet, FxBuildHasher>,
    /// Names of packets whose path may go on.
    names: HashMap<u64, String, FxBuildHasher>,
    /// A packet's name, for each path's last node.
    examples: HashMap<u32, String, FxBuildHasher>,
    /// Numbers of packets by the path's last node and the end.
    ends: HashMap<(u32, Option<Ended>), u64, FxBuildHasher>,
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
    end: Option<Ended>,
    last: u64,
}

/// The end of a packet: its outcome, and the function that dropped it.
pub(crate) type Ended = (Outcome, u32);

/// A path taken by packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Last node.
    pub(crate) end: u32,
    /// Number of functions.
    pub(crate) length: usize,
    /// Number of packets.
    pub(crate) packets: u64,
    /// How they ended, the most frequent end first; `None` for those that did not.
    pub(crate) ends: Vec<(Option<Ended>, u64)>,
    /// The name of one of them.
    pub(crate) example: Option<String>,
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
            names: HashMap::default(),
            examples: HashMap::default(),
            ends: HashMap::default(),
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
            end: None,
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

    /// Handles the end of a packet. Functions that release it may follow.
    pub(crate) fn ended(&mut self, event: &Event) {
        let end = event.outcome().map(|outcome| (outcome, event.function));
        if let Some(packet) = self.packets.get_mut(&event.packet) {
            packet.end = end;
        }
    }

    /// Returns whether a name for the packet can be kept, and there is none.
    pub(crate) fn wants_name(&self, packet: u64) -> bool {
        self.names.len() < MAX_NAMED && !self.names.contains_key(&packet)
    }

    /// Keeps a name for a packet.
    pub(crate) fn name(&mut self, packet: u64, name: String) {
        self.names.insert(packet, name);
    }

    /// Returns all paths, most frequent first; equal ones in the order of their first packet.
    pub(crate) fn finish(&mut self) -> Vec<Taken> {
        let mut packets: Vec<(u64, Packet)> = std::mem::take(&mut self.packets).into_iter().collect();
        // So that the examples of a trace are always the same.
        packets.sort_unstable_by_key(|(identity, _)| *identity);
        for (identity, packet) in packets {
            self.end(identity, packet);
        }
        let mut ends: HashMap<u32, Vec<(Option<Ended>, u64)>, FxBuildHasher> = HashMap::default();
        for ((node, end), packets) in std::mem::take(&mut self.ends) {
            ends.entry(node).or_default().push((end, packets));
        }
        let order = |(end, packets): &(Option<Ended>, u64)| {
            let known = end.map(|(outcome, function)| (outcome.name(), reason(outcome), function));
            (std::cmp::Reverse(*packets), known.is_none(), known)
        };
        ends.values_mut().for_each(|ends| ends.sort_by_key(order));
        let nodes = (0..).zip(&self.nodes).filter(|(_, node)| node.ended > 0);
        let mut paths: Vec<Taken> = nodes
            .map(|(end, node)| Taken {
                end,
                length: node.depth as usize,
                packets: node.ended,
                ends: ends.remove(&end).unwrap_or_default(),
                example: self.examples.remove(&end),
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

    fn end(&mut self, identity: u64, packet: Packet) {
        self.nodes[packet.at as usize].ended += 1;
        self.cut += u64::from(packet.cut);
        if let Some(name) = self.names.remove(&identity) {
            self.examples.entry(packet.at).or_insert(name);
        }
        let key = (packet.at, packet.end);
        if self.ends.len() < MAX_ENDS || self.ends.contains_key(&key) {
            *self.ends.entry(key).or_insert(0) += 1;
        }
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
        over.into_iter()
            .for_each(|(identity, packet)| self.end(identity, packet));
    }
}

/// The number of a drop's reason.
fn reason(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Dropped { reason } => reason,
        _ => 0,
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
    fn ends_and_names_stay_with_their_paths() {
        let mut trie = Trie::default();
        for packet in 1..=6 {
            enter(&mut trie, packet, &[1, 2]);
            assert!(trie.wants_name(packet));
            trie.name(packet, format!("packet {packet}"));
            assert!(!trie.wants_name(packet));
            if packet < 6 {
                trie.ended(&Event {
                    packet,
                    kind: Event::ENDED,
                    spare: if packet == 2 { Event::DROPPED | 5 } else { Event::SENT },
                    function: 7,
                    ..Event::default()
                });
            }
            // What follows the end is part of the path.
            enter(&mut trie, packet, if packet > 3 { &[3] } else { &[] });
        }
        // The end of a packet without a path.
        trie.ended(&Event {
            packet: 99,
            kind: Event::ENDED,
            ..Event::default()
        });
        let paths = trie.finish();
        let (sent, dropped) = ((Outcome::Sent, 7), (Outcome::Dropped { reason: 5 }, 7));
        assert_eq!(paths[0].ends, [(Some(sent), 2), (Some(dropped), 1)]);
        assert_eq!(paths[1].ends, [(Some(sent), 2), (None, 1)]);
        assert_eq!(paths[1].example.as_deref(), Some("packet 4"));
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
