//! C functions over `template`: compile, render, ask which variables a template reads, free.

use crate::template::{Limits, Template, Variable};
use crate::{guarded, Failure, RealmFfiSlice, RealmFfiText, Status};

/// One variable of a rendering; `kind` 0: `value` is text, 1: JSON, 2: a JSON object of variables.
#[repr(C)]
pub struct RealmTemplateVariable {
    name: RealmFfiSlice,
    value: RealmFfiSlice,
    kind: u32,
}

#[repr(C)]
pub struct RealmTemplateClock {
    unix_us: i64,
    utc_offset_s: i32,
}

#[repr(C)]
pub struct RealmTemplateLimits {
    steps: u64,
    output_bytes: u64,
}

/// # Safety
/// `source` must be readable, `out` and `error` writable.
#[no_mangle]
pub unsafe extern "C" fn realm_template_compile(
    source: RealmFfiSlice,
    out: *mut *mut Template,
    error: *mut RealmFfiText,
) -> Status {
    out.write(std::ptr::null_mut());
    guarded(error, || {
        let source = source
            .text("the template")
            .map_err(|failure| Failure::new(Status::BadSource, failure.message))?;
        out.write(Box::into_raw(Box::new(Template::compile(source)?)));
        Ok(String::new())
    })
}

/// # Safety
/// `template` must come from `realm_template_compile`; the slices must be readable, `out` writable.
#[no_mangle]
pub unsafe extern "C" fn realm_template_render(
    template: *const Template,
    variables: *const RealmTemplateVariable,
    num_variables: usize,
    clock: RealmTemplateClock,
    limits: RealmTemplateLimits,
    out: *mut RealmFfiText,
) -> Status {
    guarded(out, || {
        let raw: &[RealmTemplateVariable] = if num_variables == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(variables, num_variables)
        };
        let mut parsed = Vec::with_capacity(raw.len());
        let mut extra = Vec::new();
        for variable in raw {
            let name = variable.name.text("a variable's name")?;
            let value = variable.value.text(name)?;
            match variable.kind {
                0 => parsed.push(Variable::text(name, value)),
                1 => parsed.push(Variable::json(name, value)?),
                _ => extra.extend(Variable::json_entries(name, value)?),
            }
        }
        for variable in &extra {
            let is_taken = |known: &Variable| known.is_json && known.name == variable.name;
            if parsed.iter().any(is_taken) {
                let message = format!("the variable {} cannot be set this way", variable.name);
                return Err(Failure::new(Status::BadInput, message));
            }
        }
        parsed.extend(extra);
        (*template).render(
            parsed,
            clock.unix_us,
            clock.utc_offset_s,
            Limits { steps: limits.steps, output_bytes: limits.output_bytes },
        )
    })
}

/// Whether the template reads the variable `name` from outside.
///
/// # Safety
/// `template` must come from `realm_template_compile`, `name` be readable.
#[no_mangle]
pub unsafe extern "C" fn realm_template_reads(
    template: *const Template,
    name: RealmFfiSlice,
) -> bool {
    match std::str::from_utf8(name.bytes()) {
        Ok(name) => (*template).reads(name),
        Err(_) => false,
    }
}

/// # Safety
/// `template` must be null or come from `realm_template_compile` and not have been freed before.
#[no_mangle]
pub unsafe extern "C" fn realm_template_free(template: *mut Template) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}
