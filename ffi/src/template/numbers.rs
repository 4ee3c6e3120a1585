//! Python's int() and float() of strings, as jinja2's filters of that name use them.

/// Digits with single underscores between them, without the underscores.
fn plain_digits(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let digit = |index: Option<usize>| {
            index.and_then(|index| bytes.get(index)).is_some_and(u8::is_ascii_alphanumeric)
        };
        if *byte == b'_' && !(digit(at.checked_sub(1)) && digit(Some(at + 1))) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

/// int(text, base); None where Python raises.
pub fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = super::methods::strip(text, None, true, true);
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = body.to_ascii_lowercase();
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, of)| lower.strip_prefix(prefix).map(|digits| (digits, of)));
    let (digits, base) = match prefixed {
        Some((digits, of)) if base == of || base == 0 => {
            (digits.strip_prefix('_').unwrap_or(digits), of)
        }
        _ if base == 0 => {
            let is_zero = lower.chars().all(|c| matches!(c, '0' | '_'));
            if lower.len() > 1 && lower.starts_with('0') && !is_zero {
                return None;
            }
            (lower.as_str(), 10)
        }
        _ => (lower.as_str(), base),
    };
    if !(2..=36).contains(&base) || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(&plain_digits(digits)?, base).ok()?;
    Some(if negative { -value } else { value })
}

/// float(text); None where Python raises.
pub fn parse_float(text: &str) -> Option<f64> {
    let text = super::methods::strip(text, None, true, true);
    plain_digits(text)?.parse::<f64>().ok()
}
