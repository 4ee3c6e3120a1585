//! Values as Python writes them: str(), repr() and json.dumps().

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Deeper containers are cut short as "..." in text and refused in JSON.
const DEPTH_MAX: usize = 200;

pub fn str_of(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_string(),
        None if value.is_undefined() => String::new(),
        None => {
            let mut out = String::new();
            write_repr(&mut out, value, 0);
            out
        }
    }
}

pub fn repr_of(value: &Value) -> String {
    let mut out = String::new();
    write_repr(&mut out, value, 0);
    out
}

pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    // Rust's shortest digits that read back as the same float are Python's too; what differs is
    // when an exponent is used and how it is written.
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        }
    } else {
        format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}

/// The value of a float, None for everything else (integers included).
pub fn as_float(value: &Value) -> Option<f64> {
    if value.is_number() && !value.is_integer() && value.kind() == ValueKind::Number {
        f64::try_from(value.clone()).ok()
    } else {
        None
    }
}

fn write_string_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            _ if is_printable(c) => out.push(c),
            _ => {
                let code = c as u32;
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Python's str.isprintable. Rust's escape_debug of a string goes by the same rule, apart from a
/// combining mark at its very start, which the leading letter avoids.
fn is_printable(c: char) -> bool {
    let mut probe = ['a'; 2];
    probe[1] = c;
    probe.iter().collect::<String>().escape_debug().nth(1) == Some(c)
}

fn write_repr(out: &mut String, value: &Value, depth: usize) {
    if let Some(text) = value.as_str() {
        write_string_repr(out, text);
        return;
    }
    if let Some(number) = as_float(value) {
        out.push_str(&float_repr(number));
        return;
    }
    if depth > DEPTH_MAX {
        out.push_str("...");
        return;
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Map => {
            out.push('{');
            for (index, (key, item)) in entries(value).enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(out, &key, depth + 1);
                out.push_str(": ");
                write_repr(out, &item, depth + 1);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let view = super::views::name_of(value);
            let (open, close) = match view {
                Some(_) => ("([", "])"),
                None if value.is_tuple() => ("(", ")"),
                None => ("[", "]"),
            };
            out.push_str(view.unwrap_or(""));
            out.push_str(open);
            let mut count = 0;
            for item in value.try_iter().into_iter().flatten() {
                if count > 0 {
                    out.push_str(", ");
                }
                write_repr(out, &item, depth + 1);
                count += 1;
            }
            if value.is_tuple() && count == 1 {
                out.push(',');
            }
            out.push_str(close);
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

fn entries(map: &Value) -> impl Iterator<Item = (Value, Value)> + '_ {
    let object = map.as_object();
    object.and_then(|object| object.try_iter_pairs()).into_iter().flatten()
}

/// The arguments of json.dumps that templates can set.
pub struct JsonStyle {
    pub ensure_ascii: bool,
    pub sort_keys: bool,
    /// The text of one level.
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
}

pub fn json_of(value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut out = String::new();
    write_json(&mut out, value, style, 0)?;
    Ok(out)
}

fn write_json_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if c < ' ' || (ensure_ascii && c > '~') => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn json_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_string()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_string()
    } else {
        float_repr(value)
    }
}

fn newline(out: &mut String, style: &JsonStyle, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn write_json(
    out: &mut String,
    value: &Value,
    style: &JsonStyle,
    depth: usize,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::new(
            ErrorKind::BadSerialization,
            format!("tojson: nested deeper than {DEPTH_MAX} levels"),
        ));
    }
    if let Some(text) = value.as_str() {
        write_json_string(out, text, style.ensure_ascii);
        return Ok(());
    }
    if let Some(number) = as_float(value) {
        out.push_str(&json_float(number));
        return Ok(());
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => {
            let _ = write!(out, "{value}");
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut first = true;
            for item in value.try_iter()? {
                if !first {
                    out.push_str(&style.item_separator);
                }
                first = false;
                newline(out, style, depth + 1);
                write_json(out, &item, style, depth + 1)?;
            }
            if !first {
                newline(out, style, depth);
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut pairs: Vec<(Value, Value)> = entries(value).collect();
            if style.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            out.push('{');
            for (index, (key, item)) in pairs.iter().enumerate() {
                if index > 0 {
                    out.push_str(&style.item_separator);
                }
                newline(out, style, depth + 1);
                write_json_string(out, &json_key(key)?, style.ensure_ascii);
                out.push_str(&style.key_separator);
                write_json(out, item, style, depth + 1)?;
            }
            if !pairs.is_empty() {
                newline(out, style, depth);
            }
            out.push('}');
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("tojson: a value of type {kind} cannot be written as JSON"),
            ))
        }
    }
    Ok(())
}

fn json_key(key: &Value) -> Result<String, Error> {
    if let Some(text) = key.as_str() {
        return Ok(text.to_string());
    }
    if let Some(number) = as_float(key) {
        return Ok(json_float(number));
    }
    match key.kind() {
        ValueKind::None => Ok("null".to_string()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_string()),
        ValueKind::Number => Ok(key.to_string()),
        kind => Err(Error::new(
            ErrorKind::BadSerialization,
            format!("tojson: a value of type {kind} cannot be a key"),
        )),
    }
}
