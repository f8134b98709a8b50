//! The user that ipft becomes once everything is attached (`--user`). Imports `capabilities` only.
//!
//! Names are looked up in `/etc/passwd` itself. The C library would ask what nsswitch.conf(5) says, which loads
//! libraries, and a static binary has none of them.

use std::io;
use std::path::Path;

use super::capabilities::{self, CAP_SETGID, CAP_SETUID};

/// The group of a number that no user has: `nogroup`, the kernel's overflow group.
const NO_GROUP: u32 = 65_534;

/// A user, with the only group that its processes have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As given by the user.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

/// The reason why ipft cannot become a user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("--user {name}: no such user in /etc/passwd; give a name that is there, or the number of the user")]
    Unknown {
        /// As given by the user.
        name: String,
    },
    /// The lookup failed.
    #[error("--user {name}: cannot read /etc/passwd: {source}; give the number of the user")]
    Unreadable {
        /// As given by the user.
        name: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Only root may become another user.
    #[error(
        "--user {name}: switching to another user needs root, or CAP_SETUID and CAP_SETGID; run ipft as root, or leave \
         --user out"
    )]
    NotRoot {
        /// As given by the user.
        name: String,
    },
}

impl User {
    /// Finds a user by name or number, in the file system below `root`.
    pub fn find(name: &str, root: &Path) -> Result<Self, UserError> {
        // All digits, as a sign is none.
        let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        // The last number means "no change" (setresuid(2)).
        let number = name.parse().ok().filter(|number| digits && *number != u32::MAX);
        let users = match (std::fs::read(root.join("etc/passwd")), number) {
            (Ok(users), _) => users,
            (Err(_), Some(_)) => Vec::new(),
            (Err(source), None) => {
                let name = name.to_owned();
                return Err(UserError::Unreadable { name, source });
            }
        };
        let users = || users.split(|byte| *byte == b'\n').filter_map(entry);
        let named = users().find(|(other, ..)| *other == name.as_bytes());
        let numbered = || users().find(|(_, uid, _)| Some(*uid) == number);
        let ids = match named.or_else(numbered) {
            Some((_, uid, gid)) => Some((uid, gid)),
            None => number.map(|uid| (uid, NO_GROUP)),
        };
        let name = name.to_owned();
        match ids {
            Some((uid, gid)) => Ok(User { name, uid, gid }),
            None => Err(UserError::Unknown { name }),
        }
    }

    /// Fails if the calling thread may not become this user.
    pub fn check_rights(&self) -> Result<(), UserError> {
        const NEEDED: u64 = 1 << CAP_SETUID | 1 << CAP_SETGID;
        match capabilities::permitted() {
            Ok(held) if held & NEEDED == NEEDED => Ok(()),
            _ => Err(UserError::NotRoot {
                name: self.name.clone(),
            }),
        }
    }
}

/// Name, number and group in a line of passwd(5).
fn entry(line: &[u8]) -> Option<(&[u8], u32, u32)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let mut number = || -> Option<u32> {
        let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        (number != u32::MAX).then_some(number)
    };
    // The password, which may look like a number.
    let _ = number();
    Some((name, number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> Result<(u32, u32), String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let users = b"root:x:0:0:root:/root:/bin/bash\n\
            broken:x:12\n\
            minus:x:4294967295:4294967295::/:\n\
            caf\xe9:x:77:7::/:\n\
            +::::::\n\
            42:x:1042:100::/:\n\
            trace:*:998:997:Traces,,,:/nonexistent:/usr/sbin/nologin";
        std::fs::write(root.path().join("etc/passwd"), users).unwrap();
        let found = User::find(name, root.path()).map_err(|error| error.to_string())?;
        assert_eq!(found.name, name);
        Ok((found.uid, found.gid))
    }

    #[test]
    fn user_is_found_by_name_and_by_number() {
        assert_eq!(find("trace"), Ok((998, 997)));
        assert_eq!(find("998"), Ok((998, 997)));
        assert_eq!(find("root"), Ok((0, 0)));
        // A name that looks like a number is a name.
        assert_eq!(find("42"), Ok((1042, 100)));
        assert_eq!(find("4242"), Ok((4242, NO_GROUP)));
    }

    #[test]
    fn unknown_user_is_an_error_with_its_name() {
        for name in [
            "",
            "nobody",
            "broken",
            "minus",
            "+",
            "-1",
            "+5",
            "4294967295",
            "4294967296",
            "trace:x",
        ] {
            let said = find(name).unwrap_err();
            assert!(said.contains(&format!("--user {name}: no such user")), "{said}");
        }
    }

    #[test]
    fn number_needs_no_list_of_users() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(User::find("7", root.path()).unwrap().uid, 7);
        let said = User::find("trace", root.path()).unwrap_err().to_string();
        assert!(said.contains("cannot read /etc/passwd"), "{said}");
    }
}
