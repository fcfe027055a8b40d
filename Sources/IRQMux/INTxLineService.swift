internal import CKernel
internal import EventRing
internal import InterruptModel
public import KVM

/// A guest's pin as a VMM drives it from user space, shared by all lines with the same GSI.
public struct INTxPin {
    /// The pin's number.
    public let gsi: UInt32
    let drive: (UInt32, Bool) -> Void

    /// A pin that `drive` sets to a level; called on the mux's thread with the GSI and whether the pin is to be high,
    /// once for each change of the pin, whatever the number of lines on it.
    public init(gsi: UInt32, drive: @escaping (_ gsi: UInt32, _ isHigh: Bool) -> Void) {
        self.gsi = gsi
        self.drive = drive
    }

    /// A pin of a machine's in-kernel irqchip, driven by `KVM_IRQ_LINE`. For lines that KVM does not resample.
    ///
    /// - Throws: As `VirtualMachine.init(sharing:)`, with that operation.
    public init(gsi: UInt32, of machine: borrowing VirtualMachine) throws(MuxError) {
        let shared: SharedMachine
        do throws(KVMError) { shared = SharedMachine(try VirtualMachine(sharing: machine.number)) } catch {
            throw MuxError(ofKVM: error)
        }
        self.init(gsi: gsi) { gsi, isHigh in
            // It fails without an in-kernel irqchip, and then the watchdog names the line.
            do throws(KVMError) { try shared.machine.setLine(gsi: gsi, asserted: isHigh) } catch {}
        }
    }
}

/// How a connected INTx is served to a guest: the way, with what that way needs.
public enum INTxService {
    /// ``INTxWay/kernelResample``. The GSI's route must be committed.
    /// - Parameters: The machine's descriptor, of which the mux keeps a duplicate, and the pin.
    case kernelResample(machine: Int32, gsi: UInt32)
    /// ``INTxWay/ioapicBroadcast``. The GSI's route is a level-triggered message (bit 15 of its data) with `vector`;
    /// when the guest reprograms that, ``EndOfInterruptSink/setVector(_:forGSI:)``.
    case ioapicBroadcast(machine: Int32, gsi: UInt32, vector: UInt8)
    /// ``INTxWay/userEOI``. The interrupt goes where the vector's route says, and to the pin, where one is given.
    case userEOI(pin: INTxPin? = nil)
    /// ``INTxWay/mappingToggle``. Delivery as with `userEOI`. `mappings` is called on the mux's thread, with whether
    /// the guest is to reach the device's BARs without a trap; `quiet` is how long, in nanoseconds, no access must have
    /// been trapped for the guest to be done.
    case mappingToggle(pin: INTxPin? = nil, quiet: UInt64 = 1_000_000, mappings: (_ enabled: Bool) -> Void)

    /// The way.
    public var way: INTxWay {
        switch self {
        case .kernelResample: .kernelResample
        case .ioapicBroadcast: .ioapicBroadcast
        case .userEOI: .userEOI
        case .mappingToggle: .mappingToggle
        }
    }
}

/// How a line stands.
public struct INTxLineStatus: Equatable, Sendable {
    /// The way, and why.
    public let choice: INTxChoice
    /// The guest's pin, where the line has one.
    public let gsi: UInt32?
    /// Delivered and not acknowledged, where the mux sees it: always `false` with the ways past the mux.
    public let isInService: Bool
    /// How many ends of interrupt the run loop reported (``INTxWay/ioapicBroadcast``).
    public let acknowledged: UInt64
    /// The device's mappings are off (``INTxWay/mappingToggle``).
    public let isTrapping: Bool
}

/// A machine's descriptor that a closure can hold.
final class SharedMachine: Sendable {
    let machine: VirtualMachine

    init(_ machine: consuming VirtualMachine) { self.machine = machine }
}

/// One served line. Belongs to the mux's thread.
final class INTxLine {
    let choice: INTxChoice
    let gsi: UInt32?
    let drive: ((UInt32, Bool) -> Void)?
    let mappings: ((Bool) -> Void)?
    let quiet: UInt64
    let machine: SharedMachine?
    /// The eventfd that the device signals with the ways past the mux; −1 for none.
    private(set) var trigger: Int32 = -1
    private var irqfd: IRQFD?

    var isTrapping = false
    /// A trapped access has shown the guest at work.
    var atWork = false
    var lastAccess: UInt64 = 0
    var timer: TimerID?

    /// A line, with a duplicate of the machine's descriptor where its way needs one.
    ///
    /// Not a throwing initialiser: in Embedded Swift (6.3.1) an object whose initialiser throws is never freed.
    static func make(_ service: INTxService, _ reason: INTxChoice.Reason) throws(MuxError) -> INTxLine {
        switch service {
        case .kernelResample(let number, _), .ioapicBroadcast(let number, _, _):
            do throws(KVMError) {
                return INTxLine(service, reason, SharedMachine(try VirtualMachine(sharing: number)))
            } catch { throw MuxError(ofKVM: error) }
        case .userEOI, .mappingToggle: return INTxLine(service, reason, nil)
        }
    }

    private init(_ service: INTxService, _ reason: INTxChoice.Reason, _ machine: SharedMachine?) {
        choice = INTxChoice(service.way, reason)
        self.machine = machine
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

    deinit { unbind() }

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
}

/// The served lines of a mux, by the place of their device, and what they share.
final class INTxLines {
    var byPlace: [INTxLine?]
    var levels: PinLevels
    let ends: EndOfInterruptSink
    var watch: Watchdog?

    init(devices: Int) {
        byPlace = [INTxLine?](repeating: nil, count: devices)
        levels = PinLevels(lines: devices)
        ends = EndOfInterruptSink(devices: devices)
    }
}

extension MuxError {
    /// KVM's error, as it is.
    init(ofKVM error: KVMError) { self.init(error.operation.name, errno: error.errno, remedy: error.remedy) }
}
