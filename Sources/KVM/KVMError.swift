internal import CKernel

/// KVM refused an operation, or this room refused it first because KVM would have: what it was, the errno, why, and
/// what to do about it.
public struct KVMError: Error, Equatable, Sendable {
    /// What was asked for.
    public var operation: Operation
    /// The positive errno, for example `EBUSY`. Where this room refused before asking, the errno KVM would have given.
    public var errno: Int32
    /// Why, as far as it can be known. KVM answers `EINVAL` to most things; the reason tells them apart.
    public var reason: Reason

    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString { reason.remedy }

    /// Makes an error of its three parts.
    public init(_ operation: Operation, errno: Int32, _ reason: Reason = .unknown) {
        self.operation = operation
        self.errno = errno
        self.reason = reason
    }

    /// The operations of this room.
    public enum Operation: UInt8, CaseIterable, Sendable {
        /// `open` of `/dev/kvm`.
        case open
        /// `KVM_CREATE_VM`.
        case createVirtualMachine
        /// Taking a virtual machine's file descriptor from its owner.
        case adopt
        /// `KVM_CREATE_IRQCHIP`, or `KVM_CAP_SPLIT_IRQCHIP`.
        case createIRQChip
        /// `KVM_IRQFD`.
        case assignIRQFD
        /// `KVM_IRQFD` with `KVM_IRQFD_FLAG_DEASSIGN`.
        case deassignIRQFD
        /// `KVM_IOEVENTFD`.
        case assignIOEventFD
        /// `KVM_IOEVENTFD` with `KVM_IOEVENTFD_FLAG_DEASSIGN`.
        case deassignIOEventFD
        /// A change of the routing table, before it is committed.
        case route
        /// `KVM_SET_GSI_ROUTING`.
        case commitRouting
        /// Taking a GSI from the allocator, or giving it back.
        case allocateGSI
        /// `KVM_SIGNAL_MSI`.
        case signalMSI
        /// `KVM_IRQ_LINE`.
        case setLine

        /// The kernel's name of the operation, for messages.
        public var name: StaticString {
            switch self {
            case .open: "open /dev/kvm"
            case .createVirtualMachine: "KVM_CREATE_VM"
            case .adopt: "adopting a virtual machine"
            case .createIRQChip: "KVM_CREATE_IRQCHIP"
            case .assignIRQFD: "KVM_IRQFD"
            case .deassignIRQFD: "KVM_IRQFD (deassign)"
            case .assignIOEventFD: "KVM_IOEVENTFD"
            case .deassignIOEventFD: "KVM_IOEVENTFD (deassign)"
            case .route: "GSI route"
            case .commitRouting: "KVM_SET_GSI_ROUTING"
            case .allocateGSI: "GSI allocation"
            case .signalMSI: "KVM_SIGNAL_MSI"
            case .setLine: "KVM_IRQ_LINE"
            }
        }
    }
}

#if !hasFeature(Embedded)
    extension KVMError: CustomStringConvertible {
        /// `operation: ERRNO: remedy`.
        public var description: String {
            // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
            let name = unsafe String(cString: irqmux_errno_name(errno))
            let head = "\(operation.name): \(name)"
            return remedy.utf8CodeUnitCount == 0 ? head : "\(head): \(remedy)"
        }
    }
#endif
