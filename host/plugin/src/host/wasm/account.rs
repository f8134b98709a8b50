//! What a plugin makes the host hold, in bytes: memories, tables, and what its instances need themselves. All of it is
//! the plugin's memory, whatever the engine calls it. Imports nothing of the crate.

/// Bytes of an element of a table. The engine keeps pointers to functions there; what takes more it does not have
/// (`wasmtime` is built without garbage collection and without continuations).
const ELEMENT: usize = size_of::<usize>();

/// The account of one plugin.
#[derive(Debug)]
pub(super) struct Account {
    limit: usize,
    used: usize,
    /// Whether the current call was refused something.
    refused: bool,
}

impl Account {
    /// `limit`: bytes that may be held; `used`: those that are held from the start.
    pub(super) fn new(limit: usize, used: usize) -> Self {
        Account {
            limit,
            used,
            refused: used > limit,
        }
    }

    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.refused = false;
    }

    /// A memory wants to grow, from so many bytes to so many.
    pub(super) fn grow_memory(&mut self, current: usize, desired: usize) -> bool {
        self.take(desired.saturating_sub(current))
    }

    /// A table wants to grow, from so many elements to so many.
    pub(super) fn grow_table(&mut self, current: usize, desired: usize) -> bool {
        self.take(desired.saturating_sub(current).saturating_mul(ELEMENT))
    }

    /// Nothing that was taken is ever given back: neither memories nor tables shrink.
    fn take(&mut self, bytes: usize) -> bool {
        let used = self.used.saturating_add(bytes);
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        true
    }

    /// Whether the current call wanted more than there is.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Bytes that are held.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut account = Account::new(1000, 100);
        assert!(account.grow_memory(0, 500));
        assert!(account.grow_table(0, 400 / ELEMENT));
        assert!(!account.was_refused());
        assert!(!account.grow_table(10, 11) && account.was_refused());
        assert!(!account.grow_memory(500, 501));
        assert_eq!(account.used(), 1000);
        account.begin();
        assert!(!account.was_refused());
    }

    #[test]
    fn numbers_that_overflow_are_too_much() {
        let mut account = Account::new(usize::MAX - 1, 1);
        assert!(!account.grow_table(0, usize::MAX));
        assert!(!account.grow_memory(0, usize::MAX));
        assert_eq!(account.used(), 1);
    }

    #[test]
    fn too_much_from_the_start_is_refused() {
        assert!(Account::new(10, 11).was_refused());
        assert!(!Account::new(10, 10).was_refused());
    }
}
