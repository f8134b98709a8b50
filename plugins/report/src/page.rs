//! The page: HTML, style and script, written by hand, with the data embedded.
//!
//! It loads nothing from elsewhere, and its Content-Security-Policy makes the browser enforce that: only the embedded
//! style and script may run, identified by their hashes.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

const PAGE: &str = include_str!("../page/page.html");
const STYLE: &str = include_str!("../page/page.css");
const SCRIPT: &str = concat!(
    include_str!("../page/model.js"),
    include_str!("../page/lanes.js"),
    include_str!("../page/view.js"),
    include_str!("../page/lists.js"),
    include_str!("../page/page.js"),
);

/// SHA-256 of the style and of the script, for the policy. A test checks them.
const STYLE_HASH: &str = "sha256-LWykP9s9rb5BPQVzwkWnsv+PRhKHOXmQU7QIPn8VJ7o=";
const SCRIPT_HASH: &str = "sha256-CkXQqF3ryYPZ9myZej+2+gYnLJtrcOwGWSMaC8ENHTg=";

/// Writes the page with this data.
pub(crate) fn write(out: &mut impl Write, data: &impl Serialize) -> io::Result<()> {
    let mut rest = PAGE;
    while let Some((before, marked)) = rest.split_once("{{") {
        let (name, after) = marked.split_once("}}").unwrap_or((marked, ""));
        out.write_all(before.as_bytes())?;
        match name {
            "style" => out.write_all(STYLE.as_bytes())?,
            "script" => out.write_all(SCRIPT.as_bytes())?,
            "style-hash" => out.write_all(STYLE_HASH.as_bytes())?,
            "script-hash" => out.write_all(SCRIPT_HASH.as_bytes())?,
            "data" => write_data(out, data)?,
            other => return Err(io::Error::other(format!("the page has an unknown mark: {other}"))),
        }
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// Escapes JSON for a script element: no name can end the element.
pub(crate) fn write_data(out: &mut impl Write, data: &impl Serialize) -> io::Result<()> {
    data.serialize(&mut Serializer::with_formatter(out, Embedded))
        .map_err(io::Error::from)
}

/// Compact JSON without `<`, with which every way out of a script element begins.
struct Embedded;

impl Formatter for Embedded {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut pieces = fragment.split('<');
        out.write_all(pieces.next().unwrap_or_default().as_bytes())?;
        for piece in pieces {
            self.write_char_escape(out, CharEscape::AsciiControl(b'<'))?;
            out.write_all(piece.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use sha2::Digest;

    use super::*;

    fn page(data: &impl Serialize) -> String {
        let mut page = Vec::new();
        write(&mut page, data).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn the_policy_has_the_hashes_of_style_and_script() {
        let hash = |text: &str| {
            let digest = sha2::Sha256::digest(text.as_bytes());
            format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(digest))
        };
        assert_eq!(
            [STYLE_HASH, SCRIPT_HASH],
            [hash(STYLE), hash(SCRIPT)],
            "set them in page.rs"
        );
        let page = page(&());
        for hash in [STYLE_HASH, SCRIPT_HASH] {
            assert!(page.contains(&format!("-src '{hash}'")), "{hash}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn the_page_has_no_placeholder_and_no_address() {
        let page = page(&7);
        assert!(page.contains(r#"<script type="application/json" id="data">7</script>"#));
        assert!(!page.contains("{{"));
        for address in ["://", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(address), "{address}");
        }
    }

    #[test]
    fn the_script_sets_text_as_text() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }

    #[test]
    fn no_name_ends_the_element_that_holds_the_data() {
        let name = "</script><!--<script>alert(1)</script>\u{0}\"\\";
        let page = page(&name);
        let (_, data) = page.split_once(r#"id="data">"#).unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<String>(data).unwrap(), name);
        assert!(!data.contains('<'));
    }
}
