internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

/// The registers of one device whose writes KVM takes, and where the guest has the device's BARs.
///
/// Two halves each: the device's, which writes the register when an eventfd is signalled, and KVM's, which signals it.
/// The device's comes first and goes last, so that no write is lost; and as one write is a signal or an exit, none is
/// doubled. Belongs to the mux's thread; what is done with it is in Mux+Shortcuts.
final class RegisterShortcuts {
    let options: RegisterShortcutOptions
    /// Another virtual machine than the mux's guest.
    let machine: VirtualMachine?
    var list: [RegisterShortcut] = []
    var report = RegisterShortcutReport()
    /// Registers that became traps again by themselves, for the function to know; and whether for good.
    var ended: [(register: DoorbellRegister, isRefused: Bool)] = []
    /// By BAR; and what the guest lets the device decode, as the command register has it: bit 0 for ports, bit 1 for
    /// memory. Until it has written that register the VMM's word counts.
    private var places = [DoorbellAddress.Place?](repeating: nil, count: 6)
    var decoded: UInt64 = 3

    init(_ options: RegisterShortcutOptions) throws(MuxError) {
        self.options = options
        guard let number = options.machine else {
            machine = nil
            return
        }
        do throws(KVMError) { machine = try VirtualMachine(sharing: number) } catch { throw MuxError(error) }
    }

    func place(_ region: UInt32, at place: DoorbellAddress.Place?) {
        if region < UInt32(places.count) { places[Int(region)] = place }
    }

    /// Where the guest writes a register now; `nil` for nowhere.
    func address(of register: DoorbellRegister) -> DoorbellAddress? {
        guard register.access.region < UInt32(places.count), let base = places[Int(register.access.region)],
            let width = DoorbellAddress.Width(rawValue: UInt32(register.access.width))
        else { return nil }
        switch base {
        case .memory(let address):
            let (place, overflow) = address.addingReportingOverflow(register.access.offset)
            guard decoded & 2 != 0, !overflow else { return nil }
            return DoorbellAddress(.memory(place), width: width, match: register.value)
        case .port(let port):
            guard decoded & 1 != 0, let place = UInt16(exactly: UInt64(port) + register.access.offset) else {
                return nil
            }
            return DoorbellAddress(.port(place), width: width, match: register.value)
        }
    }

    /// One that cannot be had, or not any more.
    func refuse(_ error: MuxError) {
        report.refusals += 1
        report.lastError = error
    }
}

/// One register that a guest keeps writing the same way.
final class RegisterShortcut {
    let register: DoorbellRegister
    let eventFD: EventFD
    /// The loop's, where it writes the register; otherwise the device's driver does.
    var source: SourceID?
    /// KVM's half, while the register is somewhere.
    var bell: IOEventFD?
    /// Signals that were taken here, and writes that were made of those.
    private var taken: UInt64 = 0
    private var written: UInt64 = 0

    init(_ register: DoorbellRegister) throws(MuxError) {
        self.register = register
        do throws(RingError) { eventFD = try EventFD() } catch { throw MuxError(error) }
    }

    deinit { bell = nil }

    /// Whether KVM takes the writes there, or nowhere.
    func isAt(_ address: DoorbellAddress?) -> Bool { place == address }

    /// Where KVM takes the writes.
    private var place: DoorbellAddress? { bell?.address }

    /// How many of the guest's writes have not been made yet. Whoever looks takes the counter; a spinning loop does
    /// as well, and may not have told of it.
    func due(in loop: borrowing EventLoop) -> UInt64 {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        if unsafe irqmux_eventfd_take(eventFD.number, &count) == 0 { taken &+= count }
        var total = taken
        if let source, let counts = try? loop.counts(of: source) { total &+= counts.taken }
        if let source, let ahead = try? loop.readAhead(of: source) { total &+= ahead }
        return total &- written
    }

    /// Some of them have been made.
    func made(_ count: UInt64) { written &+= count }

    /// Some are left, which the loop is to come back for: a signal that stands for none.
    func remind() {
        if irqmux_eventfd_signal(eventFD.number, 1) == 0 { written &+= 1 }
    }
}
