//! Packages of plugins: their description and the user's grants; everything about a plugin that needs none of its code
//! to run.
//!
//! A plugin is a file of a third party, so all of it is checked here before `host` runs it.
//! Imports nothing of the crate.

mod cost;
mod description;
mod grants;
pub mod inspect;
mod language;
mod lookup;
pub mod new;
pub mod pack;
mod trusted;

pub use cost::TooMuch;
pub use description::{
    Description, DescriptionError, MAX_DESCRIPTION, OptionError, OptionSpec, OptionType, OptionValues, SECTION,
};
pub use grants::{DirGrant, Grants, Limits};
pub use language::Language;
pub use lookup::{Folders, Found, Installed, List, NotFound};
pub use trusted::{Trust, Untrusted};
