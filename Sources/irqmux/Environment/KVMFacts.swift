internal import KVM

/// Whether /dev/kvm opens, and what it can do for interrupts.
enum KVMFacts: Equatable {
    /// It does not open, with this errno.
    case closed(Int32)
    /// It opens; what the closed loop through a guest needs and is not there, and how many routes a machine may have.
    case open(lacks: [String], routes: UInt32)

    static func read() -> KVMFacts {
        do throws(KVMError) {
            let capabilities = try KVMDevice().capabilities()
            let needed = [
                ("KVM_CAP_IRQCHIP", capabilities.irqChip),
                ("KVM_CAP_IRQFD", capabilities.irqfd),
                ("KVM_CAP_IRQFD_RESAMPLE", capabilities.irqfdResample),
                ("KVM_CAP_IOEVENTFD", capabilities.ioEventFD),
                ("KVM_CAP_IRQ_ROUTING", capabilities.routes > 0),
            ]
            return .open(lacks: needed.filter { !$0.1 }.map(\.0), routes: capabilities.routes)
        } catch {
            return .closed(error.errno)
        }
    }
}
