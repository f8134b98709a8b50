//! Parses an expression into its syntax tree: the grammar of pcap-filter(7), with inherited qualifiers. Imports `ast`,
//! `error` and `lexer`.
//!
//! Qualifiers are inherited from the primitive before `and` or `or`: `tcp port 80 or 443`. A protocol alone, a
//! comparison or a keyword ends that; a parenthesis restores what was inherited before it.

use super::arithmetic;
use super::ast::{
    ByteTest, Connective, Direction, Kind, LlcType, Mask, Node, Primitive, Protocol, Qualifiers, Span, Value,
};
use super::error::{self, FilterError, Nearest, Problem};
use super::lexer::{self, Keyword, Token, UNSUPPORTED};

/// The deepest nesting of parentheses, brackets and arithmetic.
pub(super) const DEEPEST: usize = 60;

/// Parses the expression; nothing at all is a filter that every packet matches.
pub(super) fn parse(expression: &str) -> Result<Option<Node>, FilterError> {
    let mut parser = Parser {
        expression,
        tokens: lexer::split(expression)?,
        at: 0,
        depth: 0,
        inherited: None,
    };
    if parser.tokens.len() == 1 {
        return Ok(None);
    }
    let node = parser.condition()?;
    match parser.peek() {
        Token::End => Ok(Some(node)),
        _ => Err(parser.unexpected("'and', 'or' or the end")),
    }
}

pub(super) struct Parser<'a> {
    expression: &'a str,
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
    inherited: Option<Qualifiers>,
}

impl Parser<'_> {
    // Tokens.

    pub(super) fn peek(&self) -> &Token {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, count: usize) -> &Token {
        self.tokens.get(self.at + count).map_or(&Token::End, |(token, _)| token)
    }

    pub(super) fn span(&self) -> Span {
        let last = self.tokens.len() - 1;
        self.tokens[self.at.min(last)].1.clone()
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// Returns the bytes from `start` to the end of the last token.
    pub(super) fn since(&self, start: usize) -> Span {
        let end = self.at.checked_sub(1).map_or(start, |last| self.tokens[last].1.end);
        start..end.max(start)
    }

    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &str, expected: &'static str) -> Result<(), FilterError> {
        match self.accept(symbol) {
            true => Ok(()),
            false => Err(self.unexpected(expected)),
        }
    }

    fn accept_keyword(&mut self, keyword: Keyword) -> bool {
        let found = *self.peek() == Token::Keyword(keyword);
        self.at += usize::from(found);
        found
    }

    // Errors.

    pub(super) fn error(&self, at: Span, problem: Problem) -> FilterError {
        FilterError::new(self.expression, at, problem)
    }

    pub(super) fn found(&self) -> String {
        match self.peek() {
            Token::End => "the end".to_owned(),
            _ => format!("'{}'", error::shown(&self.expression[self.span()])),
        }
    }

    /// Returns the error for the next token.
    pub(super) fn unexpected(&self, expected: &'static str) -> FilterError {
        let problem = match self.peek() {
            Token::Keyword(Keyword::Unsupported(index)) => {
                let (words, why, remedy) = UNSUPPORTED[*index];
                let text = &self.expression[self.span()];
                let what = words.iter().find(|word| **word == text).copied().unwrap_or("this");
                Problem::Unsupported { what, why, remedy }
            }
            Token::Name(word) => Problem::UnknownWord {
                word: error::shown(word),
                nearest: lexer::nearest(word),
            },
            _ => Problem::Unexpected {
                found: self.found(),
                expected,
            },
        };
        self.error(self.span(), problem)
    }

    /// Runs a part that is nested in parentheses, brackets or operators.
    pub(super) fn nested<T>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        if self.depth == DEEPEST {
            return Err(self.error(self.span(), Problem::TooDeep(DEEPEST)));
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    // Conditions.

    fn condition(&mut self) -> Result<Node, FilterError> {
        let first = self.term()?;
        self.chain(first, |parser| match parser.is_value_ahead() {
            true => parser.inheriting(),
            false => parser.term(),
        })
    }

    fn chain(
        &mut self,
        first: Node,
        operand: impl Fn(&mut Self) -> Result<Node, FilterError>,
    ) -> Result<Node, FilterError> {
        let mut rest = Vec::new();
        while let Some(connective) = self.connective() {
            rest.push((connective, operand(self)?));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Node::Chain(Box::new(first), rest),
        })
    }

    fn connective(&mut self) -> Option<Connective> {
        let connective = match self.peek() {
            Token::Keyword(Keyword::And) | Token::Symbol("&&") => Connective::And,
            Token::Keyword(Keyword::Or) | Token::Symbol("||") => Connective::Or,
            _ => return None,
        };
        self.advance();
        Some(connective)
    }

    /// Consumes any number of `not`, and returns whether they invert.
    fn inverted(&mut self) -> bool {
        let mut inverted = false;
        while self.accept("!") || self.accept_keyword(Keyword::Not) {
            inverted = !inverted;
        }
        inverted
    }

    fn term(&mut self) -> Result<Node, FilterError> {
        let inverted = self.inverted();
        let node = match self.peek() {
            Token::Symbol("(") if !arithmetic::is_ahead(self) => self.parenthesis(Self::condition)?,
            _ => self.primitive()?,
        };
        Ok(invert(node, inverted))
    }

    fn parenthesis(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<Node, FilterError>,
    ) -> Result<Node, FilterError> {
        let inherited = self.inherited;
        self.nested(|parser| {
            parser.advance();
            let node = inside(parser)?;
            parser.expect(")", "'and', 'or' or ')'")?;
            parser.inherited = inherited;
            Ok(node)
        })
    }

    /// Returns whether a value follows that inherits its qualifiers: `80` in `port 22 or 80`.
    fn is_value_ahead(&self) -> bool {
        let mut count = 0;
        while matches!(
            self.ahead(count),
            Token::Symbol("!" | "(") | Token::Keyword(Keyword::Not)
        ) {
            count += 1;
        }
        match self.ahead(count) {
            Token::Number(_) => {
                count += 1;
                while *self.ahead(count) == Token::Symbol(")") {
                    count += 1;
                }
                !arithmetic::is_operator(self.ahead(count))
            }
            Token::Name(_) => self.inherited.is_some(),
            Token::Ipv4(..) | Token::Ipv6(_) | Token::Ethernet(_) => true,
            _ => false,
        }
    }

    /// A value, or several in parentheses, with the qualifiers of the primitive before it.
    fn inheriting(&mut self) -> Result<Node, FilterError> {
        match self.inherited {
            Some(qualifiers) => self.values(qualifiers),
            None => {
                let found = self.found();
                Err(self.error(self.span(), Problem::Unqualified { found }))
            }
        }
    }

    fn values(&mut self, qualifiers: Qualifiers) -> Result<Node, FilterError> {
        let inverted = self.inverted();
        let node = if *self.peek() == Token::Symbol("(") {
            self.parenthesis(|parser| {
                let first = parser.values(qualifiers)?;
                parser.chain(first, |parser| parser.values(qualifiers))
            })?
        } else {
            let start = self.span().start;
            let value = self.value(qualifiers)?;
            Node::Primitive(Primitive::Value(qualifiers, value), self.since(start))
        };
        self.inherited = Some(qualifiers);
        Ok(invert(node, inverted))
    }

    fn value(&mut self, qualifiers: Qualifiers) -> Result<Value, FilterError> {
        let expected = match qualifiers.kind {
            Kind::Default | Kind::Host => "an address or a host name",
            Kind::Net => "a network, as in 10.0.0.0/8,",
            Kind::Port => "a port",
            Kind::PortRange => "a range of ports, as in 6000-6008,",
            Kind::Proto => "a protocol's number or name, as in \\tcp,",
        };
        let value = match self.peek() {
            Token::Number(number) => Value::Number(*number),
            Token::Ipv4(address, bits) => {
                let (address, bits) = (*address, *bits);
                self.advance();
                return self.network(address, bits);
            }
            Token::Ipv6(address) => {
                let address = *address;
                self.advance();
                let length = self
                    .accept("/")
                    .then(|| self.number("the length of a prefix"))
                    .transpose()?;
                return Ok(Value::Ipv6(address, length));
            }
            Token::Ethernet(address) => Value::Ethernet(*address),
            Token::Name(name) => Value::Name(name.clone()),
            // libpcap wants the backslash as well: without it, the word is a keyword.
            Token::Protocol(_) if qualifiers.kind == Kind::Proto => {
                let remedy = "write a backslash before it, as in: ip proto \\tcp";
                let value = "a keyword";
                let qualifier = "proto";
                return Err(self.error(
                    self.span(),
                    Problem::Qualifier {
                        qualifier,
                        value,
                        remedy,
                    },
                ));
            }
            _ => return Err(self.unexpected(expected)),
        };
        self.advance();
        Ok(value)
    }

    /// What follows an address: a length, a mask, or nothing.
    fn network(&mut self, address: u32, bits: u32) -> Result<Value, FilterError> {
        if self.accept("/") {
            let length = self.number("the length of a prefix")?;
            return Ok(Value::Ipv4Net(address, bits, Mask::Length(length)));
        }
        if !self.accept_keyword(Keyword::Mask) {
            return Ok(Value::Ipv4(address, bits));
        }
        match *self.peek() {
            Token::Ipv4(mask, mask_bits) => {
                self.advance();
                Ok(Value::Ipv4Net(address, bits, Mask::Address(mask, mask_bits)))
            }
            _ => Err(self.unexpected("a mask, as in 255.0.0.0,")),
        }
    }

    pub(super) fn number(&mut self, expected: &'static str) -> Result<u32, FilterError> {
        match *self.peek() {
            Token::Number(number) => {
                self.advance();
                Ok(number)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    // Primitives.

    fn primitive(&mut self) -> Result<Node, FilterError> {
        let start = self.span().start;
        if arithmetic::is_ahead(self) {
            let relation = arithmetic::relation(self)?;
            self.inherited = None;
            return Ok(Node::Primitive(relation, self.since(start)));
        }
        let protocol = match *self.peek() {
            Token::Protocol(protocol) => {
                self.advance();
                Some(protocol)
            }
            _ => None,
        };
        if let Some(qualifiers) = self.qualifiers(protocol)? {
            return self.values(qualifiers);
        }
        self.inherited = None;
        let primitive = match protocol {
            _ if self.accept_keyword(Keyword::Broadcast) => Primitive::Broadcast(protocol),
            _ if self.accept_keyword(Keyword::Multicast) => Primitive::Multicast(protocol),
            Some(protocol) => {
                if matches!(
                    self.peek(),
                    Token::Number(_) | Token::Ipv4(..) | Token::Ipv6(_) | Token::Ethernet(_)
                ) {
                    let found = self.found();
                    return Err(self.error(self.span(), Problem::Unqualified { found }));
                }
                Primitive::Protocol(protocol)
            }
            None => self.keyword()?,
        };
        Ok(Node::Primitive(primitive, self.since(start)))
    }

    /// Direction and type, if there are any.
    fn qualifiers(&mut self, protocol: Option<Protocol>) -> Result<Option<Qualifiers>, FilterError> {
        let mut direction = None;
        for (keyword, other, this) in [
            (Keyword::Source, Keyword::Destination, Direction::Source),
            (Keyword::Destination, Keyword::Source, Direction::Destination),
        ] {
            if direction.is_some() || !self.accept_keyword(keyword) {
                continue;
            }
            direction = Some(this);
            if *self.ahead(1) == Token::Keyword(other)
                && let Some(connective) = self.connective()
            {
                self.advance();
                direction = Some(match connective {
                    Connective::And => Direction::Both,
                    Connective::Or => Direction::Either,
                });
            }
        }
        let kind = match self.peek() {
            Token::Keyword(Keyword::Host) => Kind::Host,
            Token::Keyword(Keyword::Net) => Kind::Net,
            Token::Keyword(Keyword::Port) => Kind::Port,
            Token::Keyword(Keyword::PortRange) => Kind::PortRange,
            Token::Keyword(Keyword::Proto) if direction.is_none() => Kind::Proto,
            Token::Keyword(Keyword::Unsupported(_)) if protocol.is_some() || direction.is_some() => {
                return Err(self.unexpected(""));
            }
            _ => Kind::Default,
        };
        if kind != Kind::Default {
            self.advance();
        } else if direction.is_none() {
            return Ok(None);
        }
        Ok(Some(Qualifiers {
            protocol,
            direction: direction.unwrap_or(Direction::Either),
            kind,
        }))
    }

    /// A primitive that begins with a keyword of its own.
    fn keyword(&mut self) -> Result<Primitive, FilterError> {
        const EXPECTED: &str = "a primitive, as in 'host 10.0.0.1' or 'tcp port 80',";
        let Token::Keyword(keyword) = *self.peek() else {
            if let Token::Number(_) | Token::Ipv4(..) | Token::Ipv6(_) | Token::Ethernet(_) = self.peek() {
                let found = self.found();
                return Err(self.error(self.span(), Problem::Unqualified { found }));
            }
            return Err(self.unexpected(EXPECTED));
        };
        let refused = self.unexpected(EXPECTED);
        self.advance();
        Ok(match keyword {
            Keyword::Less => Primitive::Less(self.number("a length")?),
            Keyword::Greater => Primitive::Greater(self.number("a length")?),
            Keyword::Byte => {
                let index = self.number("the index of a byte")?;
                let test = match self.peek() {
                    Token::Symbol("=" | "==") => ByteTest::Equal,
                    Token::Symbol("<") => ByteTest::Less,
                    Token::Symbol(">") => ByteTest::Greater,
                    Token::Symbol("&") => ByteTest::And,
                    Token::Symbol("|") => ByteTest::Or,
                    _ => return Err(self.unexpected("one of = < > & |")),
                };
                self.advance();
                Primitive::Byte(index, test, self.number("the value of a byte")?)
            }
            Keyword::Vlan => Primitive::Vlan(self.identifier("VLAN tag", 0xfff)?),
            Keyword::Mpls => Primitive::Mpls(self.identifier("MPLS label", 0xf_ffff)?),
            Keyword::Pppoed => Primitive::Pppoed,
            Keyword::Pppoes => Primitive::Pppoes(self.identifier("PPPoE session", 0xffff)?),
            Keyword::Geneve => Primitive::Geneve(self.identifier("Geneve VNI", 0xff_ffff)?),
            Keyword::Vxlan => Primitive::Vxlan(self.identifier("VXLAN VNI", 0xff_ffff)?),
            Keyword::Llc => Primitive::Llc(self.llc_type()?),
            _ => return Err(refused),
        })
    }

    /// The number of a network, which may be in parentheses, or nothing.
    fn identifier(&mut self, what: &'static str, maximum: u32) -> Result<Option<u32>, FilterError> {
        let mut parentheses = 0;
        while *self.ahead(parentheses) == Token::Symbol("(") {
            parentheses += 1;
        }
        let Token::Number(value) = *self.ahead(parentheses) else {
            return Ok(None);
        };
        for _ in 0..parentheses {
            self.advance();
        }
        if value > maximum {
            return Err(self.error(self.span(), Problem::Above { what, value, maximum }));
        }
        self.advance();
        for _ in 0..parentheses {
            self.expect(")", "')'")?;
        }
        Ok(Some(value))
    }

    /// The name of a type of LLC frames, or nothing.
    fn llc_type(&mut self) -> Result<Option<LlcType>, FilterError> {
        const TYPES: &[(&str, u8, u8)] = &[
            ("i", 0x01, 0x00),
            ("s", 0x03, 0x01),
            ("u", 0x03, 0x03),
            ("rr", 0x0f, 0x01),
            ("rnr", 0x0f, 0x05),
            ("rej", 0x0f, 0x09),
            ("ui", 0xef, 0x03),
            ("ua", 0xef, 0x63),
            ("disc", 0xef, 0x43),
            ("sabme", 0xef, 0x6f),
            ("test", 0xef, 0xe3),
            ("xid", 0xef, 0xaf),
            ("frmr", 0xef, 0x87),
        ];
        let word = &self.expression[self.span()];
        if !matches!(self.peek(), Token::Name(_) | Token::Keyword(Keyword::Unsupported(_))) {
            return Ok(None);
        }
        match TYPES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(word)) {
            Some((_, mask, value)) => {
                self.advance();
                Ok(Some(LlcType {
                    mask: *mask,
                    value: *value,
                }))
            }
            None => {
                let what = "type of LLC frames";
                let nearest = Nearest::choose(word, TYPES.iter().map(|(name, ..)| *name));
                let name = error::shown(word);
                Err(self.error(self.span(), Problem::UnknownName { what, name, nearest }))
            }
        }
    }
}

fn invert(node: Node, inverted: bool) -> Node {
    match inverted {
        true => Node::Not(Box::new(node)),
        false => node,
    }
}
