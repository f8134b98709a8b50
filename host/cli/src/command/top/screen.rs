//! What is to be seen of `ipft top`, in rows and words: the view makes it, and another module draws it on the terminal.

use super::pane::Pane;

/// What is to be seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Screen {
    pub(super) filter: String,
    pub(super) status: String,
    pub(super) pane: Pane,
    /// The order, and what else is said of the list.
    pub(super) state: String,
    pub(super) body: Body,
    /// Two lines about the selected row.
    pub(super) details: [String; 2],
    pub(super) footer: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    List(List),
    /// Lines of a journey, with escapes, from this column on.
    Journey {
        lines: Vec<String>,
        column: usize,
    },
    Help,
}

impl Default for Body {
    fn default() -> Self {
        Body::List(List::default())
    }
}

/// A list with its columns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// The index in `rows`.
    pub(super) selected: Option<usize>,
    /// What is said in the place of rows.
    pub(super) empty: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) heading: &'static str,
    pub(super) width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// At the right of so many characters.
    Right(usize),
    Left(usize),
    /// So many parts of what is left.
    Share(usize),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) look: Look,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    Plain,
    /// It is lost.
    Loss,
    /// It is over, or matters less.
    Dim,
}
