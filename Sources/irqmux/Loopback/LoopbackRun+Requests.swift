internal import CKernel
internal import EventRing
internal import InterruptModel

// SET_IRQS itself, with eventfds of its own and nobody in between: assignment of a whole index, loopback of all vectors
// at once and by a pattern, de-assignment of a part, mask and unmask where there is one, and what has to be refused.
extension LoopbackRun {
    mutating func checkRequests(_ index: IRQIndex, _ count: UInt32) {
        var bench: RequestBench
        do { bench = try RequestBench(device, index, count) } catch {
            return note("assign", index, nil, .fail, CommandFailure(error)?.description ?? "\(error)")
        }
        check("assign", index, nil) { _ in try bench.assignAll() }
        check("trigger-all", index, nil) { _ in try bench.triggerAll() }
        check("bool-pattern", index, nil) { _ in try bench.pattern() }
        if index != .err, index != .req {
            check("deassign-part", index, nil) { _ in try bench.deassignPart() }
            check("reassign", index, nil) { _ in try bench.assignAll() ?? bench.triggerAll() }
        }
        check(bench.isMaskable ? "mask-request" : "mask-refused", index, nil) { _ in try bench.mask() }
        check("range-refused", index, nil) { _ in try bench.outside() }
        check("release", index, nil) { _ in try bench.release() }
    }
}

/// The eventfds of one index of a device, and what it holds of them.
private struct RequestBench {
    let device: OpenedDevice
    let index: IRQIndex
    let eventFDs: [Owned<EventFD>]
    let rules: IRQPlanRules
    var state = IRQAssignments()

    init(_ device: OpenedDevice, _ index: IRQIndex, _ count: UInt32) throws {
        self.device = device
        self.index = index
        eventFDs = try Owned.eventFDs(Int(count))
        rules = IRQPlanRules(of: device)
    }

    /// Whether the device takes MASK: INTx does, and vfio-user's servers may for MSI-X, which the kernel never does.
    var isMaskable: Bool { index == .intx || (try? device.interruptInfo(index).maskable) == true }

    private var all: Range<UInt32> { 0..<UInt32(eventFDs.count) }

    private mutating func change(to wanted: IRQAssignments) throws -> String? {
        do throws(IRQChangeError) { try state.change(to: wanted, on: device, rules: rules) } catch {
            let why = CommandFailure(error.cause)?.description ?? ""
            let available = error.available > 0 ? "; the host has \(error.available) vectors left" : ""
            return why + available + (error.isRolledBack ? "" : "; what was there before could not be put back")
        }
        return nil
    }

    mutating func assignAll() throws -> String? {
        var wanted = state
        wanted.assign(index, eventFDs.map { $0.value.number })
        return try change(to: wanted)
    }

    func triggerAll() throws -> String? {
        try unmask()
        _ = try device.setInterrupts(IRQRequest(index, .trigger, .none(count: all.upperBound)))
        return try fault { _ in true }
    }

    /// A sample driver (mtty) masks INTx by itself also when it is triggered from software.
    private func unmask() throws(DeviceError) {
        guard index == .intx, try device.interruptInfo(.intx).maskable else { return }
        _ = try device.setInterrupts(IRQRequest(.intx, .unmask, .none(count: 1)))
    }

    func pattern() throws -> String? {
        try unmask()
        _ = try device.setInterrupts(IRQRequest(index, .trigger, .bool(all.map { $0 % 2 == 0 ? 1 : 0 })))
        return try fault { $0 % 2 == 0 }
    }

    /// The middle third loses its eventfds and is not signalled; the others are.
    mutating func deassignPart() throws -> String? {
        let third = all.upperBound / 3
        let part = third..<max(all.upperBound - third, third + 1)
        var wanted = state
        wanted.remove(index, part)
        if let wrong = try change(to: wanted) { return wrong }
        do throws(DeviceError) {
            try unmask()
            _ = try device.setInterrupts(IRQRequest(index, .trigger, .none(count: all.upperBound)))
        } catch {
            // Where nothing is left to signal, some drivers (mtty) say so.
            guard part.count == eventFDs.count, error.errno == EINVAL else { throw error }
        }
        return try fault { !part.contains($0) }
    }

    /// INTx can be masked and unmasked, and has nothing to tell then; the others refuse.
    func mask() throws -> String? {
        guard isMaskable else {
            do throws(DeviceError) {
                _ = try device.setInterrupts(IRQRequest(index, .mask, .none(count: 1)))
            } catch {
                return error.errno == ENOTTY || error.errno == EINVAL
                    ? nil : "refused with \(SystemFiles.errorName(error.errno))"
            }
            return "MASK was accepted"
        }
        guard try device.interruptInfo(index).maskable else { return nil }
        _ = try device.setInterrupts(IRQRequest(index, .mask, .none(count: 1)))
        _ = try device.setInterrupts(IRQRequest(index, .unmask, .bool([1])))
        return try fault { _ in false }
    }

    func outside() throws -> String? {
        let count = try device.interruptInfo(index).count
        do throws(DeviceError) {
            _ = try device.setInterrupts(IRQRequest(index, .trigger, start: count, .none(count: 1)))
        } catch {
            return error.errno == EINVAL ? nil : "refused with \(SystemFiles.errorName(error.errno))"
        }
        return "a vector beyond the last was accepted"
    }

    mutating func release() throws -> String? { try change(to: IRQAssignments()) }

    /// What is wrong: every eventfd that should be signalled is, once, and no other.
    private func fault(_ isExpected: (UInt32) -> Bool) throws -> String? {
        for number in all {
            let eventFD = eventFDs[Int(number)]
            let expected: UInt64 = isExpected(number) ? 1 : 0
            let deadline = irqmux_monotonic_ns() + LoopbackRun.patience
            while expected > 0, try eventFD.value.peek() == 0, irqmux_monotonic_ns() < deadline { irqmux_pause() }
            let count = try eventFD.value.take()
            guard count == expected else { return "vector \(number) was signalled \(count) times, not \(expected)" }
        }
        return nil
    }
}
