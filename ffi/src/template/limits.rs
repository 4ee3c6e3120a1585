//! Bounds on the values a template builds. Steps alone do not bound them: [x, x] doubles what
//! printing or comparing has to walk through, and a value nested a million times overflows the
//! stack when it is freed. So each container that a template makes is measured here.

use minijinja::value::{Value, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State};

/// JSON comes in with at most 128 levels.
const DEPTH_MAX: usize = 256;
const NODES_PER_STEP: u64 = 2;

/// `value`, or an error where it is nested too deeply. Charges for its size.
pub fn bounded(state: &State, value: Value) -> Result<Value, Error> {
    // minijinja's sums and slices of lists are lazy: views of views would be gone through again
    // and again.
    let is_lazy = value.kind() == ValueKind::Iterable
        && !super::generator::is_generator(&value)
        && super::views::name_of(&value).is_none();
    let value = match value.len() {
        Some(len) if is_lazy => {
            state.consume_fuel(len as u64 / NODES_PER_STEP)?;
            Value::from(value.try_iter()?.collect::<Vec<Value>>())
        }
        _ => value,
    };
    let mut nodes = 0;
    measure(state, &value, 0, &mut nodes)?;
    Ok(value)
}

fn measure(state: &State, value: &Value, depth: usize, nodes: &mut u64) -> Result<(), Error> {
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    let kind = value.kind();
    if !matches!(kind, ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    let fail = |message: String| Err(Error::new(ErrorKind::InvalidOperation, message));
    if depth >= DEPTH_MAX {
        return fail(format!("a value is nested deeper than {DEPTH_MAX} levels"));
    }
    if object.type_name().ends_with("::Namespace") {
        return fail("a namespace cannot be kept inside of another value".to_string());
    }
    if super::generator::is_generator(value) {
        // Going through it would use it up; its items were measured when they were made.
        return Ok(());
    }
    let mut visit = |item: &Value| {
        *nodes += 1;
        if *nodes % NODES_PER_STEP == 0 {
            state.consume_fuel(1)?;
        }
        measure(state, item, depth + 1, nodes)
    };
    if kind == ValueKind::Map {
        for (key, item) in object.try_iter_pairs().into_iter().flatten() {
            visit(&key)?;
            visit(&item)?;
        }
    } else {
        for item in object.try_iter().into_iter().flatten() {
            visit(&item)?;
        }
    }
    Ok(())
}

/// namespace(): the one value that can change, and so must not come to hold itself.
pub fn namespace(state: &State, defaults: Option<ValueOrKwargs>) -> Result<Value, Error> {
    if let Some(defaults) = &defaults {
        for name in defaults.try_iter()? {
            bounded(state, defaults.get_item(&name)?)?;
        }
    }
    minijinja::functions::namespace(defaults)
}
