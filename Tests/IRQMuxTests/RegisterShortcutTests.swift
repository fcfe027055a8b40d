import EventRing
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import TestSupport
import Testing

/// The device's half of a shortcut as a test has it: it counts how many there are.
private struct Half: ~Copyable {
    static let alive = Atomic<Int>(0)
    let eventFD: Int32

    init(_ eventFD: Int32) {
        self.eventFD = eventFD
        Self.alive.add(1, ordering: .relaxed)
    }

    deinit { Self.alive.subtract(1, ordering: .relaxed) }
}

/// A machine that closures can hold.
private final class Machine: Sendable {
    let machine: VirtualMachine
    init(sharing number: Int32) throws { machine = try VirtualMachine(sharing: number) }
}

/// A bus with one watched page, on the virtual CPU's thread.
private final class WatchingBus: Sendable {
    final class State {
        var traps: RegionTraps
        var shortcuts = RegisterShortcuts<Half>()
        var writes: [UInt64] = []
        var machine: Machine?
        let refuses: Bool

        init(_ traps: RegionTraps, refuses: Bool) {
            self.traps = traps
            self.refuses = refuses
        }

        var count: Int { shortcuts.count }
        func waiting(_ register: DoorbellRegister) -> UInt64? { shortcuts.waiting(register) }

        /// Installs the register once more, by hand.
        func install(_ register: DoorbellRegister) throws {
            guard let machine else { return }
            try shortcuts.install(
                register, at: WatchingBus.base + 0x10, of: machine.machine, carry: { Half($0) },
                error: { (_: Never) -> MuxError in })
        }
    }

    static let base: UInt64 = 0xd_0000
    static let register = RegionAccess(region: 0, offset: 0x10, width: 4)
    let state: Mutex<State>

    init(threshold: UInt32, refuses: Bool = false) throws {
        var traps = RegionTraps(sizes: [0x1000], threshold: threshold)
        try traps.add(RegionOverlay(.watched, region: 0, offset: 0, length: 0x1000))
        state = Mutex(State(traps, refuses: refuses))
    }

    func answer(_ access: GuestAccess) -> GuestAnswer {
        guard case .memory(let address) = access.place, let value = access.written else { return .powerOff }
        return state.withLock { state in
            var written: [UInt64] = []
            let part = RegionAccess(region: 0, offset: address - Self.base, width: access.width)
            let learnt = state.traps.write(part, value: value) { _, _, value in written.append(value) }
            state.writes += written
            guard let learnt, let shared = state.machine else { return .done }
            var done = true
            do throws(MuxError) {
                let refuses = state.refuses
                try state.shortcuts.install(
                    learnt, at: Self.base + learnt.access.offset, of: shared.machine,
                    carry: { (eventFD) throws(MuxError) in
                        if refuses { throw MuxError("a carrier", errno: 28) }
                        return Half(eventFD)
                    }, error: { $0 })
            } catch { done = false }
            state.traps.repeated.answer(learnt, installed: done)
            return .done
        }
    }

    /// Runs a guest that writes 7 to the register so many times, and then the other value once.
    func run(writes: UInt32, other: UInt32) throws {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        code.movAX(0xd000)
        code.movESfromAX()
        let again = code.here
        code.storeInES(7, 0x10)
        code.incrementDWord(0x800)
        code.loadEAX(0x800)
        code.compareEAX(with: writes)
        code.jump(if: .below, to: again)
        code.storeInES(other, 0x10)
        code.writeWord(0, port: 0x501)
        code.haltForEver()
        image.place(code)
        let guest = try MicroGuest(image: image) { self.answer($0) }
        let machine = try Machine(sharing: guest.virtualMachine.number)
        state.withLock { $0.machine = machine }
        try guest.start()
        #expect(try guest.awaitEnd(milliseconds: 20_000) == .poweredOff)
    }
}

@Suite(
    "Registers that a real guest keeps writing", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .serialized, .timeLimit(.minutes(5)))
struct RegisterShortcutTests {
    @Test("get an ioeventfd by themselves: later writes are no exits, none is lost, and other values still trap")
    func installs() throws {
        let bus = try WatchingBus(threshold: 10)
        try bus.run(writes: 50, other: 9)
        try bus.state.withLock { state in
            #expect(state.writes == [UInt64](repeating: 7, count: 10) + [9])
            let register = DoorbellRegister(WatchingBus.register, value: 7)
            #expect(state.traps.repeated.state(register) == .installed && state.count == 1)
            #expect(state.waiting(register) == 40, "nobody took them, so they are all still there")
            #expect(Half.alive.load(ordering: .relaxed) == 1)
            // Its address is free again, so it can be had again; with it gone the device's half is gone as well.
            state.shortcuts.remove(register)
            #expect(Half.alive.load(ordering: .relaxed) == 0 && state.waiting(register) == nil)
            try state.install(register)
            #expect(throws: MuxError.self) { try state.install(register) }
            #expect(Half.alive.load(ordering: .relaxed) == 1, "a half without its other half is undone")
            state.shortcuts.removeAll()
            #expect(Half.alive.load(ordering: .relaxed) == 0)
        }
    }

    @Test("go on being trapped when the device refuses, and are asked for once")
    func refused() throws {
        let bus = try WatchingBus(threshold: 3, refuses: true)
        try bus.run(writes: 20, other: 9)
        bus.state.withLock { state in
            #expect(state.writes.count == 21 && state.count == 0)
            #expect(state.traps.repeated.state(DoorbellRegister(WatchingBus.register, value: 7)) == .refused)
        }
    }
}
