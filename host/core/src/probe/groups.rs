//! Groups functions by their program, for links that take many functions at once. Imports `program_key` and `kernel`.
//!
//! A link costs: when it is released, the kernel waits for a grace period of RCU, one link after the other, some 0.2 s
//! each on 6.12 (`kernel/trace/ftrace.c`, `ftrace_shutdown`). So only the places where packets often are have a program
//! each, which knows the place; the functions of the others share one that reads it from the attach cookie. The kernel
//! searches for a cookie among the functions of the link, so few should share one.

use super::Target;
use super::program_key::ProgramKey;
use crate::kernel;

/// The fewest functions that a link of its own is for, unless every packet passes one of them.
const MANY: usize = 64;

/// Functions with the same program.
pub(super) struct Group<'a> {
    /// The program.
    pub(super) program: ProgramKey,
    /// The functions.
    pub(super) targets: Vec<Target<'a>>,
}

impl<'a> Group<'a> {
    /// Puts all functions in one group.
    pub(super) fn of_any(targets: Vec<Target<'a>>) -> Self {
        Group {
            program: ProgramKey::Any,
            targets,
        }
    }

    fn is_frequent(&self) -> bool {
        self.targets.len() >= MANY || self.targets.iter().any(|target| kernel::is_hot(target.function))
    }
}

/// Returns the attach cookie of a function for a program that reads it.
pub(super) fn cookie(target: &Target<'_>) -> u64 {
    let index = target.index.unwrap_or(u32::MAX);
    ProgramKey::of(target).place() | u64::from(index)
}

/// Groups the functions. Where packets are followed, those of each kind share a program.
pub(super) fn group<'a>(targets: impl IntoIterator<Item = Target<'a>>, following: bool) -> Vec<Group<'a>> {
    let by_place = collect(targets.into_iter().map(|target| {
        let key = ProgramKey::of(&target);
        match key.shared() {
            ProgramKey::End if !following => (ProgramKey::End, target),
            _ => (key, target),
        }
    }));
    collect(by_place.into_iter().flat_map(|group| {
        let program = match (group.is_frequent(), following) {
            (true, _) => group.program,
            (false, true) => group.program.shared_in_following(),
            (false, false) => ProgramKey::Any,
        };
        group.targets.into_iter().map(move |target| (program, target))
    }))
}

fn collect<'a>(targets: impl Iterator<Item = (ProgramKey, Target<'a>)>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (program, target) in targets {
        match groups.iter_mut().find(|group| group.program == program) {
            Some(group) => group.targets.push(target),
            None => groups.push(Group {
                program,
                targets: vec![target],
            }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Candidate, PacketArgument};
    use crate::probe::targets;
    use crate::probe::testing::candidate_at;

    fn sizes(functions: &[Candidate], silent: &[Candidate]) -> Vec<(String, usize)> {
        sizes_in(functions, silent, false)
    }

    fn sizes_in(functions: &[Candidate], silent: &[Candidate], following: bool) -> Vec<(String, usize)> {
        let groups = group(targets(functions, 0, silent, following), following);
        groups
            .iter()
            .map(|group| (group.program.name(), group.targets.len()))
            .collect()
    }

    #[test]
    fn rare_places_share_a_program() {
        let mut functions: Vec<Candidate> = (0..MANY).map(|index| candidate_at(&format!("f{index}"), 1)).collect();
        functions.push(candidate_at("rare", 3));
        functions.push(candidate_at("rare_too", 4));
        functions[MANY].argument = PacketArgument::DoublePointer;
        let expected = [("ipft_pointer_1".to_owned(), MANY), ("ipft_any".to_owned(), 2)];
        assert_eq!(sizes(&functions, &[]), expected);
    }

    #[test]
    fn functions_of_a_packets_end_share_a_program() {
        let functions = ["ip_rcv", "sock_wfree", "skb_release_head_state"].map(|name| candidate_at(name, 0));
        let silent = [candidate_at("kfree_skbmem", 0), candidate_at("napi_reuse_skb", 1)];
        let expected = [("ipft_pointer_0", 1), ("ipft_end", 3), ("ipft_any", 1)];
        assert_eq!(
            sizes(&functions, &silent),
            expected.map(|(name, size)| (name.to_owned(), size))
        );
    }

    #[test]
    fn rare_places_share_a_program_in_following() {
        let functions = [("arp_rcv", 0), ("ip6_output", 2), ("skb_split", 0), ("sock_ofree", 0)];
        let functions = functions.map(|(name, position)| candidate_at(name, position));
        let silent = [("skb_gro_receive", 0), ("napi_reuse_skb", 1), ("ip_output", 2)];
        let silent = silent.map(|(name, position)| candidate_at(name, position));
        // Every packet passes the last one.
        let expected = [
            ("ipft_any_gate", 2),
            ("ipft_any_maker", 2),
            ("ipft_any_end", 2),
            ("ipft_silent_gate_2", 1),
        ];
        assert_eq!(
            sizes_in(&functions, &silent, true),
            expected.map(|(name, size)| (name.to_owned(), size))
        );
    }

    #[test]
    fn a_cookie_has_the_index_below_the_place() {
        let (functions, silent) = ([candidate_at("ip_output", 2)], [candidate_at("kfree_skbmem", 0)]);
        let cookies: Vec<u64> = targets(&functions, 7, &silent, false).iter().map(cookie).collect();
        assert_eq!(cookies, [0x2_0000_0007, 0x1300_ffff_ffff]);
    }
}
