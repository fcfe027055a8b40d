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
        guard flags & ~UInt32(IRQMUX_FUNCTION_REQUESTER | IRQMUX_FUNCTION_ALWAYS_TRAPS) == 0 else {
            throw Refusal.value(operation, "the flags are IRQMUX_FUNCTION_REQUESTER and _ALWAYS_TRAPS")
        }
        let line = try unsafe config.line == nil ? nil : intxService(config.line, operation)
        let requester = unsafe flags & UInt32(IRQMUX_FUNCTION_REQUESTER) != 0 ? config.requester : nil
        let made = ServedDevice(device)
        made.function = try unsafe GuestFunction(
            device, line: line, requester: requester, shortcuts: shortcutOptions(config), on: &mux)
        // SAFETY: on the mux's thread.
        unsafe at.pointee.functionsMade += 1
        unsafe made.functionBits = at.pointee.functionsMade
        unsafe at.pointee.served.append(made)
        return irqmux_function(bits: made.functionBits)
    }
}

/// When registers are taken past the VMM.
private func shortcutOptions(_ config: irqmux_function_config) -> RegisterShortcutOptions {
    var options = RegisterShortcutOptions()
    // SAFETY: plain numbers.
    let (flags, threshold, most) = unsafe (config.flags, config.shortcut_threshold, config.loop_registers)
    if threshold != 0 { options.threshold = threshold }
    if flags & UInt32(IRQMUX_FUNCTION_ALWAYS_TRAPS) != 0 { options.threshold = 0 }
    if most != 0 { options.loopRegisters = most == .max ? 0 : Int(most) }
    return options
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
    told.mask_changes = known.maskChanges
    told.illegal_accesses = known.illegalAccesses
    let registers = function.shortcutReport
    told.kernel_registers = UInt32(clamping: registers.kernelWritten)
    told.loop_registers = UInt32(clamping: registers.loopWritten)
    told.register_refusals = registers.refusals
    told.register_writes = registers.writes
    told.failed_writes = registers.failedWrites
    told.register_error = -(registers.lastError?.errno ?? 0)
}
