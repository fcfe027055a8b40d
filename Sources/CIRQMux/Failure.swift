internal import CIRQMuxHeader
internal import CKernel
internal import IRQMux

/// Runs what a C function does, and answers as it has to: its result, or the negated errno with the rest noted for
/// `irqmux_error_read`.
func answer(_ body: () throws(MuxError) -> Int32) -> Int32 {
    do throws(MuxError) { return try body() } catch { return fail(error) }
}

/// Notes an error as the calling thread's last, and returns its negated errno.
@inline(never)
func fail(_ error: MuxError) -> Int32 {
    // SAFETY: both texts are static.
    unsafe irqmux_fail(-error.errno, error.available, text(error.operation), text(error.remedy))
}

/// A static text as C wants it: NUL-terminated, as the compiler makes every literal.
func text(_ string: StaticString) -> UnsafePointer<CChar> {
    // SAFETY: a literal of several characters, or of none, has an address, and a NUL at its end.
    unsafe UnsafeRawPointer(string.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// What the C library itself refuses.
enum Refusal {
    /// By what `irqmux_handle_enter` said.
    static func handle(_ result: Int32, _ operation: StaticString) -> MuxError {
        switch result {
        case -EINVAL: MuxError(operation, errno: EINVAL, remedy: "the handle is null: give one that was made")
        case -EPERM:
            MuxError(operation, errno: EPERM, remedy: "the handle is the parent's: after fork a process makes its own")
        default: MuxError(operation, errno: EBADF, remedy: "the handle was destroyed, or never made")
        }
    }

    static func wrongThread(_ operation: StaticString) -> MuxError {
        MuxError(
            operation, errno: EPERM,
            remedy: "call it on the mux's thread, or make the mux with IRQMUX_OWN_THREAD or IRQMUX_ANY_THREAD")
    }

    static func reentered(_ operation: StaticString) -> MuxError {
        MuxError(
            operation, errno: EDEADLK,
            remedy: "a function that the mux calls may not call the mux; the handler of events may")
    }

    static func destroyed(_ operation: StaticString, _ remedy: StaticString) -> MuxError {
        MuxError(operation, errno: EBADF, remedy: remedy)
    }

    static func pointer(_ operation: StaticString) -> MuxError {
        MuxError(operation, errno: EINVAL, remedy: "a pointer is null that must not be")
    }

    static func value(_ operation: StaticString, _ remedy: StaticString) -> MuxError {
        MuxError(operation, errno: EINVAL, remedy: remedy)
    }
}

// MARK: - Structs of other versions

/// The shortest struct that is taken for one: its size and one word more.
private let leastSize = 8

// Out of line, as what every call does: sixty copies of them would be a fifth of the archive.

/// Copies a caller's struct of any version into `to`, which is one of this version.
@inline(never)
func take(
    _ to: UnsafeMutableRawPointer, _ known: Int, _ from: UnsafeRawPointer?, _ operation: StaticString
) throws(MuxError) {
    // SAFETY: `to` has `known` bytes; of `from` as many are read as its own size word says.
    let result = unsafe irqmux_take_struct(to, known, leastSize, from)
    if result < 0 { throw unsafe refusal(result, from == nil, operation) }
}

/// Gives `from`, of this version, back in a caller's struct of any version.
@inline(never)
func give(
    _ to: UnsafeMutableRawPointer?, _ known: Int, _ from: UnsafeRawPointer, _ operation: StaticString
) throws(MuxError) {
    // SAFETY: `from` has `known` bytes; of `to` as many are written as its own size word says.
    let result = unsafe irqmux_give_struct(to, known, leastSize, from)
    if result < 0 { throw unsafe refusal(result, to == nil, operation) }
}

private func refusal(_ result: Int32, _ isNull: Bool, _ operation: StaticString) -> MuxError {
    if isNull { return Refusal.pointer(operation) }
    if result == -E2BIG {
        return MuxError(
            operation, errno: E2BIG,
            remedy: "the struct is of a newer header and has something set that this library does not know")
    }
    return MuxError(operation, errno: EINVAL, remedy: "set the struct's size to sizeof of it")
}
