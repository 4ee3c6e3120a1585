//! Methods of Python's str, dict, list and numbers. What minijinja-contrib's pycompat already does
//! as Python does is left to it; here are the methods it lacks or answers differently. Methods that
//! would change their object are refused, as transformers' immutable sandbox refuses them.

use minijinja::value::{from_args, Kwargs, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::text::as_float;
use super::views::{view, Part};

pub fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let done = match value.kind() {
        ValueKind::String => match value.as_str() {
            Some(text) => string_method(text, method, args),
            None => Ok(None),
        },
        ValueKind::Map => map_method(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => list_method(value, method, args),
        ValueKind::Number => number_method(value, method, args),
        _ => Ok(None),
    }?;
    match done {
        Some(result) => Ok(result),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// str.isspace of one character: Unicode's white space and the four separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// str.strip, lstrip (only left) and rstrip (only right) of the given or of white space characters.
pub fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let matches = |c: char| match chars {
        Some(set) => set.contains(c),
        None => is_space(c),
    };
    let mut out = text;
    if left {
        out = out.trim_start_matches(matches);
    }
    if right {
        out = out.trim_end_matches(matches);
    }
    out
}

fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase()
}

/// A letter at the start of a word: "ß" becomes "Ss".
fn push_titlecase(out: &mut String, c: char) {
    let mut upper = c.to_uppercase();
    out.extend(upper.next());
    out.extend(upper.flat_map(char::to_lowercase));
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            push_titlecase(&mut out, c);
        }
        in_word = is_cased(c);
    }
    out
}

pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => {
            let mut out = String::new();
            push_titlecase(&mut out, first);
            out + &chars.as_str().to_lowercase()
        }
        None => String::new(),
    }
}

fn swapcase(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
    }
    out
}

/// Python's split on runs of white space, at most `limit` times, from the left or right.
fn split_space(text: &str, limit: Option<usize>, from_right: bool) -> Vec<String> {
    // White space at the far end stays with the part that is not split further.
    let mut parts = Vec::new();
    let mut rest = strip(text, None, !from_right, from_right);
    while !rest.is_empty() {
        let cut = if limit == Some(parts.len()) {
            None
        } else if from_right {
            rest.char_indices()
                .rev()
                .find(|(_, c)| is_space(*c))
                .map(|(at, c)| (at + c.len_utf8(), at))
        } else {
            rest.find(is_space).map(|at| (at, at))
        };
        let Some((word, space)) = cut else {
            parts.push(rest.to_string());
            break;
        };
        if from_right {
            parts.push(rest[word..].to_string());
            rest = strip(&rest[..space], None, false, true);
        } else {
            parts.push(rest[..word].to_string());
            rest = strip(&rest[space..], None, true, false);
        }
    }
    if from_right {
        parts.reverse();
    }
    parts
}

fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (sep, maxsplit, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let sep = match sep {
        Some(sep) => Some(sep),
        None => kwargs.get::<Option<&str>>("sep")?,
    };
    let maxsplit = match maxsplit {
        Some(limit) => limit,
        None => kwargs.get::<Option<i64>>("maxsplit")?.unwrap_or(-1),
    };
    kwargs.assert_all_used()?;
    let limit = usize::try_from(maxsplit).ok();
    let parts = match sep {
        None => split_space(text, limit, from_right),
        Some("") => return Err(invalid("split: empty separator")),
        Some(sep) => {
            let count = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
            if from_right {
                let mut parts: Vec<String> = text.rsplitn(count, sep).map(String::from).collect();
                parts.reverse();
                parts
            } else {
                text.splitn(count, sep).map(String::from).collect()
            }
        }
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

pub fn splitlines(text: &str, keep_ends: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let is_end = matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if !is_end {
            continue;
        }
        let mut next = at + c.len_utf8();
        if c == '\r' && chars.peek().is_some_and(|(_, follow)| *follow == '\n') {
            chars.next();
            next += 1;
        }
        lines.push(text[start..if keep_ends { next } else { at }].to_string());
        start = next;
    }
    if start < text.len() {
        lines.push(text[start..].to_string());
    }
    lines
}

/// The part of `text` that Python's start and end arguments select, and its offset in characters.
/// None where start lies past the end, where not even an empty string is found.
fn window(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(&str, usize)> {
    if start.is_none() && end.is_none() {
        return Some((text, 0));
    }
    let len = text.chars().count() as i64;
    let from_end = |index: i64| if index < 0 { (index + len).max(0) } else { index };
    let start = from_end(start.unwrap_or(0));
    let end = from_end(end.unwrap_or(len)).min(len);
    if start > end {
        return None;
    }
    let byte_at = |index: i64| {
        text.char_indices().nth(index as usize).map_or(text.len(), |(offset, _)| offset)
    };
    Some((&text[byte_at(start)..byte_at(end)], start as usize))
}

fn find(text: &str, args: &[Value], from_right: bool) -> Result<Option<usize>, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let Some((part, offset)) = window(text, start, end) else {
        return Ok(None);
    };
    let found = if from_right { part.rfind(what) } else { part.find(what) };
    Ok(found.map(|at| offset + part[..at].chars().count()))
}

fn starts_or_ends(text: &str, method: &str, args: &[Value]) -> Result<bool, Error> {
    let (what, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let Some((part, _)) = window(text, start, end) else {
        return Ok(false);
    };
    let holds = |affix: &str| {
        if method == "startswith" {
            part.starts_with(affix)
        } else {
            part.ends_with(affix)
        }
    };
    if let Some(affix) = what.as_str() {
        return Ok(holds(affix));
    }
    let wrong = || invalid(format!("{method} takes a string or a tuple of strings"));
    if !what.is_tuple() {
        return Err(wrong());
    }
    for affix in what.try_iter()? {
        if holds(affix.as_str().ok_or_else(wrong)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn count(text: &str, args: &[Value]) -> Result<usize, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    Ok(match window(text, start, end) {
        None => 0,
        Some((part, _)) if what.is_empty() => part.chars().count() + 1,
        Some((part, _)) => part.matches(what).count(),
    })
}

pub fn replace(text: &str, old: &str, new: &str, count: i64) -> Result<String, Error> {
    const BYTES_MAX: usize = 1 << 28;
    let times = text.matches(old).count().min(usize::try_from(count).unwrap_or(usize::MAX));
    if times.saturating_mul(new.len()).saturating_add(text.len()) > BYTES_MAX {
        return Err(invalid(format!("replace: the result is longer than {BYTES_MAX} bytes")));
    }
    Ok(text.replacen(old, new, times))
}

fn partition(text: &str, sep: &str, from_right: bool) -> Result<Value, Error> {
    if sep.is_empty() {
        return Err(invalid("partition: empty separator"));
    }
    let found = if from_right { text.rsplit_once(sep) } else { text.split_once(sep) };
    let parts = match found {
        Some((before, after)) => [before, sep, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

const WIDTH_MAX: usize = 1 << 20;

/// str.ljust, rjust, center and zfill.
pub fn justify(text: &str, method: &str, args: &[Value]) -> Result<String, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let mut fill_chars = fill.unwrap_or(" ").chars();
    let (Some(mut fill), None) = (fill_chars.next(), fill_chars.next()) else {
        return Err(invalid(format!("{method}: the fill must be one character")));
    };
    let len = text.chars().count();
    let width = usize::try_from(width).unwrap_or(0);
    if width > WIDTH_MAX {
        return Err(invalid(format!("{method}: a width above {WIDTH_MAX}")));
    }
    let missing = width.saturating_sub(len);
    let (sign, body) = match method {
        "zfill" => {
            fill = '0';
            text.split_at(usize::from(text.starts_with(['+', '-'])))
        }
        _ => ("", text),
    };
    let left = match method {
        "ljust" => 0,
        // An odd space goes left where the width is odd too, as CPython has it.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let pad = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
    Ok(format!("{sign}{}{body}{}", pad(left), pad(missing - left)))
}

fn expandtabs(text: &str, size: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = if size == 0 { 0 } else { size - column % size };
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            _ => {
                column = if c == '\n' || c == '\r' { 0 } else { column + 1 };
                out.push(c);
            }
        }
    }
    out
}

fn join(separator: &str, items: &Value) -> Result<String, Error> {
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        let Some(text) = item.as_str() else {
            return Err(invalid(format!(
                "join: item {index} is of type {}, a string is needed",
                item.kind()
            )));
        };
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
    }
    Ok(out)
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let index = |found: Option<usize>| found.map_or(-1, |at| at as i64);
    let optional_chars = || -> Result<Option<&str>, Error> {
        let (chars,): (Option<&str>,) = from_args(args)?;
        Ok(chars)
    };
    Ok(Some(match method {
        "strip" => Value::from(strip(text, optional_chars()?, true, true)),
        "lstrip" => Value::from(strip(text, optional_chars()?, true, false)),
        "rstrip" => Value::from(strip(text, optional_chars()?, false, true)),
        "title" => Value::from(title(text)),
        "capitalize" => Value::from(capitalize(text)),
        "swapcase" => Value::from(swapcase(text)),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "splitlines" => {
            let (keep, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = match keep {
                Some(keep) => keep,
                None => kwargs.get::<Option<bool>>("keepends")?.unwrap_or(false),
            };
            kwargs.assert_all_used()?;
            splitlines(text, keep).into_iter().map(Value::from).collect()
        }
        "find" => Value::from(index(find(text, args, false)?)),
        "rfind" => Value::from(index(find(text, args, true)?)),
        "index" | "rindex" => match find(text, args, method == "rindex")? {
            Some(at) => Value::from(at),
            None => return Err(invalid("index: substring not found")),
        },
        "count" => Value::from(count(text, args)?),
        "startswith" | "endswith" => Value::from(starts_or_ends(text, method, args)?),
        "replace" => {
            let (old, new, times, kwargs): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
            let times = match times {
                Some(times) => times,
                None => kwargs.get::<Option<i64>>("count")?.unwrap_or(-1),
            };
            kwargs.assert_all_used()?;
            Value::from(replace(text, old, new, times)?)
        }
        "partition" | "rpartition" => {
            let (sep,): (&str,) = from_args(args)?;
            partition(text, sep, method == "rpartition")?
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "ljust" | "rjust" | "center" | "zfill" => Value::from(justify(text, method, args)?),
        "expandtabs" => {
            let (size,): (Option<u16>,) = from_args(args)?;
            Value::from(expandtabs(text, size.unwrap_or(8).into()))
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            Value::from(join(text, items)?)
        }
        "istitle" => {
            let mut in_word = false;
            let mut any = false;
            let ok = text.chars().all(|c| {
                let fits = !is_cased(c) || c.is_uppercase() != in_word;
                in_word = is_cased(c);
                any |= in_word;
                fits
            });
            Value::from(ok && any)
        }
        "format" => {
            // A width of a thousand million would be filled with spaces.
            let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
            if digits.unwrap_or(0) > 4 && text.contains(':') {
                return Err(invalid("format: a width above 9999"));
            }
            return Ok(None);
        }
        "isspace" => Value::from(!text.is_empty() && text.chars().all(is_space)),
        "isidentifier" => {
            let mut chars = text.chars();
            let first = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic());
            Value::from(first && chars.all(|c| c == '_' || c.is_alphanumeric()))
        }
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        _ => return Ok(None),
    }))
}

fn immutable(method: &str, kind: &str) -> Error {
    invalid(format!("{method}() would change a {kind}, which templates may not"))
}

fn map_method(map: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let Some(object) = map.as_object() else {
        return Ok(None);
    };
    Ok(Some(match method {
        "keys" => {
            let () = from_args(args)?;
            view(object, Part::Keys)
        }
        "values" => {
            let () = from_args(args)?;
            view(object, Part::Values)
        }
        "items" => {
            let () = from_args(args)?;
            view(object, Part::Items)
        }
        "copy" => {
            let () = from_args(args)?;
            map.clone()
        }
        "clear" | "pop" | "popitem" | "setdefault" | "update" => {
            return Err(immutable(method, "dict"))
        }
        _ => return Ok(None),
    }))
}

fn list_method(list: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "index" => {
            let (what, start): (&Value, Option<usize>) = from_args(args)?;
            let start = start.unwrap_or(0);
            let found = list.try_iter()?.enumerate().skip(start).find(|(_, item)| item == what);
            match found {
                Some((at, _)) => Value::from(at),
                None => return Err(invalid("index: the value is not in the list")),
            }
        }
        "count" => {
            let (what,): (&Value,) = from_args(args)?;
            Value::from(list.try_iter()?.filter(|item| item == what).count())
        }
        "copy" => {
            let () = from_args(args)?;
            list.clone()
        }
        "append" | "clear" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" => {
            return Err(immutable(method, "list"))
        }
        _ => return Ok(None),
    }))
}

fn number_method(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "is_integer" => {
            let () = from_args(args)?;
            Value::from(as_float(value).is_none_or(|number| number.fract() == 0.0))
        }
        "bit_length" if value.is_integer() => {
            let () = from_args(args)?;
            let magnitude = i128::try_from(value.clone())?.unsigned_abs();
            Value::from(u128::BITS - magnitude.leading_zeros())
        }
        _ => return Ok(None),
    }))
}
