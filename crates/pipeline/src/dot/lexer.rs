//! Words of the graph language.

use super::ParseError;

/// One word and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a value, with everything said about quotes and brackets already done.
    Id(Id),
    Arrow,
    Undirected,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    Equals,
    Comma,
    Semicolon,
    Colon,
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) text: String,
    pub(super) form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Bare,
    Quoted,
    /// `"<...>"`: a quoted text in angle brackets keeps its quotes.
    QuotedAngle,
    /// `<...>` whose brackets were removed.
    Angle,
    /// `<...>` with further brackets inside, which keeps the outer ones.
    AngleKept,
}

pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, at: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blank()?;
        let at = self.at;
        let rest = self.rest();
        let Some(c) = rest.chars().next() else {
            return Ok(Token {
                at,
                kind: Kind::End,
            });
        };
        let simple = |kind| Ok((kind, c.len_utf8()));
        let (kind, length) = match c {
            '[' => simple(Kind::OpenBracket),
            ']' => simple(Kind::CloseBracket),
            '{' => simple(Kind::OpenBrace),
            '}' => simple(Kind::CloseBrace),
            '=' => simple(Kind::Equals),
            ',' => simple(Kind::Comma),
            ';' => simple(Kind::Semicolon),
            ':' => simple(Kind::Colon),
            '"' => self.quoted(),
            '<' => self.angle(),
            '-' if rest.starts_with("->") => Ok((Kind::Arrow, 2)),
            '-' if rest.starts_with("--") => Ok((Kind::Undirected, 2)),
            '-' | '.' | '0'..='9' => self.numeral(),
            c if starts_bare(c) => {
                let length = rest.find(|c| !continues_bare(c)).unwrap_or(rest.len());
                Ok((bare(&rest[..length]), length))
            }
            c => Err(self.error(at, format!(
                "unexpected {c:?}: a value that is not a plain name or number must stand in quotes or in <...>"
            ))),
        }?;
        self.at += length;
        Ok(Token { at, kind })
    }

    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::at(self.source, at, message)
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// White space, `//` and `/* */` comments, and whatever follows a `#` on its line.
    fn skip_blank(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            self.at += rest.len() - trimmed.len();
            let to_line_end = trimmed.find('\n').unwrap_or(trimmed.len());
            if trimmed.starts_with("//") || trimmed.starts_with('#') {
                self.at += to_line_end;
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += 2 + end + 2,
                    None => {
                        return Err(self.error(
                            self.at,
                            "the comment opened with /* is never closed with */",
                        ));
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    /// `"..."`, where `\"` is the only escape and everything else stays as written. A backslash holds
    /// on to the character behind it: the text ends at the quote in `"a\\"`, and keeps both backslashes.
    fn quoted(&self) -> Result<(Kind, usize), ParseError> {
        let body = &self.rest()[1..];
        let mut text = String::new();
        let mut from = 0;
        loop {
            let Some(quote) = body[from..].find('"').map(|n| from + n) else {
                return Err(self.error(self.at, "the string opened here is never closed with \""));
            };
            let piece = &body[from..quote];
            let backslashes = piece.len() - piece.trim_end_matches('\\').len();
            if backslashes % 2 == 1 {
                text.push_str(&piece[..piece.len() - 1]);
                text.push('"');
                from = quote + 1;
                continue;
            }
            text.push_str(piece);
            let length = 1 + quote + 1;
            let angle = text.len() >= 2 && text.starts_with('<') && text.ends_with('>');
            let id = if angle {
                Id {
                    text: format!("\"{text}\""),
                    form: Form::QuotedAngle,
                }
            } else {
                Id {
                    text,
                    form: Form::Quoted,
                }
            };
            return Ok((Kind::Id(id), length));
        }
    }

    /// `<...>` up to the bracket that balances the first one.
    fn angle(&self) -> Result<(Kind, usize), ParseError> {
        let rest = self.rest();
        let mut open = 0usize;
        for (n, byte) in rest.bytes().enumerate() {
            match byte {
                b'<' => open += 1,
                b'>' => open -= 1,
                _ => continue,
            }
            if open == 0 {
                let inner = &rest[1..n];
                let kept = inner.is_empty() || inner.contains(['<', '>']);
                let id = if kept {
                    Id {
                        text: rest[..=n].to_owned(),
                        form: Form::AngleKept,
                    }
                } else {
                    Id {
                        text: inner.to_owned(),
                        form: Form::Angle,
                    }
                };
                return Ok((Kind::Id(id), n + 1));
            }
        }
        Err(self.error(
            self.at,
            "the text opened with < is never closed with >; brackets inside it must balance",
        ))
    }

    /// `-? ( .digits | digits [ . digits ] )`
    fn numeral(&self) -> Result<(Kind, usize), ParseError> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let digits = |from: usize| {
            bytes[from..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
        };
        let start = usize::from(bytes[0] == b'-');
        let whole = digits(start);
        let mut end = start + whole;
        let mut fraction = 0;
        if bytes.get(end) == Some(&b'.') {
            fraction = digits(end + 1);
            end += 1 + fraction;
        }
        let followed_by_name = rest[end..].chars().next().is_some_and(continues_bare);
        if whole + fraction == 0 {
            return Err(self.error(
                self.at,
                "expected a name, a number, a quoted string or <...> here",
            ));
        }
        if followed_by_name {
            return Err(self.error(
                self.at,
                "this is neither a number nor a name: write it in quotes, for example \"10s\"",
            ));
        }
        Ok((
            Kind::Id(Id {
                text: rest[..end].to_owned(),
                form: Form::Bare,
            }),
            end,
        ))
    }
}

fn bare(text: &str) -> Kind {
    Kind::Id(Id {
        text: text.to_owned(),
        form: Form::Bare,
    })
}

fn starts_bare(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_bare(c: char) -> bool {
    starts_bare(c) || c.is_ascii_digit()
}
