//! Accounts for a plugin's memory on the host, in bytes: memories, tables, and the engine's data for its instances. All
//! of it counts as the plugin's. Imports nothing of the crate.

/// Bytes per table element: function pointers. The engine has no larger elements, as `wasmtime` is built without
/// garbage collection and without continuations.
const ELEMENT: usize = size_of::<usize>();

/// The account of one plugin.
#[derive(Debug)]
pub(super) struct Account {
    limit: usize,
    used: usize,
    /// Whether the current call exceeded the limit.
    refused: bool,
}

impl Account {
    /// `limit`: maximum bytes; `used`: bytes in use from the start.
    pub(super) fn new(limit: usize, used: usize) -> Self {
        Account {
            limit,
            used,
            refused: used > limit,
        }
    }

    /// Starts a call.
    pub(super) fn begin(&mut self) {
        self.refused = false;
    }

    /// Checks the growth of a memory, in bytes.
    pub(super) fn grow_memory(&mut self, current: usize, desired: usize) -> bool {
        self.take(desired.saturating_sub(current))
    }

    /// Checks the growth of a table, in elements.
    pub(super) fn grow_table(&mut self, current: usize, desired: usize) -> bool {
        self.take(desired.saturating_sub(current).saturating_mul(ELEMENT))
    }

    /// Memory is never released: neither memories nor tables shrink.
    fn take(&mut self, bytes: usize) -> bool {
        let used = self.used.saturating_add(bytes);
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        true
    }

    /// Returns whether the current call exceeded the limit.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Returns the bytes in use.
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
