import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import Testing

/// A software device that remembers what is done to its BAR 0, and who did it; with doorbells where it is asked to have
/// them.
final class WrittenDevice: InterruptDevice, Sendable {
    enum Act: Equatable {
        case write(UInt64, UInt64)
        case reset
        case doorbell(DoorbellRegister)
        case ended(DoorbellRegister, signals: UInt64)
    }

    private struct State: Sendable {
        var acts: [Act] = []
        var bells: [DoorbellRegister: Int32] = [:]
    }

    let device: Exerciser
    private let errno: Int32
    private let gate: Switch?
    private let state = Mutex(State())

    /// - Parameters:
    ///   - errno: What it says of doorbells; 0 where it has them.
    ///   - gate: From the eleventh write on they wait until it is on.
    init(refusing errno: Int32 = ENOTTY, gate: Switch? = nil) throws {
        device = try Exerciser(ExerciserConfiguration(intx: 1, msix: 2))
        self.errno = errno
        self.gate = gate
    }

    var acts: [Act] { state.withLock { $0.acts } }
    /// The values written to a register, in order.
    func values(_ offset: UInt64) -> [UInt64] {
        acts.compactMap { if case .write(offset, let value) = $0 { value } else { nil } }
    }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 { try device.setInterrupts(request) }
    func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo { try device.regionInfo(number) }
    func raisedCount(_ vector: Vector) -> UInt64? { device.raisedCount(vector) }

    func reset() throws(DeviceError) {
        state.withLock { $0.acts.append(.reset) }
        try device.reset()
    }

    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: offset, count: count)
    }

    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        guard region == 0 else { return try device.writeRegion(region, offset: offset, count: count, value: value) }
        if let gate, acts.count >= 10 { eventually { gate.isOn } }
        state.withLock { $0.acts.append(.write(offset, value)) }
    }

    func setDoorbell(_ register: DoorbellRegister, eventFD: Int32) throws(DeviceError) {
        guard errno == 0 else { throw DeviceError("a doorbell", errno: errno) }
        try state.withLock { (state) throws(DeviceError) in
            guard eventFD < 0 else {
                state.bells[register] = eventFD
                state.acts.append(.doorbell(register))
                return
            }
            guard let number = state.bells.removeValue(forKey: register) else {
                throw DeviceError("a doorbell", errno: ENOENT)
            }
            var count: UInt64 = 0
            // SAFETY: the pointer is valid for the call.
            _ = unsafe irqmux_eventfd_take(number, &count)
            state.acts.append(.ended(register, signals: count))
        }
    }
}

private struct Unheard: VectorHandler {
    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {}
}

/// A guest that writes registers of a device's BAR 0, which a function on a mux's own thread serves, or on the first
/// loop of a group.
final class ShortcutBench: @unchecked Sendable {
    static let base: UInt64 = 0xd_0000
    static let bell: UInt64 = 0x10
    static let ring = DoorbellRegister(RegionAccess(region: 0, offset: bell, width: 4), value: 7)
    static let code = RealModeAssembler(origin: GuestImage.codeOrigin)

    let device: WrittenDevice
    let remote: MuxRemote
    private(set) var attached: DeviceID?
    /// The device as the group knows it, where there is one.
    private(set) var grouped: GroupDeviceID?
    private var running: MuxThread<Unheard>?
    // The mux's thread's.
    private var function: GuestFunction?
    private var place: UInt64? = base
    private let program: GuestImage
    private let hooks: @Sendable (ShortcutBench, UInt16) throws -> Void
    private let trapped = Atomic<Int>(0)
    private let strayed = Atomic<Int>(0)
    private(set) var guest: MicroGuest?

    /// - Parameters:
    ///   - program: What the guest does before it switches itself off; ES is the BAR's segment.
    ///   - hook: Called while the guest waits that wrote a number to port 0x502, on its thread.
    init(
        _ device: WrittenDevice, _ options: RegisterShortcutOptions = RegisterShortcutOptions(),
        attaching: Bool = true, waiting: WaitMode = .block, group: MuxGroupRemote? = nil,
        program: (inout RealModeAssembler) -> Void,
        hook: @escaping @Sendable (ShortcutBench, UInt16) throws -> Void = { _, _ in }
    ) throws {
        self.device = device
        hooks = hook
        var code = Self.code
        code.cli()
        code.movAX(0xd000)
        code.movESfromAX()
        program(&code)
        code.writeWord(0, port: 0x501)
        code.haltForEver()
        var image = GuestImage()
        image.place(code)
        self.program = image
        if let group {
            remote = group[0]
        } else {
            let running = try MuxThread(smallOptions(waiting: waiting), handler: Unheard())
            remote = running.remote
            self.running = consume running
        }
        let guest = try MicroGuest(image: image) { [self] in answer($0) }
        self.guest = guest
        if let group {
            if attaching { try group.attach(guest: guest.virtualMachine, routes: .irqChipDefaults()) }
            grouped = try group.attach(device)
        }
        try perform { (bench, mux) throws(MuxError) in
            let attached: DeviceID
            if group == nil {
                if attaching { try mux.attach(guest: guest.virtualMachine, routes: .irqChipDefaults()) }
                attached = try mux.attach(device)
            } else {
                // The first device of the first loop.
                attached = DeviceID(rawValue: 1 << 32)
            }
            bench.attached = attached
            // A line of a group is the group's to connect.
            let line: INTxService? = group == nil ? .userEOI(pin: INTxPin(gsi: 5) { _, _ in }) : nil
            var function = try GuestFunction(attached, line: line, shortcuts: options, on: &mux)
            do throws(OverlayError) {
                try function.traps.add(RegionOverlay(.watched, region: 0, offset: 0, length: 0x100))
            } catch { throw MuxError("watching", errno: 22) }
            try function.mapped(region: 0, at: .memory(Self.base), on: &mux)
            bench.function = consume function
        }
    }

    /// How many accesses came as exits, and how many of them nobody answered.
    var traps: Int { trapped.load(ordering: .relaxed) }
    var strays: Int { strayed.load(ordering: .relaxed) }

    /// Runs the guest to its end, and the mux until it is through.
    func run() throws {
        try guest?.start()
        guard try guest?.awaitEnd(milliseconds: 20_000) == .poweredOff else { throw Unexpected() }
        try remote.perform { (mux) throws(MuxError) in }
    }

    /// Stops the mux: whatever is left is taken back.
    func stop() { _ = running.take()?.stop() }

    func perform<Value>(
        _ body: @escaping (ShortcutBench, inout Mux) throws(MuxError) -> Value
    ) throws -> Value {
        let sending = Unchecked(body)
        return try remote.perform { [self] (mux) throws(MuxError) in Unchecked(try sending.value(self, &mux)) }.value
    }

    /// The function, on the mux's thread.
    func withFunction<Value>(
        _ body: @escaping (inout GuestFunction, inout Mux) throws(MuxError) -> Value
    ) throws -> Value {
        try perform { (bench, mux) throws(MuxError) in
            guard bench.function != nil else { throw MuxError("a function", errno: 2) }
            return try body(&bench.function!, &mux)
        }
    }

    var report: RegisterShortcutReport { get throws { try withFunction { function, _ in function.shortcutReport } } }

    /// The BAR is elsewhere, as the guest wanted.
    func move(to address: UInt64?) throws {
        try withFunction { (function, mux) throws(MuxError) in
            try function.mapped(region: 0, at: address.map { .memory($0) }, on: &mux)
        }
        place = address
    }

    func configure(_ offset: UInt64, _ width: Int, _ value: UInt64) throws {
        try withFunction { (function, mux) throws(MuxError) in
            try function.writeConfiguration(offset, width: width, value, on: &mux)
        }
    }

    /// KVM has nothing at the register's address: somebody else may be put there, for a moment.
    func expectFree() throws {
        let other = try EventFD()
        guard let guest else { return }
        try guest.virtualMachine.assignIOEventFD(
            other.number, at: DoorbellAddress(.memory(Self.base + Self.bell), width: .four, match: 7)
        ).deassign()
    }

    private func answer(_ access: GuestAccess) -> GuestAnswer {
        do {
            switch access.place {
            case .port(0x502):
                try hooks(self, UInt16(truncatingIfNeeded: access.written ?? 0))
                return .done
            case .memory(let address):
                guard let value = access.written else { return .unclaimed }
                guard let place, address >= place, address - place < 0x100 else {
                    strayed.add(1, ordering: .relaxed)
                    return .done
                }
                trapped.add(1, ordering: .relaxed)
                let part = RegionAccess(region: 0, offset: address - place, width: access.width)
                try withFunction { (function, mux) throws(MuxError) in _ = try function.write(part, value, on: &mux) }
                return .done
            default: return .powerOff
            }
        } catch { return .unclaimed }
    }
}

private struct Unchecked<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

extension RealModeAssembler {
    /// Writes 7, or another value, to a register so many times.
    mutating func write(_ times: UInt32, _ value: UInt32 = 7, _ offset: UInt64 = ShortcutBench.bell) {
        store(0, 0x800)
        let again = here
        storeInES(value, UInt16(offset))
        incrementDWord(0x800)
        loadEAX(0x800)
        compareEAX(with: times)
        jump(if: .below, to: again)
    }

    mutating func call(_ number: UInt16) { writeWord(number, port: 0x502) }
}
