//! llama.cpp's log, as `tracing` events one level below their own: what matters to a user comes back as a typed error.

use llama_cpp_sys_2 as sys;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::io::Write;
use std::ptr;

thread_local! {
    static FIRST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sends the log of llama.cpp and ggml to `tracing` (target `llama_cpp`), for the rest of the process.
pub(in crate::llm) fn route_logs() {
    // SAFETY: both are functions, so they live as long as the process, and they take no user data.
    unsafe {
        sys::llama_log_set(Some(on_line), ptr::null_mut());
        // Its own way to die is to start a debugger on this process.
        sys::ggml_set_abort_callback(Some(on_abort));
    }
}

/// Takes the last error that llama.cpp logged on this thread: the reason behind a bare null pointer.
pub(in crate::llm) fn last_error() -> String {
    let line = LAST_ERROR.take();
    if line.is_empty() { "llama.cpp gave no reason".into() } else { line }
}

/// What `act` gives, or the first error that llama.cpp logs on this thread meanwhile: the cause, where the last says only
/// that it failed.
pub(in crate::llm) fn or_first_error<T, E>(act: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    FIRST_ERROR.take();
    act().map_err(|_| {
        let (first, last) = (FIRST_ERROR.take(), last_error());
        if first.is_empty() { last } else { first }
    })
}

unsafe extern "C" fn on_line(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    // SAFETY: ggml passes a NUL-terminated string that lives until this function returns.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let line = text.trim_end();
    match level {
        sys::GGML_LOG_LEVEL_ERROR => {
            FIRST_ERROR.with_borrow_mut(|first| {
                if first.is_empty() {
                    line.clone_into(first);
                }
            });
            LAST_ERROR.with_borrow_mut(|last| line.clone_into(last));
            tracing::warn!(target: "llama_cpp", "{line}");
        }
        sys::GGML_LOG_LEVEL_WARN => tracing::info!(target: "llama_cpp", "{line}"),
        sys::GGML_LOG_LEVEL_INFO => tracing::debug!(target: "llama_cpp", "{line}"),
        _ => tracing::trace!(target: "llama_cpp", "{line}"),
    }
}

/// The last words of ggml, which aborts the process when this returns.
unsafe extern "C" fn on_abort(message: *const c_char) {
    // SAFETY: ggml passes a NUL-terminated string that lives until this function returns.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    // Whether anybody can read it or not, there is nothing left to do.
    let _ = writeln!(std::io::stderr(), "energyllm: llama.cpp gave up: {message}; please report this as a bug");
}
