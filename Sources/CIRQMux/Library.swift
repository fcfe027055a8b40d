// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux

@c @implementation
public func irqmux_abi_version() -> UInt32 { 1 }

@c @implementation
public func irqmux_version() -> UnsafePointer<CChar>? {
    // SAFETY: a static text.
    unsafe irqmux_version_text()
}

@c @implementation
public func irqmux_features() -> UInt32 {
    var features = UInt32(IRQMUX_FEATURE_GUEST | IRQMUX_FEATURE_VFIO)
    #if !hasFeature(Embedded)
        features |= UInt32(IRQMUX_FEATURE_RUNTIME | IRQMUX_FEATURE_VFIO_USER)
    #endif
    return features
}

@c @implementation
public func irqmux_error_read(_ error: UnsafeMutablePointer<irqmux_error>?) -> Int32 {
    // SAFETY: texts are static, and `give` writes as much as the caller's struct has room for.
    let last = unsafe irqmux_failed()
    var told = unsafe irqmux_error()
    unsafe told.number = last.number
    unsafe told.available = last.available
    unsafe told.name = last.number == 0 ? text("") : irqmux_errno_name(-last.number)
    unsafe told.operation = UnsafePointer(last.operation)
    unsafe told.remedy = UnsafePointer(last.remedy)
    // SAFETY: as above. A refusal is noted like any other, so what was asked for is lost then.
    return answer { () throws(MuxError) in
        try unsafe give(error, MemoryLayout<irqmux_error>.size, &told, "irqmux_error_read")
        return 0
    }
}

@c @implementation
public func irqmux_budget_read(
    _ config: UnsafePointer<irqmux_mux_config>?, _ budget: UnsafeMutablePointer<irqmux_budget>?
) -> Int32 {
    let operation: StaticString = "irqmux_budget_read"
    return answer { () throws(MuxError) in
        var asked = irqmux_budget()
        let size = MemoryLayout<irqmux_budget>.size
        // SAFETY: structs of this version on the stack, filled from and into the caller's by their sizes.
        try unsafe take(&asked, size, budget, operation)
        let plan = try unsafe MuxPlan(config, operation)
        asked.needed = plan.descriptors(for: asked)
        asked.limit = UInt32(clamping: irqmux_descriptor_limit())
        let open = irqmux_count_descriptors()
        guard open >= 0 else {
            throw MuxError(operation, errno: Int32(-open), remedy: "/proc must be mounted and readable")
        }
        asked.open = UInt32(clamping: open)
        // SAFETY: the caller's to be written, by its size.
        try unsafe give(budget, size, &asked, operation)
        guard UInt64(asked.needed) + UInt64(asked.open) <= UInt64(asked.limit) else {
            throw MuxError(operation, errno: EMFILE, remedy: "raise RLIMIT_NOFILE (ulimit -n) or ask for fewer vectors")
        }
        return 0
    }
}
