internal import CKernel

extension KVMError {
    /// Why an operation failed. Several reasons share an errno, `EINVAL` above all.
    public enum Reason: UInt8, CaseIterable, Sendable {
        /// Nothing is known beyond the errno.
        case unknown
        /// There is no `/dev/kvm`.
        case noKVM
        /// The process may not use `/dev/kvm`.
        case forbidden
        /// The process or the system has no file descriptor left.
        case tooManyFiles
        /// The kernel has no memory for it.
        case noMemory
        /// The number is an open file, but not a virtual machine's.
        case notAVirtualMachine
        /// The virtual machine's file descriptor has been closed.
        case virtualMachineClosed
        /// The eventfd's number is not open.
        case eventFDClosed
        /// The number is open, but is not an eventfd.
        case notAnEventFD
        /// The resample number is not an open eventfd.
        case badResampleFD
        /// The eventfd is an irqfd already.
        case alreadyBound
        /// The machine has no in-kernel interrupt controller.
        case noIRQChip
        /// Resampling needs the IOAPIC or PIC in the kernel.
        case resampleNeedsFullIRQChip
        /// PIC and IOAPIC pins need the full in-kernel irqchip.
        case pinsNeedFullIRQChip
        /// The interrupt controller is not initialised yet (arm64's vGIC).
        case irqChipNotReady
        /// The machine has an irqchip already.
        case irqChipExists
        /// A virtual CPU was made before the irqchip.
        case virtualCPUFirst
        /// The kernel does not know the request.
        case unsupported
        /// The table would exceed the kernel's number of entries.
        case tooManyRoutes
        /// The GSI is not below the kernel's limit.
        case gsiOutOfRange
        /// The GSI has a route, or an owner, already.
        case gsiTaken
        /// No GSI is free.
        case noGSILeft
        /// The GSI was not handed out by this allocator.
        case gsiNotAllocated
        /// The controller has no such pin.
        case pinOutOfRange
        /// More pins were to be reserved for the VMM's IOAPIC than KVM reserves.
        case tooManyPins
        /// The MSI address is malformed for the x2APIC format.
        case badMessageAddress
        /// The address plus the width wraps around the address space.
        case addressWraps
        /// A value to match needs a width.
        case matchNeedsWidth
        /// The value to match does not fit the width, so nothing would ever match.
        case matchTooWide
        /// Another ioeventfd answers to the same writes.
        case doorbellTaken
        /// No ioeventfd is there with that address, width, match and eventfd.
        case noSuchDoorbell

        /// What to change, in one sentence; empty where there is nothing to add.
        public var remedy: StaticString {
            switch self {
            case .unknown: ""
            case .noKVM:
                "load kvm_intel or kvm_amd, enable virtualisation in the firmware, or nested virtualisation in the host"
            case .forbidden:
                "run as root, or join the group that owns /dev/kvm (usermod -aG GROUP USER) where its mode lets one in"
            case .tooManyFiles: "raise RLIMIT_NOFILE (ulimit -n) or use fewer vectors"
            case .noMemory: "free memory, or raise the memory limit of the control group"
            case .notAVirtualMachine: "pass the file descriptor that KVM_CREATE_VM returned"
            case .virtualMachineClosed: "keep the virtual machine open until its irqfds and doorbells are gone"
            case .eventFDClosed: "keep the eventfd open as long as KVM is to know it"
            case .notAnEventFD: "pass a file descriptor made by eventfd(2)"
            case .badResampleFD: "pass an open eventfd, other than the irqfd's own, to resample on"
            case .alreadyBound: "deassign it first, or use one eventfd for each irqfd"
            case .noIRQChip: "create the irqchip (KVM_CREATE_IRQCHIP or KVM_CAP_SPLIT_IRQCHIP) first"
            case .resampleNeedsFullIRQChip:
                "use the full irqchip, or with a split one resample on the IOAPIC's end of interrupt in user space"
            case .pinsNeedFullIRQChip: "route messages only: PIC and IOAPIC live in user space with a split irqchip"
            case .irqChipNotReady: "initialise the interrupt controller (vGIC) before the first irqfd"
            case .irqChipExists: "a virtual machine has one irqchip for its whole life; use the one it has"
            case .virtualCPUFirst: "create the irqchip before the first virtual CPU"
            case .unsupported: "this kernel is too old for it; irqmux doctor shows what it can do"
            case .tooManyRoutes: "remove routes first, or leave out the PIC and IOAPIC pins that the guest does not use"
            case .gsiOutOfRange: "use a GSI below 4096"
            case .gsiTaken: "choose another GSI, or remove its route first"
            case .noGSILeft: "free GSIs of vectors that are gone, or share one GSI between vectors"
            case .gsiNotAllocated: "give back a GSI once, and only one that this allocator handed out"
            case .pinOutOfRange: "a PIC has pins 0 to 7, the IOAPIC 0 to 23"
            case .tooManyPins: "reserve as many pins as the VMM's IOAPIC has, 24 as a rule"
            case .badMessageAddress: "with the x2APIC format the low byte of the address's upper half must be zero"
            case .addressWraps: "choose an address whose last byte is still inside the address space"
            case .matchNeedsWidth: "give a width of 1, 2, 4 or 8 bytes along with the value to match"
            case .matchTooWide: "match a value that fits the width; wider ones never match"
            case .doorbellTaken: "use another address, width or value, or deassign the doorbell that is there"
            case .noSuchDoorbell: "deassign with the address, width, match and eventfd of the assignment"
            }
        }

        /// What an errno says by itself, whatever the operation.
        static func plain(_ errno: Int32) -> Reason {
            switch errno {
            case ENOMEM: .noMemory
            case EMFILE, ENFILE: .tooManyFiles
            case EACCES, EPERM: .forbidden
            case ENOTTY: .notAVirtualMachine
            default: .unknown
            }
        }
    }
}
