internal import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel

extension InstanceRef {
    /// The device behind a function's handle.
    func function(_ handle: irqmux_function, _ operation: StaticString) throws(MuxError) -> ServedDevice {
        guard handle.bits != 0 else { throw Refusal.handle(-EINVAL, operation) }
        // SAFETY: on the mux's thread.
        guard let found = unsafe at.pointee.served.first(where: { $0.functionBits == handle.bits }) else {
            throw Refusal.destroyed(operation, "the function was ended, or its device detached")
        }
        return found
    }

    /// Serves a device's function, and keeps it.
    func serve(
        _ device: DeviceID, _ config: irqmux_function_config, on mux: inout Mux, _ operation: StaticString
    ) throws(MuxError) -> irqmux_function {
        guard served(device) == nil else {
            throw MuxError(operation, errno: EBUSY, remedy: "it is served already: end that, or detach the device")
        }
        // SAFETY: plain numbers, and the caller's service, which is read while the caller waits.
        let flags = unsafe config.flags
        guard flags & ~UInt32(IRQMUX_FUNCTION_REQUESTER) == 0 else {
            throw Refusal.value(operation, "the only flag is IRQMUX_FUNCTION_REQUESTER")
        }
        let line = try unsafe config.line == nil ? nil : intxService(config.line, operation)
        let requester = unsafe flags != 0 ? config.requester : nil
        let made = ServedDevice(device)
        made.function = try GuestFunction(device, line: line, requester: requester, on: &mux)
        // SAFETY: on the mux's thread.
        unsafe at.pointee.functionsMade += 1
        unsafe made.functionBits = at.pointee.functionsMade
        unsafe at.pointee.served.append(made)
        return irqmux_function(bits: made.functionBits)
    }
}

/// Resets functions from `first` on, one in the other, and the innermost carries out what is to be done once for all.
func reset(
    _ functions: [ServedDevice], from first: Int, on mux: inout Mux,
    by carryOut: (inout Mux) throws(MuxError) -> Void
) throws(MuxError) {
    guard first < functions.count else { return try carryOut(&mux) }
    try functions[first].function!.reset(on: &mux) { (mux) throws(MuxError) in
        try reset(functions, from: first + 1, on: &mux, by: carryOut)
    }
}

// By inout: looking at a noncopyable value through an Optional of a class would consume it.

/// The vector that stands for one of the guest's.
func vector(_ vector: Vector, of function: inout GuestFunction) -> VectorID? { function.vector(vector) }

/// What serving came to, in words of C.
func tell(_ told: inout irqmux_function_report, of function: inout GuestFunction) {
    let known = function.report
    told.messaging = function.isMessaging ? 1 : 0
    told.pin = UInt32(function.registers.pin)
    told.disabled = function.registers.isDisabled ? 1 : 0
    told.last_error = -(known.lastError?.errno ?? 0)
    told.line_error = -(function.lineError?.errno ?? 0)
    told.refusals = known.refusals
    told.regrowths = known.regrowths
    told.short_answers = known.shortAnswers
    told.kicks = known.kicks
    told.repairs = known.repairs
}
