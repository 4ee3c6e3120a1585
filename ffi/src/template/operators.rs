//! Two of Python's operators that minijinja does not have, rewritten inside of a tag:
//!   "format" % args            ->  "format"|realm.percent(args)
//!   x|safe + y  (or escape, e) ->  x|safe|realm.markup_add(y)
//! The first is recognised where a string literal stands before the operator, the second where the
//! filter does; that covers what templates write.

pub const PERCENT: &str = "realm.percent";
pub const MARKUP_ADD: &str = "realm.markup_add";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Word,
    Operator,
    Open,
    Close,
}

struct Token<'a> {
    kind: Kind,
    start: usize,
    text: &'a str,
}

impl Token<'_> {
    fn is(&self, text: &str) -> bool {
        self.kind != Kind::String && self.text == text
    }
}

/// The offset after the string literal that starts at `at`.
pub fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

fn tokenize(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let (kind, end) = match byte {
            _ if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'"' | b'\'' => (Kind::String, end_of_string(bytes, at)),
            b'(' | b'[' | b'{' => (Kind::Open, at + 1),
            b')' | b']' | b'}' => (Kind::Close, at + 1),
            _ if is_word(byte) => {
                let length = bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
                (Kind::Word, at + length)
            }
            _ => {
                let pair = bytes.get(at..at + 2);
                let is_pair = matches!(pair, Some(b"//" | b"**" | b"==" | b"!=" | b"<=" | b">="));
                (Kind::Operator, at + if is_pair { 2 } else { 1 })
            }
        };
        tokens.push(Token { kind, start: at, text: &text[at..end] });
        at = end;
    }
    tokens
}

pub fn rewrite(text: &str) -> String {
    let relevant = text.contains('%') || (text.contains('+') && text.contains('|'));
    if !relevant {
        return text.to_string();
    }
    let tokens = tokenize(text);
    let mut out = String::with_capacity(text.len() + 16);
    emit(text, &tokens, 0, tokens.len(), &mut out);
    let end = tokens.last().map_or(0, |token| token.start + token.text.len());
    out.push_str(&text[end..]);
    out
}

/// Writes the tokens `from..to` with the space before each, rewriting on the way.
fn emit(text: &str, tokens: &[Token], from: usize, to: usize, out: &mut String) {
    let mut at = from;
    while at < to {
        let token = &tokens[at];
        let gap = match at {
            0 => 0,
            _ => tokens[at - 1].start + tokens[at - 1].text.len(),
        };
        out.push_str(&text[gap..token.start + token.text.len()]);
        at += 1;
        let (operator, filter) = if token.kind == Kind::String {
            ("%", PERCENT)
        } else if is_escaping_filter(tokens, at - 1) {
            if at + 1 < to && tokens[at].is("(") && tokens[at + 1].is(")") {
                out.push_str("()");
                at += 2;
            }
            ("+", MARKUP_ADD)
        } else {
            continue;
        };
        while at < to && tokens[at].is(operator) {
            let end = operand_end(tokens, at + 1, to, operator == "%");
            if end == at + 1 {
                // An operator without an operand, as the "+" of "+%}": not ours.
                break;
            }
            out.push('|');
            out.push_str(filter);
            out.push('(');
            emit(text, tokens, at + 1, end, out);
            out.push(')');
            at = end;
        }
    }
}

fn is_escaping_filter(tokens: &[Token], at: usize) -> bool {
    at > 0
        && tokens[at - 1].is("|")
        && tokens[at].kind == Kind::Word
        && matches!(tokens[at].text, "safe" | "escape" | "e" | "forceescape")
}

/// The end of the operand that starts at `from`: the next operator at the same bracket depth that
/// binds no tighter than "+", or than "%" where `is_factor`.
fn operand_end(tokens: &[Token], from: usize, to: usize, is_factor: bool) -> usize {
    let mut depth = 0;
    for at in from..to {
        let token = &tokens[at];
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 0 => return at,
            Kind::Close => depth -= 1,
            _ if depth > 0 || at == from => {}
            Kind::Operator => {
                let before = &tokens[at - 1];
                let ends = match token.text {
                    // A sign when it follows another operator.
                    "-" | "+" => before.kind != Kind::Operator,
                    "*" | "/" | "//" | "%" | "~" => is_factor,
                    "." | "|" | "**" => false,
                    _ => true,
                };
                if ends {
                    return at;
                }
            }
            Kind::Word => {
                let before = tokens[at - 1].text;
                let is_name = matches!(before, "." | "|" | "is")
                    || (before == "not" && at >= 2 && tokens[at - 2].is("is"));
                let ends = matches!(
                    token.text,
                    "if" | "else" | "and" | "or" | "not" | "in" | "recursive"
                );
                if ends && !is_name {
                    return at;
                }
            }
            Kind::String => {}
        }
    }
    to
}
