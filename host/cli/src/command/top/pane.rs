//! The panes of `ipft top`: what is listed, in which orders, and in which columns.

use super::screen::{Column, Width};

/// What is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Packets,
    Flows,
    Drops,
    Functions,
}

impl Pane {
    pub(super) const ALL: [Pane; 4] = [Pane::Packets, Pane::Flows, Pane::Drops, Pane::Functions];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Pane::Packets => "packets",
            Pane::Flows => "flows",
            Pane::Drops => "drops",
            Pane::Functions => "functions",
        }
    }

    /// The orders that it can be sorted in.
    pub(super) const fn orders(self) -> &'static [&'static str] {
        match self {
            Pane::Packets => &["newest first", "most calls first"],
            Pane::Flows => &["most packets first", "most bytes first", "most drops first"],
            Pane::Drops => &["most losses first", "by reason"],
            Pane::Functions => &["most calls first", "most time first", "by name"],
        }
    }
}

/// Returns the columns of a pane. `times`: functions have them.
pub(super) fn columns(pane: Pane, times: bool) -> Vec<Column> {
    let column = |heading, width| Column { heading, width };
    match pane {
        Pane::Packets => vec![
            column("#", Width::Right(7)),
            column("packet", Width::Share(3)),
            column("calls", Width::Right(6)),
            column("where", Width::Share(2)),
        ],
        Pane::Flows => vec![
            column("packets", Width::Right(9)),
            column("bytes", Width::Right(8)),
            column("drops", Width::Right(7)),
            column("flow", Width::Share(1)),
        ],
        Pane::Drops => vec![
            column("count", Width::Right(9)),
            column("class", Width::Left(9)),
            column("reason", Width::Left(20)),
            column("in", Width::Share(2)),
            column("last packet", Width::Share(3)),
        ],
        Pane::Functions => {
            let mut columns = vec![column("calls", Width::Right(11)), column("share", Width::Right(7))];
            if times {
                columns.push(column("time", Width::Right(11)));
                columns.push(column("each", Width::Right(11)));
            }
            columns.push(column("function", Width::Share(1)));
            columns
        }
    }
}
