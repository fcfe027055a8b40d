internal import CEngines

/// An engine written in C, behind its table of functions.
@safe final class CEngine: Engine {
    private let table: UnsafePointer<bench_engine>
    private let name: String
    private var handle: UnsafeMutableRawPointer?

    init(_ table: UnsafePointer<bench_engine>, name: String, sources: Sources) throws {
        // SAFETY: the table is a constant of the program.
        unsafe self.table = table
        self.name = name
        // SAFETY: the harness keeps descriptors and sink alive and in place until it has let go of the engine.
        let result = unsafe table.pointee.create(sources.descriptors, UInt32(sources.count), sources.sink, &handle)
        guard result == 0 else { throw EngineError(engine: name, operation: "create", errno: -result) }
    }

    deinit {
        // SAFETY: created in init; nothing uses it after this.
        if let handle = unsafe handle { unsafe table.pointee.destroy(handle) }
    }

    // SAFETY: (for all below) the function belongs to the handle's engine, and the abilities say that it is there.
    func arm() throws { try check(unsafe table.pointee.arm(handle), "arm") }

    // SAFETY: as for arm.
    func disarm() throws { try check(unsafe table.pointee.disarm(handle), "disarm") }

    // SAFETY: as for arm.
    func drain(until total: UInt64) throws { try check(unsafe table.pointee.drain(handle, total), "drain") }

    // SAFETY: as for arm.
    func spin(until total: UInt64) throws { try check(unsafe table.pointee.spin(handle, total), "spin") }

    // SAFETY: as for arm.
    func block(until total: UInt64) throws { try check(unsafe table.pointee.block(handle, total), "block") }

    private func check(_ result: Int32, _ operation: String) throws {
        guard result == 0 else { throw EngineError(engine: name, operation: operation, errno: -result) }
    }

    /// Every C engine, with the missing ones marked.
    static let kinds: [EngineKind] = (0..<Int(bench_engine_count())).map { kind($0) }

    private static func kind(_ index: Int) -> EngineKind {
        // SAFETY: index is below bench_engine_count; tables and texts are constants of the program.
        let table = unsafe bench_engine_at(UInt32(index))!
        // SAFETY: as above.
        let (name, about) = unsafe (String(cString: table.pointee.name), String(cString: table.pointee.about))
        // SAFETY: as above; missing is NULL where the engine was compiled.
        let missing = unsafe table.pointee.missing.map { unsafe String(cString: $0) }
        var abilities: Abilities = []
        // SAFETY: only compared with NULL.
        if unsafe table.pointee.drain != nil { abilities.insert(.drain) }
        // SAFETY: only compared with NULL.
        if unsafe table.pointee.spin != nil { abilities.insert(.spin) }
        // SAFETY: only compared with NULL.
        if unsafe table.pointee.block != nil { abilities.insert(.block) }
        // SAFETY: a constant of the program.
        let largest = unsafe Int(table.pointee.largest)
        return EngineKind(
            name: name, about: about, abilities: abilities, largest: largest == 0 ? .max : largest,
            missing: missing.map { "not compiled in; install \($0) and build again" }
        ) { sources, _ in
            // SAFETY: a constant of the program.
            try unsafe CEngine(bench_engine_at(UInt32(index))!, name: name, sources: sources)
        }
    }
}
