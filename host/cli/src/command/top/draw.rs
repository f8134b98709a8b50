//! Draws a [`Screen`] into the cells of a terminal. What a terminal is does not matter here.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};

use super::pane::Pane;
use super::screen::{Body, Column, List, Look, Screen, Width};
use super::view::KEYS;

/// The least size that anything is drawn in.
const LEAST: (u16, u16) = (40, 10);

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const TITLE: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const LOSS: Style = Style::new().fg(Color::Red);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws a screen over all of the cells.
pub(super) fn draw(screen: &Screen, cells: &mut Buffer) {
    let area = cells.area;
    if area.width < LEAST.0 || area.height < LEAST.1 {
        put(cells, 0, 0, area.width, "too small", PLAIN);
        return;
    }
    let (width, last) = (area.width, area.height - 1);
    let title = if screen.filter.is_empty() {
        "ipft top"
    } else {
        "ipft top  "
    };
    let end = put(cells, 0, 0, width, title, TITLE);
    let free = put_right(cells, 0, width, &screen.status, PLAIN);
    put(cells, end, 0, free.saturating_sub(end + 1), &screen.filter, BOLD);
    let mut x = 0;
    for (number, pane) in (1..).zip(Pane::ALL) {
        let style = if pane == screen.pane { REVERSED } else { PLAIN };
        x = put(cells, x, 1, width, &format!(" {number} {} ", pane.name()), style);
    }
    let free = width.saturating_sub(x + 1);
    let state: String = screen.state.chars().take(usize::from(free)).collect();
    put_right(cells, 1, width, &state, DIM);
    match &screen.body {
        Body::List(list) => {
            draw_list(list, cells, last - 2);
            for (y, line) in (last - 2..).zip(&screen.details) {
                put(cells, 0, y, width, line, DIM);
            }
        }
        Body::Journey { lines, column } => {
            for (y, line) in (2..last).zip(lines) {
                put_styled(cells, y, line, *column);
            }
        }
        Body::Help => {
            for (y, (key, what)) in (2..last).zip(KEYS) {
                let end = put(cells, 1, y, 16, key, BOLD);
                put(cells, end.max(17), y, width, what, PLAIN);
            }
        }
    }
    put(cells, 0, last, width, &screen.footer, PLAIN);
}

fn draw_list(list: &List, cells: &mut Buffer, end: u16) {
    let width = cells.area.width;
    let places = places(&list.columns, width);
    for (column, (x, free)) in list.columns.iter().zip(&places) {
        cell(cells, *x, 2, *free, column, column.heading, BOLD);
    }
    if list.rows.is_empty() {
        put(cells, 1, 3, width, list.empty, DIM);
    }
    for ((y, row), index) in (3..end).zip(&list.rows).zip(0..) {
        let mut style = match row.look {
            Look::Plain => PLAIN,
            Look::Loss => LOSS,
            Look::Dim => DIM,
        };
        if list.selected == Some(index) {
            style = style.remove_modifier(Modifier::DIM).add_modifier(Modifier::REVERSED);
            cells.set_style(Rect::new(0, y, width, 1), style);
        }
        for ((column, text), (x, free)) in list.columns.iter().zip(&row.cells).zip(&places) {
            cell(cells, *x, y, *free, column, text, style);
        }
    }
}

/// Returns where each column begins, and its width.
fn places(columns: &[Column], width: u16) -> Vec<(u16, u16)> {
    const GAP: usize = 2;
    let gaps = GAP * columns.len().saturating_sub(1);
    let fixed: usize = columns
        .iter()
        .map(|column| match column.width {
            Width::Right(width) | Width::Left(width) => width,
            Width::Share(_) => 0,
        })
        .sum();
    let shares: usize = columns
        .iter()
        .map(|column| match column.width {
            Width::Share(share) => share,
            _ => 0,
        })
        .sum();
    let left = usize::from(width).saturating_sub(gaps + fixed);
    let mut x = 0;
    let mut places = Vec::new();
    for column in columns {
        let wide = match column.width {
            Width::Right(width) | Width::Left(width) => width,
            Width::Share(share) => left * share / shares.max(1),
        };
        places.push((x as u16, wide as u16));
        x += wide + GAP;
    }
    places
}

fn cell(cells: &mut Buffer, x: u16, y: u16, width: u16, column: &Column, text: &str, style: Style) {
    let length = text.chars().count().min(usize::from(width)) as u16;
    let start = match column.width {
        Width::Right(_) => x + width - length,
        _ => x,
    };
    put(cells, start, y, width, text, style);
}

/// Writes a text into at most so many cells, and returns the column behind it.
fn put(cells: &mut Buffer, x: u16, y: u16, width: u16, text: &str, style: Style) -> u16 {
    if x >= cells.area.width || y >= cells.area.height {
        return x;
    }
    cells.set_stringn(x, y, text, usize::from(width), style).0
}

/// Writes a text at the right, and returns the column in which it begins.
fn put_right(cells: &mut Buffer, y: u16, width: u16, text: &str, style: Style) -> u16 {
    let length = (text.chars().count() as u16).min(width);
    put(cells, width - length, y, length, text, style);
    width - length
}

/// Writes a line with the escapes of the text output, from this column on.
fn put_styled(cells: &mut Buffer, y: u16, line: &str, mut skip: usize) {
    let width = cells.area.width;
    let (mut x, mut style) = (0, PLAIN);
    let mut rest = line;
    while !rest.is_empty() {
        let (text, behind) = rest.split_once('\x1b').unwrap_or((rest, ""));
        let shown: String = text.chars().skip(skip).collect();
        skip = skip.saturating_sub(text.chars().count());
        x = put(cells, x, y, width.saturating_sub(x), &shown, style);
        let Some((code, behind)) = behind.split_once('m') else {
            return;
        };
        style = match code {
            "[1" => BOLD,
            "[2" => DIM,
            "[1;31" => LOSS.add_modifier(Modifier::BOLD),
            _ => PLAIN,
        };
        rest = behind;
    }
}
