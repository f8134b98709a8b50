//! Texts that are rendered once and copied per event: functions and labels. Imports `event`.

use crate::event::Function;

/// A text that is copied often. What is short is copied as a block of fixed size and cut, which costs less than a call
/// with its length.
#[derive(Debug)]
pub(in crate::sink) struct Snippet {
    block: [u8; 32],
    len: usize,
    rest: Vec<u8>,
}

impl Snippet {
    pub(in crate::sink) fn new(text: &[u8]) -> Self {
        let mut block = [0; 32];
        let len = text.len().min(block.len());
        block[..len].copy_from_slice(&text[..len]);
        Snippet {
            block,
            len,
            rest: text[len..].to_vec(),
        }
    }

    #[inline]
    pub(in crate::sink) fn push(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.block);
        out.truncate(end);
        if !self.rest.is_empty() {
            out.extend_from_slice(&self.rest);
        }
    }
}

/// As in [`Snippet`].
const BLOCK: usize = 96;

/// Text of every function, rendered once when the trace starts and copied per event.
///
/// One function more than there are stands for an index outside the table, which only a broken recording can hold.
#[derive(Debug, Default)]
pub(in crate::sink) struct FunctionTexts {
    /// The texts, and `BLOCK` bytes more so that a block can be read from the last one too.
    text: Vec<u8>,
    /// End of each function's text; it begins where the previous one ends.
    ends: Vec<usize>,
}

impl FunctionTexts {
    /// Renders functions that are new by appending each to the buffer. The last, made up, is named `?` in module `?`.
    pub(in crate::sink) fn append(&mut self, new: &[Function], render: impl Fn(&mut Vec<u8>, &Function)) {
        let unknown = Function {
            name: "?".to_owned(),
            module: "?".to_owned(),
            address: 0,
        };
        if self.ends.len() > 1 {
            self.ends.pop();
        } else {
            self.ends = vec![0];
        }
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
        for function in new.iter().chain([&unknown]) {
            render(&mut self.text, function);
            self.ends.push(self.text.len());
        }
        self.text.resize(self.text.len() + BLOCK, 0);
    }

    /// Returns the number of functions.
    pub(in crate::sink) fn len(&self) -> usize {
        self.ends.len().saturating_sub(2)
    }

    /// Appends the text of the function with this index.
    #[inline]
    pub(in crate::sink) fn push(&self, out: &mut Vec<u8>, function: u32) {
        let last = self.ends.len().saturating_sub(2);
        let index = (function as usize).min(last);
        let Some(&[start, end]) = self.ends.get(index..index + 2) else {
            return;
        };
        match self.text[start..].first_chunk::<BLOCK>() {
            Some(block) if end - start <= BLOCK => {
                let length = out.len() + (end - start);
                out.extend_from_slice(block);
                out.truncate(length);
            }
            _ => out.extend_from_slice(&self.text[start..end]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::push_visible;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_snippet_is_its_text_however_long() {
        for length in [0, 1, 31, 32, 33, 100] {
            let name = "n".repeat(length);
            assert_eq!(text(|out| Snippet::new(name.as_bytes()).push(out)), name);
        }
    }

    #[test]
    fn a_functions_text_is_its_own_however_long() {
        let functions = ["a", "", &"b".repeat(BLOCK), &"c".repeat(BLOCK + 1), "d"].map(|name| Function {
            name: name.to_owned(),
            module: "m".to_owned(),
            address: 0,
        });
        let mut texts = FunctionTexts::default();
        for new in functions.chunks(2) {
            texts.append(new, |out, function| push_visible(out, &function.name));
        }
        assert_eq!(texts.len(), functions.len());
        for (index, function) in functions.iter().enumerate() {
            assert_eq!(text(|out| texts.push(out, index as u32)), function.name);
        }
        assert_eq!(text(|out| texts.push(out, 5)), "?");
        assert_eq!(text(|out| texts.push(out, u32::MAX)), "?");
        assert_eq!(text(|out| FunctionTexts::default().push(out, 0)), "");
    }
}
