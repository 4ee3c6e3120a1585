//! The C face of the Rust libraries that Realm uses. One module per library; this file holds what
//! they share: text that crosses the boundary, status codes, and the guard that turns a panic into
//! an error. The matching declarations are in include/realm_ffi.h.

mod template;
mod template_ffi;

use std::panic::{catch_unwind, AssertUnwindSafe};

/// Bytes owned by the caller, UTF-8 where text is meant.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RealmFfiSlice {
    data: *const u8,
    size: usize,
}

/// Bytes owned by this library until `realm_ffi_text_free`.
#[repr(C)]
pub struct RealmFfiText {
    data: *mut u8,
    size: usize,
}

/// Why a call failed. The numbers are those of `realm_ffi_status` in realm_ffi.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    /// The program or source handed in is not well formed.
    BadSource = 1,
    /// The data handed in is not acceptable, or the program refused it.
    BadInput = 2,
    /// A step, size or depth limit was hit.
    Limit = 3,
    /// A bug in this library or one below it.
    Panic = 4,
}

pub struct Failure {
    pub status: Status,
    pub message: String,
}

impl Failure {
    pub fn new(status: Status, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }
}

impl RealmFfiSlice {
    /// # Safety
    /// `data` must be readable for `size` bytes, or `size` be 0, for as long as the result lives.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.size == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(self.data, self.size)
        }
    }

    /// # Safety
    /// As for `bytes`.
    unsafe fn text<'a>(self, what: &str) -> Result<&'a str, Failure> {
        std::str::from_utf8(self.bytes()).map_err(|error| {
            Failure::new(
                Status::BadInput,
                format!("{what} is not valid UTF-8 at byte {}", error.valid_up_to()),
            )
        })
    }
}

impl RealmFfiText {
    fn new(text: String) -> RealmFfiText {
        let bytes = text.into_bytes().into_boxed_slice();
        let size = bytes.len();
        RealmFfiText { data: Box::into_raw(bytes).cast(), size }
    }
}

/// Runs `call`, stores its text or its error's message in `out`, and returns the status.
///
/// # Safety
/// `out` must be valid for a write.
unsafe fn guarded(
    out: *mut RealmFfiText,
    call: impl FnOnce() -> Result<String, Failure>,
) -> Status {
    let (status, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(text)) => (Status::Ok, text),
        Ok(Err(failure)) => (failure.status, failure.message),
        Err(payload) => (Status::Panic, panic_message(payload.as_ref())),
    };
    out.write(RealmFfiText::new(text));
    status
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let detail = payload
        .downcast_ref::<&str>()
        .map(|text| text.to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_string());
    format!("internal error: {detail}")
}

/// # Safety
/// `text` must come from this library and not have been freed before.
#[no_mangle]
pub unsafe extern "C" fn realm_ffi_text_free(text: RealmFfiText) {
    if !text.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.data, text.size)));
    }
}
