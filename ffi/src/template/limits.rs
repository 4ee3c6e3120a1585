//! Bounds on the values a template builds. Steps alone do not bound them: [x, x] doubles what
//! printing or comparing has to walk through, and a value nested a million times overflows the
//! stack when it is freed. So each container that a template makes is measured here.

use minijinja::value::{Value, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State};

/// Of one value; JSON comes in with at most 128 levels. A namespace can grow after it was measured,
/// so a list of namespaces may have twice as many, but no more: no namespace holds another.
const DEPTH_MAX: usize = 256;
/// What a visit costs, in parts of a step.
const PARTS_PER_STEP: u64 = 32;
const CONTAINER_PARTS: u64 = 16;

/// `value`, or an error where it is nested too deeply. Charges for its size.
pub fn bounded(state: &State, value: Value) -> Result<Value, Error> {
    measured(state, value, false)
}

/// The same for a value that goes into a namespace, and so must not hold one: it could be itself.
pub fn kept(state: &State, value: Value) -> Result<Value, Error> {
    measured(state, value, true)
}

fn measured(state: &State, value: Value, is_kept: bool) -> Result<Value, Error> {
    let mut meter = Meter { state, is_kept, parts: 0 };
    // minijinja's sums and slices of lists are lazy: views of views would be gone through again
    // and again.
    let is_lazy = value.kind() == ValueKind::Iterable
        && !super::generator::is_generator(&value)
        && super::views::name_of(&value).is_none();
    let value = match value.len() {
        Some(len) if is_lazy => {
            meter.charge(len as u64)?;
            Value::from(value.try_iter()?.collect::<Vec<Value>>())
        }
        _ => value,
    };
    meter.visit(&value, 0)?;
    Ok(value)
}

struct Meter<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    is_kept: bool,
    parts: u64,
}

impl Meter<'_, '_, '_> {
    fn charge(&mut self, parts: u64) -> Result<(), Error> {
        self.parts += parts;
        let steps = self.parts / PARTS_PER_STEP;
        self.parts %= PARTS_PER_STEP;
        if steps == 0 {
            return Ok(());
        }
        self.state.consume_fuel(steps)
    }

    fn visit(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let kind = value.kind();
        let is_container = matches!(kind, ValueKind::Map | ValueKind::Seq | ValueKind::Iterable);
        let Some(object) = value.as_object().filter(|_| is_container) else {
            return self.charge(1);
        };
        self.charge(CONTAINER_PARTS)?;
        let fail = |message: String| Err(Error::new(ErrorKind::InvalidOperation, message));
        if depth >= DEPTH_MAX {
            return fail(format!("a value is nested deeper than {DEPTH_MAX} levels"));
        }
        if self.is_kept && object.type_name().ends_with("::Namespace") {
            return fail("a namespace cannot be kept inside of another".to_string());
        }
        if super::generator::is_generator(value) {
            // Going through it would use it up; its items were measured when they were made.
            return Ok(());
        }
        if kind == ValueKind::Map {
            for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                self.visit(&key, depth + 1)?;
                self.visit(&item, depth + 1)?;
            }
        } else {
            for item in object.try_iter().into_iter().flatten() {
                self.visit(&item, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// namespace() of values that it may hold.
pub fn namespace(state: &State, defaults: Option<ValueOrKwargs>) -> Result<Value, Error> {
    if let Some(defaults) = &defaults {
        for name in defaults.try_iter()? {
            kept(state, defaults.get_item(&name)?)?;
        }
    }
    minijinja::functions::namespace(defaults)
}
