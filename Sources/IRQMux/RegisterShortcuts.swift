internal import CKernel
internal import EventRing
public import InterruptModel
public import KVM

/// Ioeventfds for registers that a guest keeps writing the same way: KVM takes the write and signals an eventfd, and
/// the device is written by whoever the eventfd belongs to, without an exit and without this process.
///
/// `Carrier` is the device's half, which ends with its life: `VFIODoorbell` of a kernel device
/// (`VFIO_DEVICE_IOEVENTFD`), or a VMM's own. `RegionTraps` finds the registers:
///
///     if let register = traps.write(access, value: value, …) {
///         try shortcuts.install(register, at: address, of: machine) { eventFD in try device.doorbell(eventFD, …) } …
///     }
///
/// The caller answers `RegionTraps.repeated`, also when the installation threw: the register is not asked for again.
/// Order: the device's half first, so that no write is lost; it ends last. May be used from one thread at a time.
public struct RegisterShortcuts<Carrier: ~Copyable>: ~Copyable {
    /// One of them: its halves, in the order in which they end.
    private final class Shortcut {
        let register: DoorbellRegister
        var machine: IOEventFD?
        var device: Carrier?
        private var eventFD: EventFD?

        init(_ register: DoorbellRegister, _ eventFD: consuming EventFD, _ device: consuming Carrier) {
            self.register = register
            self.eventFD = consume eventFD
            self.device = consume device
        }

        var number: Int32 { eventFD?.number ?? -1 }

        deinit {
            machine = nil
            device = nil
            eventFD = nil
        }
    }

    private var shortcuts: [Shortcut] = []

    /// None yet.
    public init() {}

    /// How many there are.
    public var count: Int { shortcuts.count }

    /// How many writes of a register its eventfd holds and its carrier has not taken yet; `nil` for one not here.
    public func waiting(_ register: DoorbellRegister) -> UInt64? {
        guard let found = shortcuts.first(where: { $0.register == register }) else { return nil }
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        return unsafe irqmux_eventfd_peek(found.number, &count) == 0 ? count : nil
    }

    /// Installs both halves of a register.
    ///
    /// - Parameters:
    ///   - address: Where the guest has the register.
    ///   - machine: The guest.
    ///   - carry: Makes the device's half: from now on a signal of the eventfd, which is borrowed, writes the register.
    ///   - translate: What its error is in the mux's words.
    /// - Throws: What `carry` throws, as a `MuxError`; `EEXIST` for an address that KVM has an ioeventfd for; `EMFILE`.
    ///   Then neither half is there, and the register goes on being trapped.
    public mutating func install<Failure: Error>(
        _ register: DoorbellRegister, at address: UInt64, of machine: borrowing VirtualMachine,
        carry: (_ eventFD: Int32) throws(Failure) -> Carrier, error translate: (Failure) -> MuxError
    ) throws(MuxError) {
        guard let width = DoorbellAddress.Width(rawValue: UInt32(register.access.width)) else {
            throw MuxError("installing an ioeventfd", errno: EINVAL, remedy: "registers have 1, 2, 4 or 8 bytes")
        }
        let eventFD: EventFD
        do throws(RingError) { eventFD = try EventFD() } catch { throw MuxError(error) }
        let carrier: Carrier
        do throws(Failure) { carrier = try carry(eventFD.number) } catch { throw translate(error) }
        let shortcut = Shortcut(register, eventFD, carrier)
        do throws(KVMError) {
            shortcut.machine = try machine.assignIOEventFD(
                shortcut.number, at: DoorbellAddress(.memory(address), width: width, match: register.value))
        } catch { throw MuxError(error) }
        shortcuts.append(shortcut)
    }

    /// Takes a register's away: the guest's writes are traps again. No effect for one that is not here.
    public mutating func remove(_ register: DoorbellRegister) {
        shortcuts.removeAll { $0.register == register }
    }

    /// Takes all of them away, as after a reset.
    public mutating func removeAll() { shortcuts.removeAll() }
}
