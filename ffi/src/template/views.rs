//! dict.keys(), .values() and .items(): they have a length, can be iterated again and again, and
//! print their kind.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Tuple, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Keys,
    Values,
    Items,
}

#[derive(Debug)]
pub struct DictView {
    map: DynObject,
    part: Part,
}

pub fn view(map: &DynObject, part: Part) -> Value {
    Value::from_object(DictView { map: map.clone(), part })
}

/// "dict_keys" and so on, for a view.
pub fn name_of(value: &Value) -> Option<&'static str> {
    value.downcast_object_ref::<DictView>().map(|view| match view.part {
        Part::Keys => "dict_keys",
        Part::Values => "dict_values",
        Part::Items => "dict_items",
    })
}

impl Object for DictView {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let part = self.part;
        let items: Vec<Value> = self
            .map
            .try_iter_pairs()
            .into_iter()
            .flatten()
            .map(|(key, value)| match part {
                Part::Keys => key,
                Part::Values => value,
                Part::Items => Value::from(Tuple::from([key, value])),
            })
            .collect();
        Enumerator::Values(items)
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.map.enumerator_len()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::text::repr_of(&Value::from_dyn_object(self.clone())))
    }
}
