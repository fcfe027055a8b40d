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

extension MuxError {
    /// KVM's error, as it is.
    init(ofKVM error: KVMError) { self.init(error.operation.name, errno: error.errno, remedy: error.remedy) }
}
