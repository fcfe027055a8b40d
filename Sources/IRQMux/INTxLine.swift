internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

/// One served line. Belongs to one mux's thread at a time.
final class INTxLine: @unchecked Sendable {
    let choice: INTxChoice
    let gsi: UInt32?
    let mappings: ((Bool) -> Void)?
    let quiet: UInt64
    let machine: SharedMachine?
    /// The eventfd that the device signals with the ways past the mux; −1 for none.
    private(set) var trigger: Int32 = -1
    private var irqfd: IRQFD?
    private let drive: ((UInt32, Bool) -> Void)?
    private let shared: SharedLines
    /// The line's place among those it shares pins and ends of interrupt with; the same on whichever loop it is.
    private let place: Int

    /// The guest has set DisINTx: what comes late is not for its pin.
    var isDisabled = false
    var isTrapping = false
    /// A trapped access has shown the guest at work.
    var atWork = false
    var lastAccess: UInt64 = 0
    var timer: TimerID?

    /// A line, with a duplicate of the machine's descriptor where its way needs one.
    ///
    /// Not a throwing initialiser: in Embedded Swift (6.3.1) an object whose initialiser throws is never freed.
    static func make(
        _ service: INTxService, _ reason: INTxChoice.Reason, among shared: SharedLines
    ) throws(MuxError) -> INTxLine {
        switch service {
        case .kernelResample(let number, _), .ioapicBroadcast(let number, _, _):
            let machine: SharedMachine
            do throws(KVMError) { machine = SharedMachine(try VirtualMachine(sharing: number)) } catch {
                throw MuxError(ofKVM: error)
            }
            return INTxLine(service, reason, machine, shared, place: try shared.claim())
        case .userEOI, .mappingToggle:
            return INTxLine(service, reason, nil, shared, place: try shared.claim())
        }
    }

    private init(
        _ service: INTxService, _ reason: INTxChoice.Reason, _ machine: SharedMachine?, _ shared: SharedLines,
        place: Int
    ) {
        choice = INTxChoice(service.way, reason)
        self.machine = machine
        self.shared = shared
        self.place = place
        switch service {
        case .kernelResample(_, let gsi), .ioapicBroadcast(_, let gsi, _):
            self.gsi = gsi
            drive = nil
            mappings = nil
            quiet = 0
        case .userEOI(let pin):
            gsi = pin?.gsi
            drive = pin?.drive
            mappings = nil
            quiet = 0
        case .mappingToggle(let pin, let quiet, let mappings):
            gsi = pin?.gsi
            drive = pin?.drive
            self.mappings = mappings
            self.quiet = quiet
        }
    }

    deinit {
        unbind()
        shared.release(place)
    }

    /// What run loops tell of the guest's ends of interrupt.
    var record: EndOfInterruptSink.Record { shared.ends.records[place] }

    /// Makes the eventfd that the device is to signal, and binds it to the guest's pin.
    func bind(resample: Int32?) throws(MuxError) {
        guard let machine, let gsi else { return }
        do throws(RingError) {
            trigger = try EventFD().release()
            do throws(KVMError) {
                irqfd = try machine.machine.assignIRQFD(trigger, gsi: gsi, resampleFD: resample)
            } catch { throw RingError(error.operation.name, errno: error.errno, remedy: error.remedy) }
        } catch { throw MuxError(error) }
    }

    /// Takes the eventfd away from KVM. Waits until no injection is under way, milliseconds at worst.
    func unbind() {
        // The irqfd first: it is deassigned by the eventfd's number.
        irqfd = nil
        if trigger >= 0 { _ = irqmux_close(trigger) }
        trigger = -1
    }

    // MARK: The pin, where the mux drives it

    var drivesPin: Bool { drive != nil }

    func attachPin() { if let gsi { shared.attach(place, to: gsi) } }

    func raisePin() { changePin { levels in levels.assert(place) } }

    func lowerPin() { changePin { levels in levels.deassert(place) } }

    func leavePin() { changePin { levels in levels.detach(place) } }

    /// The guest has ended the pin's interrupt: all lines on it let go.
    func endPin() {
        guard let gsi else { return }
        changePin { levels in levels.endOfInterrupt(gsi) }
    }

    private func changePin(_ change: (inout PinLevels) -> PinLevels.Change) {
        guard let gsi else { return }
        shared.change { levels in
            switch change(&levels) {
            case .none: break
            case .rises: drive?(gsi, true)
            case .falls: drive?(gsi, false)
            }
        }
    }
}

/// What lines share that may be on the same pin: those of one mux, or of all muxes of a group.
final class SharedLines: @unchecked Sendable {
    let ends: EndOfInterruptSink
    private let lock = GroupLock()
    // The lock's.
    private var levels: PinLevels
    private var isTaken: [Bool]

    init(lines: Int) {
        ends = EndOfInterruptSink(lines: lines)
        levels = PinLevels(lines: lines)
        isTaken = [Bool](repeating: false, count: lines)
    }

    /// A place for one more line.
    func claim() throws(MuxError) -> Int {
        try lock.withLock { () throws(MuxError) in
            guard let place = isTaken.firstIndex(of: false) else {
                throw MuxError("serving INTx", errno: ENOSPC, remedy: "make the mux with more MuxOptions.devices")
            }
            isTaken[place] = true
            ends.records[place].begin()
            return place
        }
    }

    func release(_ place: Int) {
        lock.withLock {
            ends.records[place].withdraw()
            levels.detach(place)
            isTaken[place] = false
        }
    }

    func attach(_ place: Int, to gsi: UInt32) { change { levels in levels.attach(place, to: gsi) } }

    /// The lock is held while pins are driven, so that a pin's rise and fall on two loops keep their order.
    func change(_ body: (inout PinLevels) -> Void) { lock.withLock { body(&levels) } }
}

/// The served lines of a mux, by the place of their device.
final class INTxLines {
    var byPlace: [INTxLine?]
    /// Another one in a group, from the beginning.
    var shared: SharedLines
    var watch: Watchdog?

    init(devices: Int) {
        byPlace = [INTxLine?](repeating: nil, count: devices)
        shared = SharedLines(lines: devices)
    }
}
