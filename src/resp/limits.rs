//! What a client may ask for, and which error says that it asked for more. The values come from the configuration.

use super::error::ProtocolError;

/// More arguments than this were never valid, whoever asks (C's `INT_MAX`, as in Redis).
const ARGUMENTS_EVER: u64 = i32::MAX as u64;
/// Longer arguments than this are called invalid even before AUTH, in bytes, as in Redis.
const ARGUMENT_EVER: u64 = 512 * 1024 * 1024;

/// What a client may ask for. Before authentication sessions use smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Most arguments of one request.
    pub arguments: u32,
    /// Longest argument, in bytes.
    pub argument: u32,
    /// Longest request, in bytes of its canonical form.
    pub request: u32,
    /// Longest inline request, in bytes.
    pub inline: u32,
    /// Whether these are the limits before authentication, which decides the words of the error.
    pub preauth: bool,
}

impl RequestLimits {
    #[inline]
    pub(super) fn check_arguments(&self, count: u64) -> Result<(), ProtocolError> {
        if count <= u64::from(self.arguments) {
            Ok(())
        } else if count > ARGUMENTS_EVER {
            Err(ProtocolError::InvalidMultibulkLength)
        } else if self.preauth {
            Err(ProtocolError::UnauthenticatedMultibulkLength)
        } else {
            Err(ProtocolError::TooManyArguments)
        }
    }

    #[inline]
    pub(super) fn check_argument(&self, len: u64) -> Result<(), ProtocolError> {
        if len <= u64::from(self.argument) {
            Ok(())
        } else if self.preauth && len <= ARGUMENT_EVER {
            Err(ProtocolError::UnauthenticatedBulkLength)
        } else if self.preauth {
            Err(ProtocolError::InvalidBulkLength)
        } else {
            Err(ProtocolError::ArgumentTooBig)
        }
    }

    #[inline]
    pub(super) fn check_request(&self, len: u64) -> Result<(), ProtocolError> {
        if len <= u64::from(self.request) {
            Ok(())
        } else {
            Err(ProtocolError::RequestTooBig)
        }
    }
}
