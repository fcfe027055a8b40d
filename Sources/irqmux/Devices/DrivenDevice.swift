internal import CKernel
internal import InterruptModel
internal import Synchronization

/// A device behind its registers: the kernel's, or one behind a socket. It raises by a ``RaiseRecipe`` where one is
/// known, and what it is made to raise is counted here, since hardware does not count.
final class DrivenDevice<Device: InterruptDevice & ~Copyable & Sendable>: OpenedDevice, @unchecked Sendable {
    private struct State {
        /// Vectors that have an eventfd.
        var assigned: Set<Vector> = []
        /// Signals that came into being, by vector.
        var raised: [Vector: UInt64] = [:]
        /// INTx: asserted by a recipe, and masked as the kernel keeps it.
        var isAsserted = false
        var isMasked = false
    }

    private let device: Device
    private let recipe: RaiseRecipe?
    private let kind: [(key: String, value: String)]
    private let told: [RegionInfo]
    private let formerCommand: UInt16?
    private let state = Mutex(State())
    private let storm = Storm()

    /// Takes a device that was opened.
    ///
    /// Lets it decode memory and master the bus, without which a message never leaves it; its command register is put
    /// back when it goes.
    /// - Parameters:
    ///   - kind: What it is, for people; vendor, device and model are added.
    ///   - regions: What it has, for people.
    ///   - hasConfiguration: Region 7 is PCI configuration space.
    init(
        _ name: DeviceName, _ device: consuming Device, kind: [(key: String, value: String)],
        regions: [RegionInfo] = [], hasConfiguration: Bool = true
    ) throws(DeviceError) {
        var kind = kind
        var ids: (vendor: UInt16, device: UInt16)?
        var command: UInt16?
        if hasConfiguration {
            let word = UInt32(truncatingIfNeeded: try device.readRegion(7, offset: 0, count: 4))
            ids = (UInt16(word & 0xffff), UInt16(word >> 16))
            kind += [(key: "vendor", value: Self.hex(word & 0xffff)), (key: "device", value: Self.hex(word >> 16))]
            let former = UInt16(truncatingIfNeeded: try device.readRegion(7, offset: 4, count: 2))
            if former & 6 != 6 {
                try device.writeRegion(7, offset: 4, count: 2, value: UInt64(former | 6))
                command = former
            }
        }
        let recipe = RaiseRecipe.find(vendor: ids?.vendor, device: ids?.device) ?? Self.recipe(in: device)
        self.recipe = recipe
        if let recipe { kind.append((key: "model", value: recipe.model)) }
        self.kind = kind
        told = regions.filter { $0.size > 0 }
        formerCommand = command
        self.device = device
        super.init(name)
    }

    deinit {
        storm.stop()
        guard let formerCommand else { return }
        do throws(DeviceError) {
            try device.writeRegion(7, offset: 4, count: 2, value: UInt64(formerCommand))
        } catch {
            // The device is gone, and its command register with it.
        }
    }

    /// A recipe by the first word of BAR 0, read only where vendor and device tell nothing.
    private static func recipe(in device: borrowing Device) -> RaiseRecipe? {
        do throws(DeviceError) {
            return RaiseRecipe.find(magic: UInt32(truncatingIfNeeded: try device.readRegion(0, offset: 0, count: 4)))
        } catch { return nil }
    }

    private static func hex(_ number: UInt32) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    // MARK: As any device

    override func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }

    override func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        guard request.index != .intx else { return try setINTx(request) }
        // Counted before it is done: whoever is told of a signal finds it counted.
        let counted = state.withLock { Self.count(request, in: &$0) }
        do throws(DeviceError) {
            let available = try device.setInterrupts(request)
            if available == 0 { state.withLock { Self.note(request, in: &$0) } }
            return available
        } catch {
            state.withLock { state in for vector in counted { state.raised[vector, default: 0] -= 1 } }
            throw error
        }
    }

    /// For INTx under the lock as a whole: an unmask finds the line asserted or not, and a raise meanwhile would change
    /// what it finds.
    private func setINTx(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        try state.withLock { (state) throws(DeviceError) -> UInt32 in
            let counted = Self.count(request, in: &state)
            do throws(DeviceError) {
                let available = try device.setInterrupts(request)
                if available == 0 { Self.note(request, in: &state) }
                return available
            } catch {
                for vector in counted { state.raised[vector, default: 0] -= 1 }
                throw error
            }
        }
    }

    override func reset() throws(DeviceError) {
        try device.reset()
        state.withLock { $0.isAsserted = false }
    }

    override func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: offset, count: count)
    }

    override func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        try device.writeRegion(region, offset: offset, count: count, value: value)
    }

    override func raisedCount(_ vector: Vector) -> UInt64? { state.withLock { $0.raised[vector, default: 0] } }

    override var planRules: IRQPlanRules { device.planRules }

    override var identity: [(key: String, value: String)] { kind }

    override var regions: [RegionInfo] { told }

    // MARK: Raising

    override func canRaise(_ vector: Vector) -> Bool {
        guard let recipe, recipe.raise[vector.index] != nil else { return false }
        return vector.number < recipe.most
    }

    override func raise(_ vector: Vector) throws(DeviceError) {
        guard canRaise(vector), let recipe, let steps = recipe.raise[vector.index] else {
            return try super.raise(vector)
        }
        // Under the lock, because some recipes take several writes.
        let failure: DeviceError? = state.withLock { state in
            if vector.index != .intx {
                if state.assigned.contains(vector) { state.raised[vector, default: 0] += 1 }
            } else if !state.isAsserted || !recipe.hasLevel {
                state.isAsserted = recipe.hasLevel
                if !state.isMasked {
                    state.raised[vector, default: 0] += 1
                    state.isMasked = true
                }
            }
            do throws(DeviceError) { try carryOut(steps, vector) } catch { return error }
            return nil
        }
        if let failure { throw failure }
    }

    override func quiet() throws(DeviceError) {
        guard let recipe else { return }
        let failure: DeviceError? = state.withLock { state in
            state.isAsserted = false
            do throws(DeviceError) { try carryOut(recipe.quiet, Vector(.intx, 0)) } catch { return error }
            return nil
        }
        if let failure { throw failure }
    }

    override var hasLevel: Bool { recipe?.hasLevel ?? false }

    override var mayMerge: Bool { true }

    private func carryOut(_ steps: [RaiseRecipe.Step], _ vector: Vector) throws(DeviceError) {
        for step in steps {
            switch step {
            case .read(let offset, let width): _ = try device.readRegion(0, offset: offset, count: width)
            case .write(let offset, let width, let value):
                let number: UInt64
                switch value {
                case .number(let constant): number = constant
                case .vector: number = UInt64(vector.number)
                case .index: number = UInt64(vector.index.rawValue)
                case .vectorBelow(let register, let shift):
                    number = try device.readRegion(0, offset: register, count: 4) << shift | UInt64(vector.number)
                }
                try device.writeRegion(0, offset: offset, count: width, value: number)
            }
        }
    }

    // MARK: Counting

    /// Counts what a request is about to signal; returns those counted.
    private static func count(_ request: IRQRequest, in state: inout State) -> [Vector] {
        var signalled: [Vector] = []
        switch (request.action, request.data) {
        case (.trigger, .none(let count)):
            for offset in 0..<count { signalled.append(Vector(request.index, request.start + offset)) }
        case (.trigger, .bool(let bytes)):
            for (offset, byte) in bytes.enumerated() where byte != 0 {
                signalled.append(Vector(request.index, request.start + UInt32(offset)))
            }
        case (.unmask, .none), (.unmask, .bool): if state.isAsserted { signalled.append(Vector(.intx, 0)) }
        default: break
        }
        signalled.removeAll { !state.assigned.contains($0) }
        for vector in signalled { state.raised[vector, default: 0] += 1 }
        return signalled
    }

    /// Notes what a request has changed.
    private static func note(_ request: IRQRequest, in state: inout State) {
        switch (request.action, request.data) {
        case (.trigger, .eventfd(let numbers)):
            for (offset, number) in numbers.enumerated() {
                let vector = Vector(request.index, request.start + UInt32(offset))
                if number < 0 { state.assigned.remove(vector) } else { state.assigned.insert(vector) }
            }
        case (.trigger, .none(count: 0)):
            state.assigned = state.assigned.filter { $0.index != request.index }
            if request.index == .intx { state.isMasked = false }
        case (.mask, _): state.isMasked = true
        case (.unmask, .none), (.unmask, .bool): if !state.isAsserted { state.isMasked = false }
        default: break
        }
    }

    // MARK: Storms

    /// By SET_IRQS's loopback, which signals each time: messages of hardware merge when they follow each other closely.
    override func startStorm(_ index: IRQIndex, width: UInt32, count: UInt64, seed: UInt64) throws {
        try storm.start(self, index, width: width, count: count, seed: seed)
    }

    override var isStorming: Bool { storm.isRunning }

    override func stopStorm() { storm.stop() }
}
