//! What jinja2's map, select and their kind return: a Python generator, which is always true and
//! can be gone through once. Its length, which Python does not tell, lets loop.last work.

use std::fmt;
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value};

pub struct Generator {
    items: Arc<Mutex<std::vec::IntoIter<Value>>>,
}

pub fn generator(items: Vec<Value>) -> Value {
    Value::from_object(Generator { items: Arc::new(Mutex::new(items.into_iter())) })
}

pub fn is_generator(value: &Value) -> bool {
    value.downcast_object_ref::<Generator>().is_some()
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<generator object>")
    }
}

struct Remaining(Arc<Mutex<std::vec::IntoIter<Value>>>);

impl Iterator for Remaining {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.0.lock().ok()?.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.lock().map_or((0, None), |items| items.size_hint())
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Iter(Box::new(Remaining(self.items.clone())))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.items.lock().ok().map(|items| items.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_ref(), f)
    }
}
