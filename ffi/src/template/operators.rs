//! Expressions that are rewritten inside of a tag. Two of Python's operators that minijinja lacks:
//!   "format" % args            ->  "format"|realm.percent(args)
//!   x|safe + y  (or escape, e) ->  x|safe|realm.markup_add(y)
//! The first is recognised where a string literal stands before the operator, the second where the
//! filter does; that covers what templates write. And, so that no template builds values without
//! bounds (limits.rs), what makes or keeps containers:
//!   [a, b]  {"k": a}  (a, b)   ->  realm_bounded([a, b]) ...
//!   {% set ns.x = a %}         ->  {% set ns.x = realm_kept((a)) %}
//!   a + b, without a literal   ->  realm_bounded((a + b))

pub const PERCENT: &str = "realm.percent";
pub const MARKUP_ADD: &str = "realm.markup_add";
pub const BOUNDED: &str = "realm_bounded";
pub const KEPT: &str = "realm_kept";
/// minijinja parses chains of operators recursively; real tags stay below a few hundred.
const TOKENS_MAX: usize = 8192;

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

    fn end(&self) -> usize {
        self.start + self.text.len()
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

/// The inside of a tag rewritten; None where it has more than TOKENS_MAX tokens.
pub fn rewrite(text: &str, is_block: bool) -> Option<String> {
    let tokens = tokenize(text);
    if tokens.len() > TOKENS_MAX {
        return None;
    }
    // The "-" and "+" of "{%-" and "-%}" are none of the expression's.
    let is_sign = |token: &Token| token.is("-") || token.is("+");
    let mut start = usize::from(tokens.first().is_some_and(|t| is_sign(t) && t.start == 0));
    let mut end = tokens.len();
    if end > start && is_sign(&tokens[end - 1]) && tokens[end - 1].end() == text.len() {
        end -= 1;
    }
    let statement = match tokens.get(start) {
        Some(token) if is_block && token.kind == Kind::Word => {
            start += 1;
            token.text
        }
        _ => "",
    };
    // Targets of assignments and loops look like tuples but are none.
    let find = |wanted: &str| tokens[..end].iter().position(|token| token.is(wanted));
    let targets_end = match statement {
        "for" => find("in"),
        "set" => find("="),
        _ => None,
    };
    let mut out = Rewriter { text, tokens: &tokens, out: String::with_capacity(text.len() + 64) };
    let Some(targets_end) = targets_end else {
        out.copy(0, start);
        out.emit(start, end, true);
        out.copy(end, tokens.len());
        return Some(out.finish());
    };
    out.copy(0, targets_end + 1);
    let is_attribute =
        statement == "set" && tokens[..targets_end].iter().any(|token| token.is("."));
    let is_bare_tuple = statement == "set" && has_open_comma(&tokens[targets_end..end]);
    if is_attribute || is_bare_tuple {
        // Twice, for the value may be a tuple without brackets of its own.
        out.open_call(if is_attribute { KEPT } else { BOUNDED });
        let value_start = targets_end + 1;
        // A sum that is all of the value is not measured twice.
        let is_sum = operand_end(&tokens, value_start, end, Level::Sum) == end;
        out.emit(value_start, end, !is_sum);
        out.close_call();
    } else {
        out.emit(targets_end + 1, end, true);
    }
    out.copy(end, tokens.len());
    Some(out.finish())
}

fn has_open_comma(tokens: &[Token]) -> bool {
    let mut depth = 0;
    tokens.iter().any(|token| {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ => {}
        }
        depth == 0 && token.is(",")
    })
}

struct Rewriter<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    out: String,
}

impl Rewriter<'_> {
    /// The token with the space before it.
    fn space_before(&mut self, at: usize) {
        let from = at.checked_sub(1).map_or(0, |before| self.tokens[before].end());
        self.out.push_str(&self.text[from..self.tokens[at].start]);
    }

    fn copy(&mut self, from: usize, to: usize) {
        for at in from..to {
            self.space_before(at);
            self.out.push_str(self.tokens[at].text);
        }
    }

    fn finish(mut self) -> String {
        let end = self.tokens.last().map_or(0, Token::end);
        self.out.push_str(&self.text[end..]);
        self.out
    }

    fn open_call(&mut self, function: &str) {
        self.out.push(' ');
        self.out.push_str(function);
        self.out.push_str("((");
    }

    fn close_call(&mut self) {
        self.out.push_str("))");
    }

    /// Writes the tokens `from..to`, rewriting on the way. `is_fresh`: an expression starts here.
    fn emit(&mut self, from: usize, to: usize, is_fresh: bool) {
        let tokens = self.tokens;
        let mut at = from;
        // Ends of the containers that are being written.
        let mut open: Vec<usize> = Vec::new();
        while at < to {
            let token = &tokens[at];
            if at > from || is_fresh {
                let sum_end = if at == from || starts_sum(tokens, at) {
                    operand_end(tokens, at, to, Level::Sum)
                } else {
                    at
                };
                if sum_end > at && is_open_sum(&tokens[at..sum_end]) {
                    self.open_call(BOUNDED);
                    self.emit(at, sum_end, false);
                    self.close_call();
                    at = sum_end;
                    continue;
                }
            }
            self.space_before(at);
            if token.kind == Kind::Open && starts_operand(tokens, at) {
                if let Some(close) = container_end(tokens, at, to) {
                    self.out.push_str(BOUNDED);
                    self.out.push('(');
                    open.push(close);
                }
            }
            self.out.push_str(token.text);
            if open.last() == Some(&at) {
                self.out.push(')');
                open.pop();
            }
            at += 1;
            let (operator, filter, level) = if token.kind == Kind::String {
                ("%", PERCENT, Level::Factor)
            } else if is_escaping_filter(tokens, at - 1) {
                if at + 1 < to && tokens[at].is("(") && tokens[at + 1].is(")") {
                    self.out.push_str("()");
                    at += 2;
                }
                ("+", MARKUP_ADD, Level::Term)
            } else {
                continue;
            };
            while at < to && tokens[at].is(operator) {
                let end = operand_end(tokens, at + 1, to, level);
                if end == at + 1 {
                    break;
                }
                self.out.push('|');
                self.out.push_str(filter);
                self.out.push('(');
                self.emit(at + 1, end, true);
                self.out.push(')');
                at = end;
            }
        }
    }
}

/// Whether a whole expression may start at `at`, after what stands before it.
fn starts_sum(tokens: &[Token], at: usize) -> bool {
    let before = &tokens[at - 1];
    match before.kind {
        Kind::Open => true,
        Kind::String | Kind::Close => false,
        Kind::Operator => {
            matches!(before.text, "," | ":" | "=" | "==" | "!=" | "<" | ">" | "<=" | ">=")
        }
        Kind::Word => {
            matches!(before.text, "if" | "else" | "and" | "or" | "not" | "in")
                && !(at >= 2 && is_name_after(tokens, at - 1))
        }
    }
}

/// A sum in which no literal shows that it is one of text or numbers.
fn is_open_sum(tokens: &[Token]) -> bool {
    let mut depth = 0;
    let mut has_plus = false;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            _ if depth > 0 => {}
            Kind::String => {
                // An operand, unless it is the argument of something.
                return false;
            }
            Kind::Word if token.text.starts_with(|c: char| c.is_ascii_digit()) => return false,
            Kind::Word => {}
            Kind::Operator => {
                has_plus |= token.text == "+"
                    && index > 0
                    && tokens[index - 1].kind != Kind::Operator
                    && index + 1 < tokens.len();
            }
        }
    }
    has_plus
}

/// Whether the word at `at` is an attribute, a filter or a test and no keyword.
fn is_name_after(tokens: &[Token], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|index| &tokens[index]) else {
        return false;
    };
    before.is(".")
        || before.is("|")
        || before.is("is")
        || (before.is("not") && at >= 2 && tokens[at - 2].is("is"))
}

/// Whether what starts at `at` is an operand of its own and not a subscript or the arguments of
/// what stands before it.
fn starts_operand(tokens: &[Token], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|index| &tokens[index]) else {
        return true;
    };
    match before.kind {
        Kind::String | Kind::Close => false,
        Kind::Operator | Kind::Open => true,
        Kind::Word => {
            matches!(before.text, "if" | "elif" | "else" | "and" | "or" | "not" | "in" | "is")
                && !(before.text != "in" && is_name_after(tokens, at - 1))
        }
    }
}

/// The closing bracket of the list, dict or tuple that opens at `at`. None where the brackets hold
/// a single expression, or nothing that could make a deep value, or do not close.
fn container_end(tokens: &[Token], at: usize, to: usize) -> Option<usize> {
    let mut depth = 0;
    let mut has_comma = false;
    let mut has_name = false;
    for (index, token) in tokens[..to].iter().enumerate().skip(at) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => {
                depth -= 1;
                if depth == 0 {
                    let is_container = !tokens[at].is("(") || has_comma;
                    return (is_container && has_name).then_some(index);
                }
            }
            Kind::Operator => has_comma |= depth == 1 && token.text == ",",
            Kind::Word => has_name |= !token.text.starts_with(|c: char| c.is_ascii_digit()),
            Kind::String => {}
        }
    }
    None
}

fn is_escaping_filter(tokens: &[Token], at: usize) -> bool {
    at > 0
        && tokens[at - 1].is("|")
        && tokens[at].kind == Kind::Word
        && matches!(tokens[at].text, "safe" | "escape" | "e" | "forceescape")
}

/// How much an operand may contain: of a "%", of a "+", or a whole sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Factor,
    Term,
    Sum,
}

/// The end of the operand that starts at `from`: the next operator at the same bracket depth that
/// binds less tightly than `level` allows.
fn operand_end(tokens: &[Token], from: usize, to: usize, level: Level) -> usize {
    let mut depth = 0;
    for at in from..to {
        let token = &tokens[at];
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 0 => return at,
            Kind::Close => depth -= 1,
            _ if depth > 0 || at == from => {}
            Kind::Operator => {
                let ends = match token.text {
                    // A sign when it follows another operator.
                    "-" | "+" => level != Level::Sum && tokens[at - 1].kind != Kind::Operator,
                    "*" | "/" | "//" | "%" | "~" => level == Level::Factor,
                    "." | "|" | "**" => false,
                    _ => true,
                };
                if ends {
                    return at;
                }
            }
            Kind::Word => {
                let is_keyword =
                    matches!(token.text, "if" | "else" | "and" | "or" | "not" | "in" | "recursive");
                // "is not" and "is in" belong to a test.
                if is_keyword && !is_name_after(tokens, at) {
                    return at;
                }
            }
            Kind::String => {}
        }
    }
    to
}
