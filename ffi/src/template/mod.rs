//! Chat templates, rendered as Hugging Face transformers renders them with Python's jinja2.
//! minijinja brings the language; the modules here make up for where Python shows through:
//! source (what jinja2's lexer and transformers' extension do to the text), text (Python's str,
//! repr and JSON), methods, filters, strftime. No template can reach the outside: there is no
//! loader, and time comes in as an argument.

mod filters;
mod generator;
mod json;
mod limits;
mod methods;
mod numbers;
mod operators;
mod source;
mod strftime;
mod text;
mod views;

use std::collections::HashSet;
use std::io;

use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use crate::{Failure, Status};

const NAME: &str = "chat";
/// Real templates stay below 50 kB.
const SOURCE_BYTES_MAX: usize = 1 << 18;
/// Nesting of calls, loops and blocks at run time.
const RECURSION_MAX: usize = 200;

pub struct Limits {
    /// About one per template instruction, and one per 64 bytes of text built on the way.
    pub steps: u64,
    pub output_bytes: u64,
}

pub struct Variable {
    pub name: String,
    pub is_json: bool,
    value: Value,
}

impl Variable {
    pub fn text(name: &str, value: &str) -> Variable {
        Variable { name: name.to_string(), is_json: false, value: Value::from(value) }
    }

    pub fn json(name: &str, value: &str) -> Result<Variable, Failure> {
        Ok(Variable { name: name.to_string(), is_json: true, value: parse_json(name, value)? })
    }

    /// One variable for each entry of an object.
    pub fn json_entries(what: &str, value: &str) -> Result<Vec<Variable>, Failure> {
        let parsed = parse_json(what, value)?;
        let pairs = parsed
            .as_object()
            .filter(|_| parsed.kind() == ValueKind::Map)
            .and_then(|object| object.try_iter_pairs());
        let Some(pairs) = pairs else {
            return Err(Failure::new(Status::BadInput, format!("{what}: a JSON object is needed")));
        };
        Ok(pairs
            .map(|(name, value)| Variable { name: text::str_of(&name), is_json: true, value })
            .collect())
    }
}

fn parse_json(what: &str, value: &str) -> Result<Value, Failure> {
    json::parse(value)
        .map_err(|error| Failure::new(Status::BadInput, format!("{what}: not valid JSON: {error}")))
}

pub struct Template {
    environment: Environment<'static>,
    reads: HashSet<String>,
}

/// Marks an error that the template itself raised, whose text is meant for the user as it is.
#[derive(Debug)]
struct Raised;

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("raised by the template")
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, text::str_of(&message)).with_source(Raised))
}

impl Template {
    pub fn compile(source: &str) -> Result<Template, Failure> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(Failure::new(
                Status::BadSource,
                format!("the template has {} bytes, the limit is {SOURCE_BYTES_MAX}", source.len()),
            ));
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_debug(false);
        let syntax = minijinja::syntax::SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| Failure::new(Status::Panic, error.to_string()))?;
        environment.set_syntax(syntax);
        environment.set_formatter(|out, _state, value| {
            if let Some(text) = value.as_str() {
                out.write_str(text)?;
            } else {
                out.write_str(&text::str_of(value))?;
            }
            Ok(())
        });
        environment.set_unknown_method_callback(methods::call);
        environment.add_function("raise_exception", raise_exception);
        environment.remove_global("debug");
        filters::register(&mut environment);
        let source =
            source::prepare(source).map_err(|message| Failure::new(Status::BadSource, message))?;
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| describe(&error, Status::BadSource))?;
        let reads = environment
            .get_template(NAME)
            .map_err(|error| describe(&error, Status::BadSource))?
            .undeclared_variables(false);
        Ok(Template { environment, reads })
    }

    pub fn reads(&self, name: &str) -> bool {
        self.reads.contains(name)
    }

    pub fn render(
        &self,
        variables: Vec<Variable>,
        unix_us: i64,
        utc_offset_s: i32,
        limits: Limits,
    ) -> Result<String, Failure> {
        let now = strftime::Moment::new(unix_us, utc_offset_s);
        let strftime_now = Value::from_function(move |format: String| now.format(&format));
        let mut context = vec![("strftime_now".to_string(), strftime_now)];
        for Variable { name, value, .. } in variables {
            let value = if name == "messages" { normalize_messages(value)? } else { value };
            context.push((name, value));
        }
        // The limit is per rendering, and an environment is cheap to clone: its tables are shared.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(limits.steps));
        let template =
            environment.get_template(NAME).map_err(|error| describe(&error, Status::BadSource))?;
        let mut out = LimitedOutput { bytes: Vec::new(), limit: limits.output_bytes, full: false };
        let done = template.render_captured_to(Value::from_pairs(context), &mut out).map(|_| ());
        if out.full {
            return Err(Failure::new(
                Status::Limit,
                format!("the rendered prompt is longer than {} bytes", limits.output_bytes),
            ));
        }
        done.map_err(|error| describe(&error, Status::BadInput))?;
        String::from_utf8(out.bytes)
            .map_err(|_| Failure::new(Status::Panic, "the rendered prompt is not UTF-8"))
    }
}

/// What apply_chat_template does to a conversation before the template sees it: keys without a
/// value are dropped, and a message's reasoning is found under each of the names in use.
fn normalize_messages(messages: Value) -> Result<Value, Failure> {
    const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
    let bad = |detail: &str| Failure::new(Status::BadInput, format!("messages: {detail}"));
    if messages.kind() != ValueKind::Seq {
        return Err(bad("a list of objects is needed"));
    }
    let list = messages.try_iter().map_err(|error| bad(&error.to_string()))?;
    let mut out = Vec::new();
    for message in list {
        if message.kind() != ValueKind::Map {
            return Err(bad(&format!("entry {} is not an object", out.len())));
        }
        let fields: Vec<(Value, Value)> = message
            .as_object()
            .and_then(|object| object.try_iter_pairs())
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_none())
            .collect();
        let named = |name: &str| fields.iter().find(|(key, _)| key.as_str() == Some(name));
        let normal = match REASONING.iter().find_map(|name| named(name)).cloned() {
            None => fields,
            Some((_, reasoning)) => {
                let mut all = vec![(Value::from("thinking"), reasoning.clone())];
                all.extend(fields);
                all.push((Value::from("reasoning_content"), reasoning));
                all
            }
        };
        out.push(Value::from_pairs(normal));
    }
    if out.is_empty() {
        return Err(bad("at least one message is needed"));
    }
    Ok(Value::from(out))
}

struct LimitedOutput {
    bytes: Vec<u8>,
    limit: u64,
    full: bool,
}

impl io::Write for LimitedOutput {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + data.len()) as u64 > self.limit {
            self.full = true;
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One sentence with the line; `status` is what the failure counts as unless a limit was hit.
fn describe(error: &Error, status: Status) -> Failure {
    let line = match error.line() {
        Some(line) => format!(" (template line {line})"),
        None => String::new(),
    };
    let detail = match error.detail() {
        Some(detail) => detail.to_string(),
        None => error.kind().to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<Raised>() {
            return Failure::new(status, format!("{detail}{line}"));
        }
        source = inner.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Failure::new(
            Status::Limit,
            format!("the template took more steps than a rendering may{line}"),
        ),
        ErrorKind::SyntaxError | ErrorKind::BadEscape => {
            Failure::new(status, format!("syntax error: {detail}{line}"))
        }
        kind if error.detail().is_some() => Failure::new(status, format!("{kind}: {detail}{line}")),
        _ => Failure::new(status, format!("{detail}{line}")),
    }
}
