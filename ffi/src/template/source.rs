//! What happens to a template's text before minijinja reads it. Line ends become \n as in jinja2.
//! Transformers' `{% generation %}` blocks, which only mark what the assistant wrote, become
//! `{% with %}` blocks, which scope variables the same way and print their body. And some
//! expressions are written differently (operators.rs). Line numbers stay.

use super::operators;

/// Fails, with the line, for a tag that is too long.
pub fn prepare(source: &str) -> Result<String, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = find_opening(rest) {
        let tag = &rest[start..];
        let kind = tag.as_bytes()[1];
        out.push_str(&rest[..start]);
        let end = match kind {
            b'#' => tag[2..].find("#}").map(|at| at + 4),
            _ => end_of_tag(tag, if kind == b'%' { "%}" } else { "}}" }),
        };
        let Some(end) = end else {
            // Not closed: minijinja reports it with its line.
            rest = tag;
            break;
        };
        rest = &tag[end..];
        let word = first_word(tag);
        match (kind, word) {
            (b'#', _) => out.push_str(&tag[..end]),
            (b'%', "raw") => {
                let raw_end = end_of_raw(rest).unwrap_or(rest.len());
                out.push_str(&tag[..end + raw_end]);
                rest = &rest[raw_end..];
            }
            (b'%', "generation" | "endgeneration") => {
                let at = word.as_ptr() as usize - tag.as_ptr() as usize;
                out.push_str(&tag[..at]);
                out.push_str(if word == "generation" { "with" } else { "endwith" });
                out.push_str(&tag[at + word.len()..end]);
            }
            _ => {
                out.push_str(&tag[..2]);
                let Some(inside) = operators::rewrite(&tag[2..end - 2], kind == b'%') else {
                    let before = source.len() - tag.len();
                    let line = source[..before].matches('\n').count() + 1;
                    return Err(format!("a tag is too long (template line {line})"));
                };
                out.push_str(&inside);
                out.push_str(&tag[end - 2..end]);
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn find_opening(text: &str) -> Option<usize> {
    text.as_bytes()
        .windows(2)
        .position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

/// The offset after a tag's closing marker. The marker does not count inside of strings, nor
/// inside of brackets ("}}" also ends two nested dicts).
fn end_of_tag(tag: &str, closing: &str) -> Option<usize> {
    let bytes = tag.as_bytes();
    let mut at = 2;
    let mut depth = 0i64;
    while at < bytes.len() {
        if depth <= 0 && bytes[at..].starts_with(closing.as_bytes()) {
            return Some(at + 2);
        }
        match bytes[at] {
            b'"' | b'\'' => at = operators::end_of_string(bytes, at),
            b'(' | b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b')' | b']' | b'}' => {
                depth -= 1;
                at += 1;
            }
            _ => at += 1,
        }
    }
    None
}

fn first_word(tag: &str) -> &str {
    let body = tag[2..].trim_start_matches(['-', '+']).trim_start();
    let end = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
    &body[..end]
}

/// The offset after `{% endraw %}`.
fn end_of_raw(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(start) = text[from..].find("{%").map(|at| from + at) {
        let tag = &text[start..];
        if first_word(tag) == "endraw" {
            return tag.find("%}").map(|at| start + at + 2);
        }
        from = start + 2;
    }
    None
}
