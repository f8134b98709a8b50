//! Splits an expression into tokens, as libpcap does: the longest match wins, so that `len-14` is one word and
//! `0011.2233.4455` an Ethernet address. Imports `ast`, `error` and `names`.

use std::net::Ipv6Addr;

use super::ast::{PROTOCOLS, Protocol, Span};
use super::error::{self, FilterError, Nearest, Problem};
use super::names;

/// The longest expression.
pub(super) const LONGEST: usize = 64 << 10;
/// The longest text of an address with colons.
const LONGEST_ADDRESS: usize = 45;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Protocol(Protocol),
    Keyword(Keyword),
    Number(u32),
    /// One to four numbers with dots: the address so far, and its bits.
    Ipv4(u32, u32),
    Ipv6(Ipv6Addr),
    Ethernet([u8; 6]),
    Name(String),
    Symbol(&'static str),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Source,
    Destination,
    Host,
    Net,
    Mask,
    Port,
    PortRange,
    Proto,
    And,
    Or,
    Not,
    Less,
    Greater,
    Byte,
    Broadcast,
    Multicast,
    Length,
    Vlan,
    Mpls,
    Pppoed,
    Pppoes,
    Geneve,
    Vxlan,
    Llc,
    /// A word that tcpdump knows and that has no meaning here: the index into [`UNSUPPORTED`].
    Unsupported(usize),
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("src", Keyword::Source),
    ("dst", Keyword::Destination),
    ("host", Keyword::Host),
    ("net", Keyword::Net),
    ("mask", Keyword::Mask),
    ("port", Keyword::Port),
    ("portrange", Keyword::PortRange),
    ("proto", Keyword::Proto),
    ("and", Keyword::And),
    ("or", Keyword::Or),
    ("not", Keyword::Not),
    ("less", Keyword::Less),
    ("greater", Keyword::Greater),
    ("byte", Keyword::Byte),
    ("broadcast", Keyword::Broadcast),
    ("multicast", Keyword::Multicast),
    ("len", Keyword::Length),
    ("length", Keyword::Length),
    ("vlan", Keyword::Vlan),
    ("mpls", Keyword::Mpls),
    ("pppoed", Keyword::Pppoed),
    ("pppoes", Keyword::Pppoes),
    ("geneve", Keyword::Geneve),
    ("vxlan", Keyword::Vxlan),
    ("llc", Keyword::Llc),
];

/// Words of tcpdump's language that have no meaning here, the reason, and what to write instead.
pub(super) const UNSUPPORTED: &[(&[&str], &str, &str)] = &[
    (
        &["protochain"],
        "follows headers in a loop, which a program in the kernel may not",
        "use 'proto', or test the next header: ip6[6] = 0 and ip6[40] = 6",
    ),
    (
        &["gateway"],
        "needs the Ethernet address of a host name",
        "write: ether host ADDRESS and not host ADDRESS",
    ),
    (
        &["inbound", "outbound"],
        "is not a property of the frame",
        "look at the functions of the packet, such as ip_rcv and ip_output",
    ),
    (
        &["ifindex"],
        "is not a property of the frame",
        "mark the packets of the device (nft iifname) and add -m MARK",
    ),
    (
        &["on", "ifname"],
        "is a property of logs of pf",
        "mark the packets of the device (nft iifname) and add -m MARK",
    ),
    (
        &[
            "rset",
            "ruleset",
            "rnr",
            "rulenum",
            "srnr",
            "subrulenum",
            "reason",
            "action",
        ],
        "is a property of logs of pf, which Linux does not have",
        "remove it",
    ),
    (
        &[
            "type",
            "subtype",
            "dir",
            "direction",
            "addr1",
            "address1",
            "addr2",
            "address2",
            "addr3",
            "address3",
            "addr4",
            "address4",
            "ra",
            "ta",
            "radio",
        ],
        "is in headers of 802.11, which the kernel's packets do not have any more",
        "use 'ether src' and 'ether dst'",
    ),
    (
        &[
            "lane",
            "metac",
            "bcc",
            "oam",
            "oamf4",
            "oamf4ec",
            "oamf4sc",
            "sc",
            "ilmic",
            "vpi",
            "vci",
            "connectmsg",
            "metaconnect",
        ],
        "is in headers of ATM, and packets are compared as Ethernet frames",
        "remove it",
    ),
    (
        &[
            "fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu", "sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc",
            "hsls",
        ],
        "is in headers of SS7, and packets are compared as Ethernet frames",
        "remove it",
    ),
];

const SYMBOLS: &[&str] = &[
    "&&", "||", ">=", "<=", "!=", "==", "<<", ">>", "(", ")", "[", "]", "!", "<", ">", "=", "+", "-", "*", "/", "%",
    "&", "|", "^", ":",
];

/// Returns the words that an unknown one may be a misspelling of.
pub(super) fn nearest(word: &str) -> Nearest {
    let unsupported = UNSUPPORTED.iter().flat_map(|(words, ..)| words.iter().copied());
    let protocols = PROTOCOLS.iter().map(|(word, _)| *word);
    let keywords = KEYWORDS.iter().map(|(word, _)| *word);
    // Short words that nearly every other one resembles.
    let known = unsupported
        .chain(protocols)
        .chain(keywords)
        .filter(|word| word.len() > 2);
    Nearest::choose(word, known.chain(names::CONSTANTS.iter().map(|(word, _)| *word)))
}

/// Splits the expression. The last token is [`Token::End`].
pub(super) fn split(expression: &str) -> Result<Vec<(Token, Span)>, FilterError> {
    if expression.len() > LONGEST {
        return Err(FilterError::new(expression, 0..0, Problem::TooLong(LONGEST)));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = expression[at..].chars().next() {
        let rest = &expression[at..];
        if matches!(first, ' ' | '\t' | '\r' | '\n') {
            at += 1;
            continue;
        }
        let (token, len) =
            next(rest, first).map_err(|(problem, len)| FilterError::new(expression, at..at + len, problem))?;
        tokens.push((token, at..at + len));
        at += len;
    }
    tokens.push((Token::End, at..at));
    Ok(tokens)
}

/// Returns the first token of the text, and its length.
fn next(rest: &str, first: char) -> Result<(Token, usize), (Problem, usize)> {
    if first == '\\' {
        let ends = |each: char| matches!(each, ' ' | '!' | '(' | ')' | '\n' | '\t');
        let len = rest.find(ends).unwrap_or(rest.len());
        if len > 1 {
            return Ok((Token::Name(rest[1..len].to_owned()), len));
        }
        return Err((Problem::Character(first), 1));
    }
    let word = word(rest);
    let address = address(rest);
    if let Some((token, len)) = address.filter(|(_, len)| *len > word.len() || word.is_empty()) {
        return Ok((token, len));
    }
    if !word.is_empty() {
        let token = classify(word).map_err(|problem| (problem, word.len()))?;
        return Ok((token, word.len()));
    }
    SYMBOLS
        .iter()
        .find(|symbol| rest.starts_with(**symbol))
        .map(|symbol| (Token::Symbol(symbol), symbol.len()))
        .ok_or((Problem::Character(first), first.len_utf8()))
}

/// Returns the word at the start: letters, digits, dots, `-` and `_`, of which the last two are not at its end.
fn word(rest: &str) -> &str {
    let is_word = |each: &u8| each.is_ascii_alphanumeric() || matches!(each, b'-' | b'_' | b'.');
    if !rest.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) {
        return "";
    }
    let len = rest.bytes().take_while(|each| is_word(each)).count();
    rest[..len].trim_end_matches(['-', '_'])
}

/// Returns the longest address with colons at the start.
fn address(rest: &str) -> Option<(Token, usize)> {
    let in_address = |each: &u8| each.is_ascii_hexdigit() || matches!(each, b':' | b'.');
    let run = rest.bytes().take(LONGEST_ADDRESS).take_while(in_address).count();
    if !rest[..run].contains(':') {
        return None;
    }
    (2..=run).rev().find_map(|len| {
        let text = &rest[..len];
        let token = match parse_ethernet(text, ':') {
            Some(address) => Token::Ethernet(address),
            None => Token::Ipv6(text.parse().ok()?),
        };
        Some((token, len))
    })
}

fn classify(word: &str) -> Result<Token, Problem> {
    if let Some((_, protocol)) = PROTOCOLS.iter().find(|(name, _)| *name == word) {
        return Ok(Token::Protocol(*protocol));
    }
    if let Some((_, keyword)) = KEYWORDS.iter().find(|(name, _)| *name == word) {
        return Ok(Token::Keyword(*keyword));
    }
    if let Some(index) = UNSUPPORTED.iter().position(|(words, ..)| words.contains(&word)) {
        return Ok(Token::Keyword(Keyword::Unsupported(index)));
    }
    if let Some((_, number)) = names::CONSTANTS.iter().find(|(name, _)| *name == word) {
        return Ok(Token::Number(*number));
    }
    if let Some(address) = ethernet(word) {
        return Ok(Token::Ethernet(address));
    }
    let parts: Vec<&str> = word.split('.').collect();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|each| each.is_ascii_digit());
    let hexadecimal = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    if hexadecimal.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|each| each.is_ascii_hexdigit()))
        || digits(word)
    {
        return number(word).map(Token::Number);
    }
    if (2..=4).contains(&parts.len()) && parts.iter().all(|part| digits(part)) {
        let mut address = 0;
        for part in &parts {
            let byte = number(part)?;
            if byte > 255 {
                let what = "the part of an address";
                return Err(Problem::Above {
                    what,
                    value: byte,
                    maximum: 255,
                });
            }
            address = address << 8 | byte;
        }
        // At most four parts.
        return Ok(Token::Ipv4(address, 8 * parts.len() as u32));
    }
    Ok(Token::Name(word.to_owned()))
}

/// Parses a number as C has it: a leading 0 means octal, 0x hexadecimal.
pub(super) fn number(text: &str) -> Result<u32, Problem> {
    let value = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => u32::from_str_radix(&text[2..], 16),
        [b'0', _, ..] => u32::from_str_radix(&text[1..], 8),
        _ => text.parse(),
    };
    value.map_err(|_| Problem::Number(error::shown(text)))
}

/// Parses the forms of an Ethernet address without colons: `00-11-22-33-44-55`, `0.11.22.33.44.55`, `0011.2233.4455`,
/// `001122334455`.
fn ethernet(word: &str) -> Option<[u8; 6]> {
    if let Some(address) = parse_ethernet(word, '-').or_else(|| parse_ethernet(word, '.')) {
        return Some(address);
    }
    let digits: String = match word.len() {
        12 => word.to_owned(),
        14 if word.as_bytes()[4] == b'.' && word.as_bytes()[9] == b'.' => word.replace('.', ""),
        _ => return None,
    };
    if digits.len() != 12 || !digits.bytes().all(|each| each.is_ascii_hexdigit()) {
        return None;
    }
    let mut address = [0; 6];
    for (index, byte) in address.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(address)
}

/// Parses six bytes of one or two hexadecimal digits.
fn parse_ethernet(text: &str, separator: char) -> Option<[u8; 6]> {
    let mut address = [0; 6];
    let mut parts = text.split(separator);
    for byte in &mut address {
        let part = parts.next()?;
        if part.len() > 2 || !part.bytes().all(|each| each.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(address)
}
