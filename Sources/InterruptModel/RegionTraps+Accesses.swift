// The hook itself: a trapped read or write, piece by piece.
extension RegionTraps {
    /// Carries out a guest's trapped read.
    ///
    /// - Parameters:
    ///   - access: Any region, offset and width; a width of 0 or beyond 8 reads 0.
    ///   - piece: Reads one aligned piece from where it is to come from.
    /// - Returns: The value; bytes that lie outside are ones.
    /// - Throws: What `piece` throws, at once.
    public func read<Failure: Error>(
        _ access: RegionAccess, _ piece: (_ target: Target, _ part: RegionAccess) throws(Failure) -> UInt64
    ) throws(Failure) -> UInt64 {
        guard 1...8 ~= access.width else { return 0 }
        var value: UInt64 = 0
        var done = 0
        while done < access.width {
            guard let (target, part) = part(access, from: done) else {
                value |= RegisterAccess.ones(width: access.width - done) << UInt64(done * 8)
                break
            }
            let bits = try piece(target, part) & RegisterAccess.ones(width: part.width)
            value |= bits << UInt64(done * 8)
            done += part.width
        }
        return value
    }

    /// Carries out a guest's trapped write, and learns whether the guest keeps writing the same.
    ///
    /// - Parameters:
    ///   - access: Any region, offset and width; a width of 0 or beyond 8 is ignored.
    ///   - value: What is written; bits beyond the width are ignored.
    ///   - piece: Writes one aligned piece to where it is to go.
    /// - Returns: A register that is now worth an ioeventfd: the caller installs it and tells ``RepeatedWrites`` what
    ///   became of it. Told once.
    /// - Throws: What `piece` throws, at once; the pieces before have been carried out.
    public mutating func write<Failure: Error>(
        _ access: RegionAccess, value: UInt64,
        _ piece: (_ target: Target, _ part: RegionAccess, _ value: UInt64) throws(Failure) -> Void
    ) throws(Failure) -> DoorbellRegister? {
        guard 1...8 ~= access.width else { return nil }
        var learnt: DoorbellRegister?
        var done = 0
        while done < access.width, let (target, part) = part(access, from: done) {
            let bits = value >> UInt64(done * 8) & RegisterAccess.ones(width: part.width)
            try piece(target, part, bits)
            // Only what one register took whole can be matched by an ioeventfd, and only BARs have them.
            if target == .device, part == access, part.region <= 5, overlay(part.region, part.offset) != nil {
                learnt = repeated.note(DoorbellRegister(part, value: bits))
            }
            done += part.width
        }
        return learnt
    }

    /// Whether the whole access is the device's own, and nothing is to be learnt of it: no overlay has a part in it,
    /// but for watched ranges where no register is ever told.
    public func isPlain(_ access: RegionAccess) -> Bool {
        guard 1...8 ~= access.width else { return true }
        var done = 0
        while done < access.width, let (target, part) = part(access, from: done) {
            guard target == .device else { return false }
            if repeated.threshold > 0, overlay(part.region, part.offset) != nil { return false }
            done += part.width
        }
        return true
    }

    /// The largest aligned piece that begins `done` bytes into the access; `nil` when it lies outside.
    private func part(_ access: RegionAccess, from done: Int) -> (Target, RegionAccess)? {
        let (offset, overflow) = access.offset.addingReportingOverflow(UInt64(done))
        guard !overflow, offset < size(access.region) else { return nil }
        let limit = min(UInt64(access.width - done), reach(access.region, offset))
        var width: UInt64 = 8
        while width > limit || offset & (width - 1) != 0 { width >>= 1 }
        let part = RegionAccess(region: access.region, offset: offset, width: Int(width))
        guard let here = overlay(access.region, offset), here.kind != .watched else { return (.device, part) }
        return (.overlay(here.kind, offset: offset - here.offset), part)
    }
}
