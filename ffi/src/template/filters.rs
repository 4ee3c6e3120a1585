//! Filters, tests and functions whose results differ between minijinja and jinja2, and those that
//! minijinja lacks.

use minijinja::filters as builtin;
use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::generator::{generator, is_generator};
use super::text::{as_float, json_of, str_of, JsonStyle};
use super::{limits, methods, numbers, operators, views};

pub fn register(environment: &mut Environment) {
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", string);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter("trim", trim);
    environment.add_filter("replace", replace);
    environment.add_filter("capitalize", |value: &Value| methods::capitalize(&str_of(value)));
    environment.add_filter("center", center);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("truncate", truncate);
    environment.add_filter("urlencode", |value: &Value| urlencode(&str_of(value)));
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("forceescape", force_escape);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("sort", sort);
    environment.add_filter("unique", unique);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("reverse", reverse);
    environment.add_filter("items", |value: &Value| once(builtin::items(value)?));
    environment.add_filter("map", |state: &mut State, value: Value, args: Rest<ValueOrKwargs>| {
        builtin::map(state, value, args).map(generator)
    });
    environment.add_filter("select", select);
    environment.add_filter("reject", reject);
    environment.add_filter("selectattr", selectattr);
    environment.add_filter("rejectattr", rejectattr);
    environment.add_filter("batch", batch);
    environment.add_filter("slice", slice);
    environment.add_filter("groupby", groupby);
    environment.remove_filter("zip");
    environment.remove_filter("chain");
    environment.add_filter(operators::PERCENT, percent);
    environment.add_filter(operators::MARKUP_ADD, markup_add);

    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_test("callable", |value: &Value| {
        value.kind() == ValueKind::Plain && !value.is_undefined()
    });

    environment.add_function(operators::BOUNDED, limits::bounded);
    environment.add_function(operators::KEPT, limits::kept);
    environment.add_function("namespace", limits::namespace);
    environment.add_function("dict", dict);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment
        .add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn once(items: Value) -> Result<Value, Error> {
    Ok(generator(items.try_iter()?.collect()))
}

fn once_bounded(state: &State, items: Value) -> Result<Value, Error> {
    once(limits::bounded(state, items)?)
}

fn batch(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    once_bounded(state, builtin::batch(state, value, count, fill)?)
}

fn slice(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    once_bounded(state, builtin::slice(state, value, count, fill)?)
}

fn groupby(
    state: &State,
    value: Value,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    limits::bounded(state, builtin::groupby(value, attribute, kwargs)?)
}

/// The arguments given by position, under their names, together with those given by name.
fn named(positional: &[(&str, &Option<Value>)], kwargs: &Kwargs) -> Result<Kwargs, Error> {
    let mut all: Vec<(String, Value)> = positional
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name.to_string(), value.clone())))
        .collect();
    for name in kwargs.args() {
        all.push((name.to_string(), kwargs.get::<Value>(name)?));
    }
    Ok(all.into_iter().collect())
}

/// transformers' tojson: json.dumps with its defaults except ensure_ascii.
fn tojson(
    value: &Value,
    ensure_ascii: Option<Value>,
    indent: Option<Value>,
    separators: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let kwargs = named(
        &[("ensure_ascii", &ensure_ascii), ("indent", &indent), ("separators", &separators)],
        &kwargs,
    )?;
    let flag = |name: &str| -> Result<bool, Error> {
        Ok(kwargs.get::<Option<Value>>(name)?.is_some_and(|value| value.is_true()))
    };
    let (ensure_ascii, sort_keys) = (flag("ensure_ascii")?, flag("sort_keys")?);
    let indent = kwargs.get::<Option<Value>>("indent")?;
    let separators = kwargs.get::<Option<Value>>("separators")?;
    kwargs.assert_all_used()?;
    let indent = match indent.filter(|given| !given.is_none()) {
        None => None,
        Some(given) => Some(match given.as_str() {
            Some(text) => text.to_string(),
            None => {
                let width = i64::try_from(given.clone())
                    .map_err(|_| invalid("tojson: indent must be a number or a string"))?;
                " ".repeat(width.clamp(0, 64) as usize)
            }
        }),
    };
    let (item_separator, key_separator) = match separators.filter(|given| !given.is_none()) {
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        Some(given) => {
            let parts: Vec<Value> = given.try_iter()?.collect();
            match parts.as_slice() {
                [item, key] if item.as_str().is_some() && key.as_str().is_some() => {
                    (str_of(item), str_of(key))
                }
                _ => return Err(invalid("tojson: separators must be two strings")),
            }
        }
    };
    json_of(value, &JsonStyle { ensure_ascii, sort_keys, indent, item_separator, key_separator })
}

fn string(value: &Value) -> Value {
    match value.kind() {
        ValueKind::String => value.clone(),
        _ => Value::from(str_of(value)),
    }
}

fn join(
    value: &Value,
    separator: Option<Value>,
    attribute: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let kwargs = named(&[("d", &separator), ("attribute", &attribute)], &kwargs)?;
    let separator = kwargs.get::<Option<Value>>("d")?.map_or(String::new(), |d| str_of(&d));
    let attribute = kwargs.get::<Option<Value>>("attribute")?;
    kwargs.assert_all_used()?;
    let mut out = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            out.push_str(&separator);
        }
        let mut item = item;
        if let Some(attribute) = &attribute {
            for part in str_of(attribute).split('.') {
                item = match part.parse::<usize>() {
                    Ok(index) => item.get_item(&Value::from(index))?,
                    Err(_) => item.get_attr(part)?,
                };
            }
        }
        match item.as_str() {
            Some(text) => out.push_str(text),
            None => out.push_str(&str_of(&item)),
        }
    }
    Ok(out)
}

fn indent(
    value: &Value,
    width: Option<Value>,
    first: Option<Value>,
    blank: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let kwargs = named(&[("width", &width), ("first", &first), ("blank", &blank)], &kwargs)?;
    let width = kwargs.get::<Option<Value>>("width")?;
    let flag = |name: &str| -> Result<bool, Error> {
        Ok(kwargs.get::<Option<Value>>(name)?.is_some_and(|value| value.is_true()))
    };
    let (first, blank) = (flag("first")?, flag("blank")?);
    kwargs.assert_all_used()?;
    let indention = match width {
        None => "    ".to_string(),
        Some(width) => match width.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(i64::try_from(width)?.clamp(0, 1000)).unwrap_or(0)),
        },
    };
    // jinja2 appends a line end first, so that text ending in one keeps it.
    let text = str_of(value) + "\n";
    let lines = methods::splitlines(&text, false);
    let mut out = String::with_capacity(text.len() + lines.len() * indention.len());
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let wanted = if index == 0 { first } else { blank || !line.is_empty() };
        if wanted {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn trim(value: &Value, chars: Option<&str>, kwargs: Kwargs) -> Result<String, Error> {
    let chars = match chars {
        Some(chars) => Some(chars),
        None => kwargs.get::<Option<&str>>("chars")?,
    };
    kwargs.assert_all_used()?;
    Ok(methods::strip(&str_of(value), chars, true, true).to_string())
}

fn replace(
    value: &Value,
    old: Option<Value>,
    new: Option<Value>,
    count: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let kwargs = named(&[("old", &old), ("new", &new), ("count", &count)], &kwargs)?;
    let (old, new) = (kwargs.get::<Value>("old")?, kwargs.get::<Value>("new")?);
    let count = kwargs.get::<Option<i64>>("count")?.unwrap_or(-1);
    kwargs.assert_all_used()?;
    methods::replace(&str_of(value), &str_of(&old), &str_of(&new), count)
}

fn center(value: &Value, width: Option<i64>) -> Result<String, Error> {
    methods::justify(&str_of(value), "center", &[Value::from(width.unwrap_or(80))])
}

fn wordcount(value: &Value) -> usize {
    str_of(value)
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .count()
}

fn truncate(
    value: &Value,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<String>,
    leeway: Option<usize>,
) -> Result<String, Error> {
    let (length, leeway) = (length.unwrap_or(255), leeway.unwrap_or(5));
    let end = end.unwrap_or_else(|| "...".to_string());
    let text: Vec<char> = str_of(value).chars().collect();
    let end_length = end.chars().count();
    if length < end_length {
        return Err(invalid("truncate: the length is below that of the end"));
    }
    if text.len() <= length.saturating_add(leeway) {
        return Ok(text.into_iter().collect());
    }
    let cut: String = text[..length - end_length].iter().collect();
    let kept = match cut.rfind(' ') {
        Some(at) if !killwords.unwrap_or(false) => &cut[..at],
        _ => cut.as_str(),
    };
    Ok(format!("{kept}{end}"))
}

fn urlencode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' | b'/' => {
                out.push(byte as char)
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            _ => out.push(c),
        }
    }
    out
}

fn force_escape(value: &Value) -> Value {
    Value::from_safe_string(escaped(&str_of(value)))
}

fn escape(value: &Value) -> Value {
    if value.is_safe() {
        value.clone()
    } else {
        force_escape(value)
    }
}

/// `+` where the left side may be marked safe: markupsafe then escapes the right side.
fn markup_add(left: &Value, right: &Value) -> Result<Value, Error> {
    let (Some(start), Some(end)) = (left.as_str(), right.as_str()) else {
        return Err(invalid(format!("cannot add {} and {}", left.kind(), right.kind())));
    };
    Ok(match (left.is_safe(), right.is_safe()) {
        (false, false) => Value::from(format!("{start}{end}")),
        (true, true) => Value::from_safe_string(format!("{start}{end}")),
        (true, false) => Value::from_safe_string(format!("{start}{}", escaped(end))),
        (false, true) => Value::from_safe_string(format!("{}{end}", escaped(start))),
    })
}

/// `"..." % args`.
fn percent(state: &mut State, format: &Value, args: &Value) -> Result<Value, Error> {
    let args: Vec<Value> =
        if args.is_tuple() { args.try_iter()?.collect() } else { vec![args.clone()] };
    // Lists and dicts print as Python prints them.
    let args = args
        .into_iter()
        .map(|arg| match arg.kind() {
            ValueKind::Seq | ValueKind::Iterable => Value::from(str_of(&arg)),
            _ => arg,
        })
        .map(ValueOrKwargs::from);
    builtin::format(state, format, Rest(args.collect()))
}

fn int(
    value: &Value,
    default: Option<Value>,
    base: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let kwargs = named(&[("default", &default), ("base", &base)], &kwargs)?;
    let default = kwargs.get::<Option<Value>>("default")?.unwrap_or(Value::from(0));
    let base = kwargs.get::<Option<u32>>("base")?.unwrap_or(10);
    kwargs.assert_all_used()?;
    let truncated = |number: f64| {
        if number.is_finite() && number.abs() < 1e38 {
            Some(Value::from(number as i128))
        } else {
            None
        }
    };
    let converted = if let Some(text) = value.as_str() {
        match numbers::parse_int(text, base) {
            Some(number) => Some(Value::from(number)),
            None => numbers::parse_float(text).and_then(truncated),
        }
    } else if let Some(number) = as_float(value) {
        truncated(number)
    } else if value.kind() == ValueKind::Bool {
        Some(Value::from(i64::from(value.is_true())))
    } else {
        Some(value.clone()).filter(|value| value.is_integer())
    };
    Ok(converted.unwrap_or(default))
}

fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let kwargs = named(&[("default", &default)], &kwargs)?;
    let default = kwargs.get::<Option<Value>>("default")?.unwrap_or(Value::from(0.0));
    kwargs.assert_all_used()?;
    let converted = if let Some(text) = value.as_str() {
        numbers::parse_float(text)
    } else if value.kind() == ValueKind::Bool {
        Some(if value.is_true() { 1.0 } else { 0.0 })
    } else {
        f64::try_from(value.clone()).ok()
    };
    Ok(converted.map_or(default, Value::from))
}

fn default(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let (positional, kwargs) = match args.split_last() {
        Some((last, rest)) if last.is_kwargs() => (rest, Kwargs::try_from(last.clone())?),
        _ => (&args[..], Kwargs::from_iter(std::iter::empty::<(String, Value)>())),
    };
    if positional.len() > 2 {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let argument = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        match positional.get(index) {
            Some(given) => Ok(Some(given.clone())),
            None if kwargs.has(name) => kwargs.get::<Value>(name).map(Some),
            None => Ok(None),
        }
    };
    let other = argument(0, "default_value")?.unwrap_or(Value::from(""));
    let boolean = argument(1, "boolean")?.is_some_and(|flag| flag.is_true());
    kwargs.assert_all_used()?;
    let replaced = value.is_undefined() || (boolean && !value.is_true());
    Ok(if replaced { other } else { value.clone() })
}

type Text<'a> = std::borrow::Cow<'a, str>;
type Arguments = Rest<ValueOrKwargs>;

fn select(
    state: &mut State,
    value: Value,
    test: Option<Text<'_>>,
    args: Arguments,
) -> Result<Value, Error> {
    builtin::select(state, value, test, args).map(generator)
}

fn reject(
    state: &mut State,
    value: Value,
    test: Option<Text<'_>>,
    args: Arguments,
) -> Result<Value, Error> {
    builtin::reject(state, value, test, args).map(generator)
}

fn selectattr(
    state: &mut State,
    value: Value,
    attribute: Text<'_>,
    test: Option<Text<'_>>,
    args: Arguments,
) -> Result<Value, Error> {
    builtin::selectattr(state, value, attribute, test, args).map(generator)
}

fn rejectattr(
    state: &mut State,
    value: Value,
    attribute: Text<'_>,
    test: Option<Text<'_>>,
    args: Arguments,
) -> Result<Value, Error> {
    builtin::rejectattr(state, value, attribute, test, args).map(generator)
}

fn sort(
    state: &State,
    value: Value,
    reverse: Option<Value>,
    case_sensitive: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let kwargs = named(&[("reverse", &reverse), ("case_sensitive", &case_sensitive)], &kwargs)?;
    builtin::sort(state, value, kwargs)
}

fn unique(
    state: &State,
    value: Value,
    case_sensitive: Option<Value>,
    attribute: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let kwargs = named(&[("case_sensitive", &case_sensitive), ("attribute", &attribute)], &kwargs)?;
    once(builtin::unique(state, value, kwargs)?)
}

fn dictsort(
    value: &Value,
    case_sensitive: Option<Value>,
    by: Option<Value>,
    reverse: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let kwargs =
        named(&[("case_sensitive", &case_sensitive), ("by", &by), ("reverse", &reverse)], &kwargs)?;
    builtin::dictsort(value, kwargs)
}

fn reverse(value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => Ok(Value::from(text.chars().rev().collect::<String>())),
        None => once(builtin::reverse(value)?),
    }
}

/// jinja2 asks for a length and subscripts, which strings and dicts have too.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map => true,
        ValueKind::Iterable => views::name_of(value).is_none() && !is_generator(value),
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    value.is_undefined()
        || matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
        )
}

fn dict(state: &State, value: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    match value {
        None => {}
        Some(value) if value.kind() == ValueKind::Map => {
            for key in value.try_iter()? {
                let item = value.get_item(&key)?;
                pairs.push((key, item));
            }
        }
        Some(value) => {
            for pair in value.try_iter()? {
                let pair: Vec<Value> = pair.try_iter()?.collect();
                match <[Value; 2]>::try_from(pair) {
                    Ok([key, item]) => pairs.push((key, item)),
                    Err(_) => return Err(invalid("dict: an entry is not a pair")),
                }
            }
        }
    }
    for name in kwargs.args() {
        pairs.push((Value::from(name), kwargs.get::<Value>(name)?));
    }
    limits::bounded(state, Value::from_pairs(pairs))
}
