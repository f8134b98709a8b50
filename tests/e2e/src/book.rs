//! The pages of the book whose commands are tests: what is in their fences.

/// A block of a page: what its fence says, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The words behind the fence, which commas separate.
    pub tags: Vec<String>,
    /// What is in it.
    pub text: String,
}

impl Block {
    /// Whether its fence has this word.
    pub fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|each| each == tag)
    }
}

/// The blocks of a page. One that is not closed is a fault of the page, and fails the test.
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
