//! On kernels that attach and detach one function after the other, the user sees why it takes long, and can end it.

use ipft_e2e::guest::{self, Left, Shared};
use xtask::kernel::Kernel;

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| guest::run("waiting", Kernel::V6_1, &[], include_str!("../../../guest/waiting.sh")))
}

fn number(name: &str) -> u64 {
    left().text(name).trim().parse().unwrap()
}

#[test]
fn slow_attaching_and_detaching_are_reported() {
    let said = left().text("stopped.err");
    assert_eq!(left().exit("stopped"), 0, "{said}");
    let ready = said.find("Trace ready!").unwrap();
    let attaching = said.find("Attaching to ");
    assert!(attaching.is_some_and(|at| at < ready), "{said}");
    assert!(said[ready..].contains("Detaching from "), "{said}");
    assert_eq!(left().text("stopped.left"), "");
}

#[test]
fn second_signal_ends_detaching_at_once() {
    let said = left().text("twice.err");
    assert_eq!(left().exit("twice"), 128 + 15, "{said}");
    assert!(number("twice.seconds") <= 2, "{said}");
    assert!(number("twice.attached") > 0, "the wait was over by itself");
    assert_eq!(left().text("twice.left"), "");
}

#[test]
fn signal_while_attaching_ends_the_program() {
    let said = left().text("early.err");
    assert_eq!(left().exit("early"), 1, "{said}");
    assert!(said.contains("nothing was traced"), "{said}");
    assert_eq!(left().text("early.left"), "");
}
