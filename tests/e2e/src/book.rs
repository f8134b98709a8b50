//! Reads code blocks of the book's pages, whose commands are tests.

/// A code block: its info string and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The words of the info string, separated by commas.
    pub tags: Vec<String>,
    /// The content.
    pub text: String,
}

impl Block {
    /// Returns whether the info string has this word.
    pub fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|each| each == tag)
    }
}

/// Returns the code blocks of a page. An unclosed block fails the test.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in page.lines() {
        let Some(fence) = line.strip_prefix("```") else {
            if let Some(block) = &mut open {
                block.text.push_str(line);
                block.text.push('\n');
            }
            continue;
        };
        if let Some(block) = open.take() {
            blocks.push(block);
        } else {
            open = Some(Block {
                tags: fence.split(',').map(str::to_owned).collect(),
                text: String::new(),
            });
        }
    }
    assert!(open.is_none(), "the last block of the page is not closed");
    blocks
}
