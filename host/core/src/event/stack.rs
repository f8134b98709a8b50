//! Stacks in the function table: each is one entry, so that an event names it by its index. Imports nothing.
//!
//! The name has the functions that were running, the innermost first: `nft_do_chain+0x3b [nf_tables] <
//! nf_hook_slow+0x43`. The address is 0, as a stack is no code.

/// What separates a function from its caller.
const CALLED_BY: &str = " < ";

/// Joins frames, the innermost first.
pub fn join(frames: &[String]) -> String {
    frames.join(CALLED_BY)
}

/// Returns the frames of a stack's name.
pub fn frames(name: &str) -> impl Iterator<Item = &str> {
    name.split(CALLED_BY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_the_frames() {
        let all = ["nft_do_chain+0x3b [nf_tables]", "nf_hook_slow+0x43"].map(str::to_owned);
        assert_eq!(frames(&join(&all)).collect::<Vec<_>>(), all);
        assert_eq!(frames("ip_rcv").collect::<Vec<_>>(), ["ip_rcv"]);
    }
}
