//! Markdown tables that can also be read in a terminal.

/// A table with padded columns: the first left-aligned, the others right-aligned.
pub(super) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headers[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: Vec<String>| {
        text.push_str("| ");
        text.push_str(&cells.join(" | "));
        text.push_str(" |\n");
    };
    let pad = |column: usize, cell: &str| {
        let width = widths[column];
        if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    };
    line(headers.iter().enumerate().map(|(i, h)| pad(i, h)).collect());
    line(
        widths.iter().enumerate().map(|(i, w)| if i == 0 { "-".repeat(*w) } else { "-".repeat(w - 1) + ":" }).collect(),
    );
    for row in rows {
        line(row.iter().enumerate().map(|(i, cell)| pad(i, cell)).collect());
    }
    text
}

/// What stands where there is no figure.
const NONE: &str = "–";

/// A cell.
pub(super) fn show<T>(figure: Option<T>, text: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| NONE.to_owned(), text)
}

/// A cell that says whether a goal was met.
pub(super) fn met(goal: Option<f64>, figure: Option<f64>) -> &'static str {
    match (goal, figure) {
        (Some(goal), Some(figure)) if figure <= goal => "yes",
        (Some(_), Some(_)) => "**no**",
        _ => NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = table(&["proxy", "MB"], &[vec!["a".to_owned(), "12.5".to_owned()]]);
        assert_eq!(text, "| proxy |   MB |\n| ----- | ---: |\n| a     | 12.5 |\n");
    }
}
